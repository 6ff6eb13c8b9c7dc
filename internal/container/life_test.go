package container

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/launch"
	"github.com/instar-os/instar/internal/system"
	"golang.org/x/sys/unix"
)

// run starts the probe and waits for its first line.
func run(t testing.TB, s *Sandbox, args ...string) *Process {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p, err := s.Start(append([]string{"/bin/probe"}, args...), nil, w, nil)
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(r).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the probe said %q, %v", line, err)
	}
	return p
}

func wantExit(t testing.TB, p *Process, want Exit) {
	t.Helper()
	if e, err := p.Wait(); err != nil || e != want {
		t.Errorf("%v, %v; want %v", e, err, want)
	}
	if err := p.Signal(unix.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("signal after the end: %v", err)
	}
}

func TestExecJoins(t *testing.T) {
	w := newWorld(t)
	s := w.sandbox(t, w.container(t, func(c *system.Container) { c.UID, c.GID = 7, 8 }))
	if _, err := s.Exec([]string{"/bin/probe"}, nil, nil, nil); err == nil || !strings.Contains(err.Error(), "it does not run") {
		t.Errorf("exec before the start: %v", err)
	}
	p := run(t, s, "sleep")
	main, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", p.PID()))
	if err != nil {
		t.Fatal(err)
	}
	first := look(t, s.Exec)
	expect(t, "processes", len(first.Processes), 2)
	expect(t, "user", first.UID, 7)
	expect(t, "host name", first.Hostname, "greenhouse")
	expect(t, "CapBnd", first.Status["CapBnd"], "0000000000000000")
	expect(t, "Seccomp", first.Status["Seccomp"], "2")
	expect(t, "interfaces", len(first.Interfaces), 1)
	again, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil || again == main {
		t.Errorf("the container shares our mounts (%v)", err)
	}
	var checks sync.WaitGroup
	for range 8 {
		checks.Go(func() {
			if _, _, e := output(t, s.Exec, "exit", "5"); e.Code != 5 {
				t.Errorf("exec: %v", e)
			}
		})
	}
	checks.Wait()
	if err := p.Signal(unix.SIGKILL); err != nil {
		t.Error(err)
	}
	wantExit(t, p, Exit{Signal: unix.SIGKILL})
	if _, err := s.Exec([]string{"/bin/probe"}, nil, nil, nil); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("exec after the end: %v", err)
	}
}

// TestThreadsStayHome holds that joining a PID namespace does not leave a
// thread of ours in it: new processes must have the parent's namespace.
func TestThreadsStayHome(t *testing.T) {
	w := newWorld(t)
	s := w.sandbox(t, w.container(t, nil))
	p := run(t, s, "sleep")
	for range 20 {
		succeed(t, s.Exec, "exit", "0")
	}
	own, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	tasks, err := filepath.Glob("/proc/self/task/*/ns/pid_for_children")
	if err != nil || len(tasks) == 0 {
		t.Fatal(tasks, err)
	}
	for _, task := range tasks {
		if got, err := os.Readlink(task); err == nil && got != own {
			t.Errorf("%s is %s, not %s", task, got, own)
		}
	}
	if err := s.Kill(); err != nil {
		t.Error(err)
	}
	wantExit(t, p, Exit{Signal: unix.SIGKILL})
}

func TestSignals(t *testing.T) {
	w := newWorld(t)
	s := w.sandbox(t, w.container(t, nil))
	p := run(t, s, "term")
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	wantExit(t, p, Exit{Code: 42})
	if err := s.Kill(); err != nil {
		t.Errorf("killing what has ended: %v", err)
	}
}

func TestErrorsNameTheOperation(t *testing.T) {
	w := newWorld(t)
	s := w.sandbox(t, w.container(t, nil))
	_, err := s.Start([]string{"/bin/absent"}, nil, nil, nil)
	var e *launch.Error
	if !errors.As(err, &e) || e.Call != launch.Execve || e.Errno != unix.ENOENT {
		t.Errorf("a program that is not there: %v", err)
	}
	if want := "starting /bin/absent in container probe: instar.yaml:3: operation"; !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%q does not begin with %q", err, want)
	}
	for name, row := range map[string]struct {
		edit func(*system.Container)
		want string
	}{
		"directory": {func(c *system.Container) { c.Dir = "/absent" }, "changing to /absent: chdir: no such file"},
		"limit":     {func(c *system.Container) { c.Limits.Rlimits = map[string]int64{"nofile": 1 << 40} }, "setting rlimit nofile to"},
	} {
		t.Run(name, func(t *testing.T) {
			s := w.sandbox(t, w.container(t, row.edit))
			if _, err := s.Start([]string{"/bin/probe"}, nil, nil, nil); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("%v; want %q", err, row.want)
			}
		})
	}
	for name, args := range map[string][]string{"no program": nil, "NUL byte": {"/bin/probe", "a\x00b"}} {
		if _, err := s.Start(args, nil, nil, nil); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v; want %q", err, name)
		}
	}
}

func TestPrepareErrors(t *testing.T) {
	for want, edit := range map[string]func(*Runtime, *system.Container){
		"its launch programs have digest": func(r *Runtime, c *system.Container) {
			overwrite(t, filepath.Join(r.Store, "objects", c.Launch.Digest.Path()))
		},
		"reading its launch programs":                func(_ *Runtime, c *system.Container) { c.Launch.Digest = digest.Of([]byte("x")) },
		"creating the erofs: fsconfig: no such file": func(_ *Runtime, c *system.Container) { c.Image.Digest = digest.Of([]byte("x")) },
		"fsconfig: invalid argument":                 func(r *Runtime, c *system.Container) { c.Image.Digest = notImage(t, r) },
		"mounting /var/lib/x: move_mount":            func(_ *Runtime, c *system.Container) { c.Data = []system.Data{{Path: "/var/lib/x"}} },
		"making its cgroup":                          func(r *Runtime, _ *system.Container) { r.Cgroup = "/absent/cgroup" },
		"taking the control socket":                  func(_ *Runtime, c *system.Container) { c.Control = true },
		"taking resolv.conf: open_tree":              func(r *Runtime, c *system.Container) { r.Resolv, c.Network = "/absent/resolv.conf", system.HostNetwork },
	} {
		w := newWorld(t)
		r, c := w.Runtime, w.container(t, nil)
		edit(r, c)
		if c.Launch.Digest != digest.Of([]byte("x")) && !strings.HasPrefix(want, "its launch") {
			w.compile(t, c)
		}
		s, err := r.Prepare(c, "day")
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
		if _, err := os.Stat(filepath.Join(r.State, c.Name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%q: its place is left behind (%v)", want, err)
		}
	}
}

func overwrite(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, make([]byte, 8), 0o444); err != nil {
		t.Fatal(err)
	}
}

// notImage puts a file that is no EROFS among the images.
func notImage(t *testing.T, r *Runtime) digest.Digest {
	t.Helper()
	b := make([]byte, 8192)
	d := digest.Of(b)
	if err := os.WriteFile(filepath.Join(r.Store, "images", d.String()), b, 0o444); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestHostNetwork(t *testing.T) {
	w := newWorld(t)
	w.Resolv, w.Control = filepath.Join(w.State, "resolv.conf"), filepath.Join(w.State, "control.sock")
	if err := os.WriteFile(w.Resolv, []byte("nameserver 192.0.2.1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", w.Control)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := w.sandbox(t, w.container(t, func(c *system.Container) { c.Network, c.Control = system.HostNetwork, true }))
	expect(t, "resolv.conf", succeed(t, s.Start, "print", "/etc/resolv.conf"), "nameserver 192.0.2.1\n")
	if err := os.WriteFile(w.Resolv, []byte("nameserver 192.0.2.2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	expect(t, "resolv.conf rewritten", succeed(t, s.Start, "print", "/etc/resolv.conf"), "nameserver 192.0.2.2\n")
	r := look(t, s.Start)
	list, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "interfaces", len(r.Interfaces), len(list))
	if m := r.Mounts["/run/instar/control.sock"]; m == "" {
		t.Error("no control socket in the container")
	}
}

// cgroup2 makes a cgroup for the test.
func cgroup2(t *testing.T) string {
	t.Helper()
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var fs unix.Statfs_t
		if unix.Statfs(root, &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC {
			dir := filepath.Join(root, fmt.Sprintf("container-test-%d-%s", os.Getpid(), filepath.Base(t.Name())))
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Skip("no cgroup can be made: ", err)
			}
			t.Cleanup(func() { os.Remove(dir) })
			return dir
		}
	}
	t.Skip("no cgroup v2 is mounted")
	return ""
}

func TestCgroup(t *testing.T) {
	w := newWorld(t)
	w.Cgroup = cgroup2(t)
	controllers, err := os.ReadFile(filepath.Join(w.Cgroup, "cgroup.controllers"))
	if err != nil {
		t.Fatal(err)
	}
	s := w.sandbox(t, w.container(t, func(c *system.Container) {
		c.Limits = system.Limits{Memory: 32 << 20, Pids: 50, CPUWeight: 200, CPUQuota: 50000}
	}))
	p := run(t, s, "sleep")
	own, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", p.PID()))
	if err != nil || !strings.Contains(string(own), filepath.Base(w.Cgroup)+"/probe") {
		t.Errorf("the process is in %s (%v)", own, err)
	}
	for _, line := range strings.Split(look(t, s.Exec).Cgroup, "\n") {
		if strings.HasPrefix(line, "0::") && line != "0::/" {
			t.Errorf("the container sees its cgroup as %s", line)
		}
	}
	if !strings.Contains(string(controllers), "memory") {
		t.Log("no memory controller on cgroup v2 here")
		if all := strings.Join(s.Warnings(), "\n"); !strings.Contains(all, "memory.max 33554432 is not enforced") ||
			!strings.Contains(all, "cpu.max 50000 100000 is not enforced") {
			t.Errorf("warnings: %s", all)
		}
	} else if s.Stats().Memory == 0 || len(s.Warnings()) != 0 {
		t.Errorf("%+v, warnings %q", s.Stats(), s.Warnings())
	}
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	wantExit(t, p, Exit{Signal: unix.SIGKILL})
}

func TestMemoryLimit(t *testing.T) {
	w := newWorld(t)
	w.Cgroup = cgroup2(t)
	s := w.sandbox(t, w.container(t, func(c *system.Container) { c.Limits.Memory = 32 << 20 }))
	if len(s.Warnings()) > 0 {
		t.Skip("the cgroup v2 of this machine limits nothing: ", s.Warnings())
	}
	if _, _, e := output(t, s.Start, "eat", fmt.Sprint(64<<20)); e.Signal != unix.SIGKILL {
		t.Errorf("a process that needs twice its memory: %v", e)
	}
	if n := s.Stats().OOMKills; n == 0 {
		t.Error("no OOM kill was counted")
	}
}

func TestWarningWithoutCgroup(t *testing.T) {
	w := newWorld(t)
	s := w.sandbox(t, w.container(t, func(c *system.Container) { c.Limits.Memory = 1 << 20 }))
	expect(t, "warnings", strings.Join(s.Warnings(), "|"), "limits of memory, processes and CPU are not enforced: no cgroup v2 here")
	expect(t, "stats", s.Stats(), Stats{})
}

// state counts what starts could leak: descriptors, mounts and children.
func state(t testing.TB) [3]int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return [3]int{len(fds), strings.Count(string(mounts), "\n"), len(children())}
}

// children returns the PIDs of our children.
func children() (pids []string) {
	tasks, _ := filepath.Glob("/proc/self/task/*/children")
	for _, f := range tasks {
		b, _ := os.ReadFile(f)
		pids = append(pids, strings.Fields(string(b))...)
	}
	return pids
}

// TestNothingLeaks starts containers by the hundred, from several goroutines,
// with garbage collections in between, and fails some on purpose.
func TestNothingLeaks(t *testing.T) {
	w := newWorld(t)
	if _, err := probe(); err != nil {
		t.Fatal(err)
	}
	starts, rounds := 100, 4
	if testing.Short() {
		starts = 10
	}
	first := w.container(t, nil)
	before := state(t)
	stop := make(chan struct{})
	var gc sync.WaitGroup
	gc.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				runtime.GC()
				time.Sleep(time.Millisecond)
			}
		}
	})
	var workers sync.WaitGroup
	for i := range 4 {
		workers.Go(func() {
			c := *first
			c.Name = fmt.Sprint("probe", i)
			for range rounds {
				s, err := w.Prepare(&c, "day")
				if err != nil {
					t.Error(err)
					return
				}
				for n := range starts {
					p, err := s.Start([]string{"/bin/probe", "exit", "7"}, nil, nil, nil)
					if err != nil {
						t.Error(err)
						return
					}
					if e, err := p.Wait(); err != nil || e.Code != 7 {
						t.Error(e, err)
					}
					if _, err := s.Start([]string{"/absent"}, nil, nil, nil); n%10 == 0 && err == nil {
						t.Error("started what is not there")
					}
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	workers.Wait()
	close(stop)
	gc.Wait()
	if after := state(t); after != before {
		t.Errorf("descriptors, mounts, children: %v before, %v after", before, after)
	}
}

// TestLeaveRamfs runs the whole of a container in a process that has left its
// root as the first process of a machine does.
func TestLeaveRamfs(t *testing.T) {
	if os.Getenv("INSTAR_TEST_LEAVE") == "" {
		if os.Geteuid() != 0 {
			t.Skip("making containers needs root")
		}
		cmd := exec.Command(os.Args[0], "-test.run=^TestLeaveRamfs$", "-test.v")
		cmd.Env = append(os.Environ(), "INSTAR_TEST_LEAVE=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	w := newWorld(t)
	c := w.container(t, nil)
	if err := LeaveRamfs(); err != nil {
		t.Fatal(err)
	}
	for _, m := range []struct{ fs, at string }{{"proc", "/proc"}, {"devtmpfs", "/dev"}} {
		if err := unix.Mount(m.fs, m.at, m.fs, 0, ""); err != nil {
			t.Fatal(err)
		}
	}
	s := w.sandbox(t, c)
	r := look(t, s.Start)
	expect(t, "pid", r.PID, 1)
	if _, ok := r.Mounts["/.root"]; ok {
		t.Error("the old root is mounted in the container")
	}
}

func TestSignalMaskIsClear(t *testing.T) {
	w := newWorld(t)
	s := w.sandbox(t, w.container(t, nil))
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var block, old unix.Sigset_t
	block.Val[0] = 1 << (unix.SIGUSR1 - 1)
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &block, &old); err != nil {
		t.Fatal(err)
	}
	r := look(t, s.Start)
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil); err != nil {
		t.Fatal(err)
	}
	expect(t, "blocked signals", r.Status["SigBlk"], "0000000000000000")
}

// TestChildHasNoHandlers holds a child in the middle of its program: the Go
// runtime's signal handlers must not run in it, on the memory that it shares.
func TestChildHasNoHandlers(t *testing.T) {
	l, err := load(&launch.Program{
		Arch: runtime.GOARCH, Slots: launch.FirstData, Pool: make([]byte, 8),
		Ops: []launch.Op{{Call: launch.Read, Label: "waiting", Args: [6]launch.Arg{
			{Kind: launch.Slot, Value: launch.Stdin}, {Kind: launch.Pool}, {Value: 1}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	slots := l.slots()
	slots[launch.Stdin] = r.Fd()
	done := make(chan error)
	go func() {
		_, pidfd, err := l.run(slots, -1)
		if err == nil {
			_, err = wait(pidfd)
			unix.Close(pidfd)
		}
		done <- err
	}()
	status := ""
	for range 1000 {
		if list := children(); len(list) == 1 {
			b, err := os.ReadFile("/proc/" + list[0] + "/status")
			if err != nil {
				t.Fatal(err)
			}
			status = string(b)
			break
		}
		time.Sleep(time.Millisecond)
	}
	w.Write([]byte{0}) // the child has a copy of both ends: closing would not end its wait
	w.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(status, "SigCgt:\t0000000000000000\n") {
		t.Errorf("the child handles signals: %s", status)
	}
}
