package oci

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// podman runs podman with storage and state of its own.
type podman struct {
	t        *testing.T
	dir, oci string
}

func (p *podman) run(wantCode int, args ...string) string {
	p.t.Helper()
	base := []string{"--root", p.dir + "/root", "--runroot", p.dir + "/run", "--tmpdir", p.dir + "/tmp", "--storage-driver", "vfs",
		"--cgroup-manager", "cgroupfs", "--events-backend", "none", "--runtime", p.oci}
	cmd := exec.Command("podman", append(base, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if code := cmd.ProcessState.ExitCode(); code != wantCode {
		p.t.Fatalf("podman %v: exit code %d, want %d (%v)\n%s%s", args, code, wantCode, err, out, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

// TestPodman lets podman run containers with instar, from an image that is made
// of a local archive: no network is used.
func TestPodman(t *testing.T) {
	needRoot(t, "podman", "conmon", "tar", "gzip")
	archive := filepath.Join(runtimeTools(t), "rootfs-"+runtime.GOARCH+".tar.gz")
	if _, err := os.Stat(archive); err != nil {
		t.Skipf("runtime-tools has no root file system for %s", runtime.GOARCH)
	}
	dir, err := os.MkdirTemp("", "instar-podman") // its paths must be short: they hold sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	plain := filepath.Join(dir, "rootfs.tar")
	if out, err := exec.Command("sh", "-c", "gzip -dc "+archive+" >"+plain).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	p := &podman{t, dir, instarOCI(t)}
	p.run(0, "import", plain, "test:1")
	common := []string{"--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"}
	with := func(args ...string) []string { return append(append([]string{args[0]}, common...), args[1:]...) }

	if got := p.run(0, with("run", "--rm", "test:1", "/bin/echo", "hello")...); got != "hello" {
		t.Errorf("run printed %q", got)
	}
	p.run(127, with("run", "--rm", "test:1", "no-such-program")...)
	if got := p.run(3, with("run", "--rm", "-t", "test:1", "/bin/sh", "-c", "tty; exit 3")...); got != "/dev/pts/0" {
		t.Errorf("with a terminal, run printed %q", got)
	}
	p.run(0, with("run", "-d", "--name", "d", "test:1", "/bin/sh", "-c", `echo started; trap "exit 4" TERM; while :; do sleep 0.1; done`)...)
	t.Cleanup(func() {
		_ = exec.Command("podman", "--root", dir+"/root", "--runroot", dir+"/run", "rm", "-f", "d").Run()
	})
	if got := p.run(7, "exec", "d", "/bin/sh", "-c", "echo within; exit 7"); got != "within" {
		t.Errorf("exec printed %q", got)
	}
	p.run(127, "exec", "d", "no-such-program")
	p.run(0, "pause", "d")
	if got := p.run(0, "inspect", "d", "--format", "{{.State.Status}}"); got != "paused" {
		t.Errorf("a paused container is %q", got)
	}
	p.run(0, "unpause", "d")
	if got := p.run(0, "logs", "d"); got != "started" {
		t.Errorf("logs are %q", got)
	}
	begin := time.Now()
	p.run(0, "stop", "-t", "20", "d")
	if took := time.Since(begin); took > 15*time.Second {
		t.Errorf("stop took %v: the signal did not arrive", took)
	}
	if got := p.run(0, "inspect", "d", "--format", "{{.State.ExitCode}} {{.State.Status}}"); got != "4 exited" {
		t.Errorf("after stop, it is %q", got)
	}
	p.run(0, "rm", "d")
}
