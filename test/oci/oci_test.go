// Package oci holds the OCI runtime against others' programs: the validation
// programs of opencontainers, and podman.
package oci

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// build builds a package and returns the program.
func build(t *testing.T, dir, pkg, out string) string {
	t.Helper()
	cmd := exec.Command("go", "build", "-o", out, pkg)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", pkg, err, b)
	}
	return out
}

func needRoot(t *testing.T, programs ...string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed; scripts/test-tools installs it", p)
		}
	}
}

func instarOCI(t *testing.T) string {
	return build(t, "../..", "./cmd/instar-oci", filepath.Join(t.TempDir(), "instar-oci"))
}

// runtimeTools returns the directory of the module with the validation programs.
func runtimeTools(t *testing.T) string {
	t.Helper()
	const module = "github.com/opencontainers/runtime-tools"
	var dir string
	for _, args := range [][]string{{"mod", "download", module}, {"list", "-m", "-f", "{{.Dir}}", module}} {
		cmd := exec.Command("go", args...)
		cmd.Dir = "testdata/validation"
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod")
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		dir = strings.TrimSpace(string(out))
	}
	return dir
}

// result is a line of testdata/results.txt.
type result struct {
	program string
	passes  map[string]bool // "crun v1", "instar v1", "crun v2", "instar v2"
}

func recorded(t *testing.T) []result {
	t.Helper()
	b, err := os.ReadFile("testdata/results.txt")
	if err != nil {
		t.Fatal(err)
	}
	var out []result
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) != 5 || strings.HasPrefix(line, "#") {
			continue
		}
		r := result{f[0], map[string]bool{}}
		for i, column := range []string{"crun v1", "instar v1", "crun v2", "instar v2"} {
			r.passes[column] = f[i+1] == "pass"
		}
		out = append(out, r)
	}
	return out
}

// TestRecord holds the record itself: what crun passes, instar passes.
func TestRecord(t *testing.T) {
	list := recorded(t)
	if len(list) < 50 {
		t.Fatalf("%d programs are recorded", len(list))
	}
	for _, r := range list {
		for _, view := range []string{"v1", "v2"} {
			if r.passes["crun "+view] && !r.passes["instar "+view] {
				t.Errorf("crun passes %s with cgroups %s, instar does not", r.program, view)
			}
		}
	}
}

// views are what a private mount namespace shows of cgroups.
var views = map[string]string{
	"v1": "umount /sys/fs/cgroup/unified 2>/dev/null || true; grep -q ' - cgroup ' /proc/self/mountinfo || exit 77",
	"v2": "umount -R /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup",
}

// curated are the programs that every run of the tests passes; each covers
// another part of the specification. INSTAR_OCI_ALL=1 runs all that are recorded.
var curated = []string{"create", "default", "delete", "hooks", "hostname", "killsig", "linux_devices", "linux_masked_paths",
	"linux_ns_path", "linux_readonly_paths", "linux_seccomp", "linux_sysctl", "linux_uid_mappings", "mounts", "poststop",
	"prestart_fail", "process_user", "root_readonly_true", "state"}

// TestValidation runs validation programs of opencontainers/runtime-tools.
func TestValidation(t *testing.T) {
	needRoot(t, "unshare", "tar")
	tools := runtimeTools(t)
	archive := "rootfs-" + runtime.GOARCH + ".tar.gz"
	if _, err := os.Stat(filepath.Join(tools, archive)); err != nil {
		t.Skipf("runtime-tools has no root file system for %s", runtime.GOARCH)
	}
	dir, instar := t.TempDir(), instarOCI(t)
	for _, d := range []string{filepath.Dir(dir), dir} { // a container's own users have to get there
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(tools, archive), filepath.Join(dir, archive)); err != nil {
		t.Fatal(err)
	}
	build(t, "testdata/validation", "github.com/opencontainers/runtime-tools/cmd/runtimetest", filepath.Join(dir, "runtimetest"))
	for _, r := range recorded(t) {
		if !slices.Contains(curated, r.program) && os.Getenv("INSTAR_OCI_ALL") == "" {
			continue
		}
		t.Run(r.program, func(t *testing.T) {
			program := build(t, "testdata/validation", "github.com/opencontainers/runtime-tools/validation/"+r.program, filepath.Join(dir, r.program))
			instar := instar
			if r.program == "killsig" {
				instar = patient(t, instar)
			}
			for view, show := range views {
				if r.passes["instar "+view] {
					t.Run(view, func(t *testing.T) { passes(t, dir, show, program, instar) })
				}
			}
		})
	}
}

// patient returns a runtime whose kill waits until the program takes the
// signal: killsig sends it as soon as the shell runs, perhaps before its trap is
// set, and the kernel drops what the first process of a PID namespace has no
// handler for.
func patient(t *testing.T, instar string) string {
	t.Helper()
	const script = `#!/bin/sh
case "$1 $3" in "kill TERM") bit=14;; "kill USR1") bit=9;; "kill USR2") bit=11;; *) exec %[1]s "$@";; esac
pid=$(%[1]s state "$2" | sed -n 's/.*"pid": *\([0-9]*\).*/\1/p')
for i in $(seq 400); do
  mask=$(sed -n 's/^SigCgt:[[:space:]]*/0x/p' "/proc/$pid/status")
  [ $(( ${mask:-0} >> bit & 1 )) = 0 ] || break
  sleep 0.05
done
exec %[1]s "$@"
`
	file := filepath.Join(t.TempDir(), "patient")
	if err := os.WriteFile(file, fmt.Appendf(nil, script, instar), 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

// passes runs a program and looks at what it reports.
func passes(t *testing.T, dir, show, program, instar string) {
	out, err := validate(dir, show, program, instar)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 77 {
		t.Skip("this machine has no cgroups of version 1")
	}
	if err != nil || bytes.Contains(out, []byte("\nnot ok")) || bytes.HasPrefix(out, []byte("not ok")) {
		t.Errorf("%v\n%s", err, out)
	}
}

// validate runs a program in a mount namespace of its own.
func validate(dir, show, program, instar string) ([]byte, error) {
	cmd := exec.Command("unshare", "-m", "sh", "-c", fmt.Sprintf("mount --make-rprivate / && %s; exec timeout 60 %s", show, program))
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "RUNTIME="+instar, "TMPDIR="+dir)
	return cmd.CombinedOutput()
}
