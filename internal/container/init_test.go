package container

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/launch"
	"github.com/instar-os/instar/internal/system"
	"golang.org/x/sys/unix"
)

func withInit(c *system.Container) { c.Init, c.UID, c.GID = true, 7, 8 }

// The command stands behind a first process that has nothing but its rights.
func TestInit(t *testing.T) {
	w := newWorld(t)
	s := w.sandbox(t, w.container(t, func(c *system.Container) {
		withInit(c)
		c.Descriptors = []system.Descriptor{{Link: "door", Part: system.Listener}}
		w.Descriptors = func(*system.Container) ([]*os.File, error) {
			f, err := os.Open(os.DevNull)
			t.Cleanup(func() { f.Close() })
			return []*os.File{f}, err
		}
	}))
	r := look(t, s.Start, "/proc/1/comm", "/proc/1/cmdline", "/proc/1/status", "/proc/1/fd", "/proc/1/environ")
	expect(t, "PID", r.PID, 2)
	expect(t, "parent", r.PPID, 1)
	expect(t, "processes", fmt.Sprint(r.Processes), "[1 2]")
	expect(t, "name of the first process", r.Files["/proc/1/comm"], "init\n")
	expect(t, "its arguments", r.Files["/proc/1/cmdline"], "init\x00")
	expect(t, "its environment", r.Files["/proc/1/environ"], "")
	expect(t, "its files", r.Files["/proc/1/fd"], "0 entries <nil>")
	expect(t, "LISTEN_PID", slices.Contains(r.Env, "LISTEN_PID=2"), true)
	expect(t, "the command's session", r.Status["NSsid"], "2")
	for key, want := range map[string]string{"Uid": "7\t7\t7\t7", "CapEff": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2"} {
		if !strings.Contains(r.Files["/proc/1/status"], key+":\t"+want+"\n") {
			t.Errorf("the first process is not %s %s:\n%s", key, want, r.Files["/proc/1/status"])
		}
	}
	expect(t, "the command's mask", r.Status["SigBlk"], "0000000000000000")
}

// It ends as the command does.
func TestInitEnds(t *testing.T) {
	w := newWorld(t)
	s := w.sandbox(t, w.container(t, withInit))
	for _, row := range []struct {
		args []string
		want Exit
	}{
		{[]string{"exit", "0"}, Exit{}},
		{[]string{"exit", "255"}, Exit{Code: 255}},
		{[]string{"die"}, Exit{Code: 128 + 9}},
	} {
		if _, _, e := output(t, s.Start, row.args...); e != row.want {
			t.Errorf("%v: %v, want %v", row.args, e, row.want)
		}
	}
}

func TestInitReaps(t *testing.T) {
	w := newWorld(t)
	s := w.sandbox(t, w.container(t, withInit))
	if got := succeed(t, s.Start, "orphans", "40"); got != "reaped\n" {
		t.Error(got)
	}
}

// Every signal is passed on, those included that come before the command can
// take one.
func TestInitForwards(t *testing.T) {
	w := newWorld(t)
	s := w.sandbox(t, w.container(t, withInit))
	r, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p, err := s.Start([]string{"/bin/probe", "heed"}, nil, out, nil)
	out.Close()
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(r)
	lines.Scan()
	for _, sig := range []syscall.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGUSR1, unix.SIGWINCH, 40} {
		if err := p.Signal(sig); err != nil {
			t.Fatal(err)
		}
		if lines.Scan(); lines.Text() != strconv.Itoa(int(sig)) {
			t.Errorf("signal %d: the command got %q", sig, lines.Text())
		}
	}
	expect(t, "it takes signals", p.Takes(unix.SIGTERM), true)
	if err := p.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	wantExit(t, p, Exit{})
	for range 50 { // whatever the command has come to
		p, err := s.Start([]string{"/bin/probe", "sleep"}, nil, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		expect(t, "it takes signals at once", p.Takes(unix.SIGTERM), true)
		if err := p.Signal(unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		ends(t, p)
	}
}

// ends waits for the end of a process that nothing else would end.
func ends(t *testing.T, p *Process) {
	t.Helper()
	overdue := time.AfterFunc(time.Minute, func() {
		t.Error("it does not end")
		p.Signal(unix.SIGKILL)
	})
	defer overdue.Stop()
	if _, err := p.Wait(); err != nil {
		t.Error(err)
	}
}

// A signal that is held back until the first process takes it is not lost.
func TestTakes(t *testing.T) {
	w := newWorld(t)
	s := w.sandbox(t, w.container(t, nil))
	for range 20 {
		p, err := s.Start([]string{"/bin/probe", "sleep"}, nil, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		for !p.Takes(unix.SIGTERM) {
			time.Sleep(100 * time.Microsecond)
		}
		if err := p.Signal(unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		ends(t, p)
	}
	for _, row := range []struct {
		status string
		want   bool
	}{
		{"SigBlk:\t0000000000000000\nSigIgn:\t0000000000004000\nSigCgt:\t0000000000000000\n", false},
		{"SigBlk:\t0000000000004000\nSigIgn:\t0\nSigCgt:\t0000000000000000\n", true},
		{"SigBlk:\t0000000000000000\nSigIgn:\t0\nSigCgt:\t0000000000004000\n", true},
		{"SigBlk:\t0000000000000000\nSigIgn:\t0\nSigCgt:\t0000000000008000\n", false},
		{"", true},
	} {
		if got := takes(row.status, unix.SIGTERM); got != row.want {
			t.Errorf("%q: %v", row.status, got)
		}
	}
}

// A command that cannot be executed is reported as ever, and nothing is left.
func TestInitWithoutCommand(t *testing.T) {
	w := newWorld(t)
	s := w.sandbox(t, w.container(t, withInit))
	_, err := s.Start([]string{"/no/such/program"}, nil, nil, nil)
	var e *launch.Error
	if !errors.As(err, &e) || e.Errno != unix.ENOENT || e.Label != "executing the program" || e.Source != "instar.yaml:3" {
		t.Errorf("%v", err)
	}
	if left := children(); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// Its program can be changed by nobody, and it takes no more than a few pages.
func TestInitIsSmall(t *testing.T) {
	w := newWorld(t)
	s := w.sandbox(t, w.container(t, func(c *system.Container) { withInit(c); c.UID, c.GID = 0, 0 }))
	p := run(t, s, "sleep")
	exe := fmt.Sprintf("/proc/%d/exe", p.PID())
	if to, err := os.Readlink(exe); err != nil || to != "/memfd:init (deleted)" {
		t.Errorf("it is %q, %v", to, err)
	}
	if f, err := os.OpenFile(exe, os.O_WRONLY, 0); err == nil {
		if _, err = f.Write([]byte("x")); err == nil {
			t.Error("its program can be written")
		}
		f.Close()
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); f[0] == "Rss:" {
			kib, err := strconv.Atoi(f[1])
			t.Logf("resident: %d KiB", kib)
			if err != nil || kib > 64 {
				t.Errorf("%d KiB are resident, %v", kib, err)
			}
		}
	}
	if err := p.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	ends(t, p)
}

// What runs in a container never looks into the memory that children share with
// us before they execute their programs.
func TestMemoryIsClosed(t *testing.T) {
	w := newWorld(t)
	c := w.container(t, func(c *system.Container) { c.IDs = system.IDRange{} })
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	w.sandbox(t, c)
	if n, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); n != 0 || err != nil {
		t.Errorf("others of our user could attach to us: %d, %v", n, err)
	}
	c.Init, c.Capabilities = true, []string{"CAP_SYS_PTRACE"}
	if _, err := launch.Compile(&launch.Spec{Arch: runtime.GOARCH, Container: c}); err == nil || !strings.Contains(err.Error(), "SYS_PTRACE") {
		t.Errorf("who may look into every process of the machine's users: %v", err)
	}
}
