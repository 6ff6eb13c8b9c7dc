package oci

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// containerd is a daemon of its own with what it needs in one directory.
type containerd struct {
	t        *testing.T
	dir, oci string
	said     string // on standard error, by the last command
}

const containerdConfig = `version = 2
root = "%[1]s/root"
state = "%[1]s/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs"]
[grpc]
address = "%[1]s/c.sock"
[ttrpc]
address = "%[1]s/t.sock"
`

func startContainerd(t *testing.T) *containerd {
	t.Helper()
	dir, err := os.MkdirTemp("", "instar-ctr") // its paths must be short: they hold sockets
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(config, fmt.Appendf(nil, containerdConfig, dir), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	daemon := exec.Command("containerd", "--config", config)
	daemon.Stdout, daemon.Stderr = log, log
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := daemon.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		_ = daemon.Wait()
		if t.Failed() {
			b, _ := os.ReadFile(log.Name())
			t.Logf("containerd says\n%s", b)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	c := &containerd{t: t, dir: dir, oci: instarOCI(t)}
	for range 600 {
		if exec.Command("ctr", "--address", dir+"/c.sock", "version").Run() == nil {
			return c
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("containerd does not answer")
	return nil
}

// ctr runs a command of containerd's client.
func (c *containerd) ctr(wantCode int, args ...string) string {
	c.t.Helper()
	cmd := exec.Command("ctr", append([]string{"--address", c.dir + "/c.sock", "--namespace", "instar-test"}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	c.said = stderr.String()
	if code := cmd.ProcessState.ExitCode(); code != wantCode {
		c.t.Fatalf("ctr %v: exit code %d, want %d (%v)\n%s%s", args, code, wantCode, err, out, c.said)
	}
	return strings.TrimSpace(string(out))
}

// prints runs a command until it has printed something, a few times: ctr drops
// output that is not copied yet when the program has ended.
func (c *containerd) prints(want string, code int, args ...string) {
	c.t.Helper()
	var got string
	for range 10 {
		if got = c.ctr(code, args...); got == want {
			return
		}
	}
	c.t.Errorf("ctr %v printed %q, want %q", args, got, want)
}

// TestContainerd lets containerd run containers with instar, from a directory:
// no image is pulled.
func TestContainerd(t *testing.T) {
	needRoot(t, "containerd", "containerd-shim-runc-v2", "ctr", "tar", "gzip")
	archive := filepath.Join(runtimeTools(t), "rootfs-"+runtime.GOARCH+".tar.gz")
	if _, err := os.Stat(archive); err != nil {
		t.Skipf("runtime-tools has no root file system for %s", runtime.GOARCH)
	}
	root := t.TempDir()
	if out, err := exec.Command("tar", "-xzf", archive, "-C", root).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	c := startContainerd(t)
	run := func(flags []string, id string, command ...string) []string {
		args := append([]string{"run", "--runtime", "io.containerd.runc.v2", "--runc-binary", c.oci}, flags...)
		return append(append(args, "--rootfs", root, id), command...)
	}
	remove := []string{"--rm"}
	c.prints("hello", 0, run(remove, "a", "/bin/sh", "-c", "echo hello; sleep 0.2")...)
	c.ctr(3, run(remove, "a", "/bin/sh", "-c", "exit 3")...)
	c.prints("0\nb\n/tmp\n1", 0, run([]string{"--rm", "--env", "A=b", "--cwd", "/tmp", "--read-only"}, "a",
		"/bin/sh", "-c", "id -u; echo $A; pwd; touch /x 2>&1 | grep -c Read-only; sleep 0.2")...)
	c.ctr(1, run(remove, "b", "/no/such/program")...)

	c.ctr(0, run([]string{"--detach"}, "d", "/bin/sh", "-c", `trap "exit 4" TERM; while :; do sleep 0.1; done`)...)
	t.Cleanup(func() {
		_ = exec.Command("ctr", "--address", c.dir+"/c.sock", "--namespace", "instar-test", "tasks", "delete", "--force", "d").Run()
	})
	status := func(want string) {
		t.Helper()
		var got string
		for range 300 {
			for line := range strings.Lines(c.ctr(0, "tasks", "ls")) {
				if f := strings.Fields(line); len(f) == 3 && f[0] == "d" {
					got = f[2]
				}
			}
			if got == want {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Errorf("the container is %s, want %s", got, want)
	}
	status("RUNNING")
	c.prints("within", 7, "tasks", "exec", "--exec-id", "x", "d", "/bin/sh", "-c", "echo within; sleep 0.2; exit 7")
	c.ctr(0, "tasks", "pause", "d")
	status("PAUSED")
	c.ctr(0, "tasks", "resume", "d")
	status("RUNNING")
	if got := c.ctr(0, "tasks", "ps", "d"); !strings.HasPrefix(got, "PID") || strings.Count(got, "\n") < 1 {
		t.Errorf("ps printed %q", got)
	}
	c.ctr(0, "tasks", "kill", "--signal", "SIGTERM", "d")
	status("STOPPED")
	c.ctr(0, "tasks", "delete", "d")
	if !strings.Contains(c.said, "exit code 4") {
		t.Errorf("the exit status is not 4: %q", c.said)
	}
	c.ctr(0, "containers", "delete", "d")
	if left, err := os.ReadDir("/run/containerd/runc/instar-test"); err == nil && len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
