package host

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// newer are keys that the systemd of a test host may not know yet: since 254.
var newer = []string{"DelegateSubgroup", "RestartMaxDelaySec", "RestartSteps"}

// systemd's own checker has nothing to say about the generated units, but for
// keys that are newer than it.
func TestSystemdReadsTheUnits(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("systemd-analyze is not installed (Debian package systemd)")
	}
	verify := func(files map[string]string) (complaints []string) {
		root := t.TempDir()
		units := filepath.Join(root, "etc/systemd/system")
		for _, program := range []string{"instar-init", "instar-agent"} {
			p := filepath.Join(root, "usr/lib/instar", program)
			if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(p, []byte("#!/bin/sh\n"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.MkdirAll(units, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := WriteUnits(units, files); err != nil {
			t.Fatal(err)
		}
		// Every target that a unit orders itself by, so that only our own
		// lines are judged.
		for _, name := range []string{"sysinit", "basic", "shutdown", "multi-user", "network", "network-online"} {
			if err := os.WriteFile(filepath.Join(units, name+".target"), []byte("[Unit]\nDefaultDependencies=no\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		args := []string{"verify", "--root=" + root, "--man=no", "--recursive-errors=no"}
		for name := range files {
			if strings.HasSuffix(name, ".service") {
				args = append(args, filepath.Join("/etc/systemd/system", name))
			}
		}
		out, err := exec.Command("systemd-analyze", args...).CombinedOutput()
		if err != nil && len(out) == 0 {
			t.Fatalf("systemd-analyze verify: %v", err)
		}
		for line := range strings.Lines(string(out)) {
			if !slices.ContainsFunc(newer, func(k string) bool { return strings.Contains(line, "Unknown key '"+k+"'") }) {
				complaints = append(complaints, line)
			}
		}
		return complaints
	}
	files := Generate(workbench(), "/run/instar")
	if got := verify(files); len(got) > 0 {
		t.Errorf("systemd-analyze verify says:\n%s", strings.Join(got, ""))
	}
	files["instar-page.service"] = strings.ReplaceAll(files["instar-page.service"], "Type=notify", "Type=nonsense")
	if got := strings.Join(verify(files), ""); !strings.Contains(got, "nonsense") {
		t.Errorf("the checker does not notice a broken unit:\n%s", got)
	}
}
