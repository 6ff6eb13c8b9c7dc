package repro

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/system"
)

var update = flag.Bool("update", false, "write the golden digests anew")

const golden = "testdata/images.json"

// The containers' images of the examples are the same at each commit, unless a
// lock, an example or a rule of the builder changes on purpose. Locally built
// programs depend on the Go toolchain and are left out.
func TestGoldenImages(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, def := range []string{"greenhouse/instar.yaml", "fleet-of-two/gateway.yaml", "fleet-of-two/sensor.yaml"} {
		images(t, root, def, got)
	}
	if *update {
		text, err := json.MarshalIndent(got, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]string
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s: image %s, golden %s", name, got[name], want[name])
		}
	}
	for name := range got {
		if want[name] == "" {
			t.Errorf("%s is not in %s; -update adds it", name, golden)
		}
	}
}

// local are containers that hold programs built here.
func local(name string) bool { return name == "sampler" || name == "irrigation" }

func images(t *testing.T, root, def string, into map[string]string) {
	t.Helper()
	instar := filepath.Join(root, "out/instar")
	run := func(args ...string) []byte {
		cmd := exec.Command(instar, append([]string{"-f", filepath.Join(root, "examples", def)}, args...)...)
		out, err := cmd.Output()
		if err != nil {
			if exit, ok := err.(*exec.ExitError); ok && strings.Contains(string(exit.Stderr), "the archive no longer has") {
				t.Skipf("%s: the pinned versions have left the archive", def)
			}
			t.Fatalf("%s %v: %v", def, args, err)
		}
		return out
	}
	var built []struct{ Arch, System string }
	if err := json.Unmarshal(run("-o", "json", "build"), &built); err != nil {
		t.Fatal(err)
	}
	for _, b := range built {
		m, err := system.Decode(run("-o", "json", "show", b.System))
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range m.Configurations {
			for _, ct := range c.Containers {
				if !local(ct.Name) {
					into[def+" "+b.Arch+" "+ct.Name] = ct.Image.Digest.String()
				}
			}
		}
	}
}
