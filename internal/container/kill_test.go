package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
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

// A snare holds a child before one of its operations until it is killed.
type snare struct {
	here, never *os.File // the child writes to here and reads from never
	ends        [2]*os.File
}

func newSnare(t *testing.T) *snare {
	t.Helper()
	s := new(snare)
	var err error
	if s.ends[0], s.here, err = os.Pipe(); err != nil {
		t.Fatal(err)
	}
	if s.never, s.ends[1], err = os.Pipe(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, f := range []*os.File{s.here, s.never, s.ends[0], s.ends[1]} {
			f.Close()
		}
	})
	return s
}

// set returns the program with the snare before operation i, under its label.
func (s *snare) set(t *testing.T, p *launch.Program, i int) *loaded {
	t.Helper()
	at := uint64(len(p.Pool)) // a byte to write and to read into
	q := *p
	q.Pool = append(slices.Clone(p.Pool), make([]byte, 8)...)
	fd := func(f *os.File) launch.Arg { return launch.Arg{Value: uint64(f.Fd())} }
	one, buffer := launch.Arg{Value: 1}, launch.Arg{Kind: launch.Pool, Value: at}
	q.Ops = slices.Insert(slices.Clone(p.Ops), i,
		launch.Op{Call: launch.Write, Label: "snare: " + p.Ops[i].Label, Args: [6]launch.Arg{fd(s.here), buffer, one}},
		launch.Op{Call: launch.Read, Label: "snare: " + p.Ops[i].Label, Args: [6]launch.Arg{fd(s.never), buffer, one}})
	l, err := load(&q)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestKilledAnywhere kills the child at every operation of every program: the
// error must name it, and nothing may be left.
func TestKilledAnywhere(t *testing.T) {
	w := newWorld(t)
	w.Cgroup = cgroup2(t)
	c := w.container(t, func(c *system.Container) {
		c.Root, c.UID, c.GID = system.Ephemeral, 7, 8
		c.Data = []system.Data{{Path: "/var/lib/x", Version: 1, Mode: 0o750}}
	})
	whole, err := w.launch(c)
	if err != nil {
		t.Fatal(err)
	}
	behind, err := w.launch(w.container(t, func(c *system.Container) { c.Init, c.UID, c.GID = true, 7, 8 }))
	if err != nil {
		t.Fatal(err)
	}
	first, err := w.init.open()
	if err != nil {
		t.Fatal(err)
	}
	main := w.sandbox(t, c) // Join runs in it
	process := run(t, main, "sleep")
	defer process.Wait()
	defer main.Kill()
	other, third := *c, *c
	other.Name, third.Name = "other", "third"
	stage, err := w.Runtime.sandbox(&third, whole, w.probeParts(c)) // starts one after the other, each with a /proc above the last one's
	if err != nil {
		t.Fatal(err)
	}
	defer stage.Close()
	trap := newSnare(t)
	for _, row := range []struct {
		name string
		p    *launch.Program
		do   func(*loaded) error
	}{
		{"spaces", whole.spaces.program, func(l *loaded) error {
			return prepare(w, &other, &loadedLaunch{l, whole.root, whole.drop, whole.start, whole.join})
		}},
		{"root", whole.root.program, func(l *loaded) error {
			return prepare(w, &other, &loadedLaunch{whole.spaces, l, whole.drop, whole.start, whole.join})
		}},
		{"drop", whole.drop.program, func(l *loaded) error {
			return prepare(w, &other, &loadedLaunch{whole.spaces, whole.root, l, whole.start, whole.join})
		}},
		{"start", whole.start.program, func(l *loaded) error {
			s := &Sandbox{name: "probe", fds: stage.fds, start: l, nofile: main.nofile, cgroup: main.cgroup}
			_, err := s.Start([]string{"/bin/true"}, nil, nil, nil)
			return err
		}},
		{"start behind a first process", behind.start.program, func(l *loaded) error {
			s := &Sandbox{name: "probe", fds: stage.fds, start: l, nofile: main.nofile, cgroup: main.cgroup, init: first}
			_, err := s.Start([]string{"/bin/true"}, nil, nil, nil)
			return err
		}},
		{"start from a spare", whole.start.program, func(l *loaded) error {
			s := &Sandbox{name: "probe", fds: stage.fds, start: l, nofile: main.nofile, cgroup: main.cgroup}
			if err := s.hold(); err != nil {
				return errors.Join(err, s.letGo())
			}
			_, err := s.Start([]string{"/bin/true"}, nil, nil, nil)
			return errors.Join(err, s.letGo())
		}},
		{"join", whole.join.program, func(l *loaded) error {
			s := &Sandbox{name: "probe", fds: main.fds, joining: l, nofile: main.nofile, cgroup: main.cgroup, main: process}
			_, err := s.Exec([]string{"/bin/true"}, nil, nil, nil)
			return err
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			before := leftovers(t, w)
			for i := range row.p.Ops {
				l := trap.set(t, row.p, i)
				sprung := make(chan struct{})
				go func() {
					trap.spring(t, process.PID())
					close(sprung)
				}()
				err := row.do(l)
				<-sprung
				var e *launch.Error
				if !errors.As(err, &e) || e.Label != "snare: "+row.p.Ops[i].Label || e.Signal != syscall.SIGKILL {
					t.Errorf("killed before operation %d, %s: %v", i, row.p.Ops[i].Label, err)
				}
				if e != nil && (e.Source != "instar.yaml:3" || e.Op != i && e.Op != i+1) {
					t.Errorf("the error does not name operation and line: %v", err)
				}
			}
			if after := leftovers(t, w); after != before {
				t.Errorf("%s before, %s after", before, after)
			}
		})
	}
}

// spring kills the child that has reached the snare, which is not the given one.
// When there are two, it is the one that reads there.
func (s *snare) spring(t *testing.T, other int) {
	if _, err := s.ends[0].Read(make([]byte, 1)); err != nil {
		t.Error(err)
		return
	}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Microsecond) {
		pids := slices.DeleteFunc(children(), func(p string) bool { return p == strconv.Itoa(other) })
		for _, p := range pids {
			pid, err := strconv.Atoi(p)
			if err != nil || len(pids) > 1 && !s.holds(pid) {
				continue
			}
			if err := unix.Kill(pid, unix.SIGKILL); err != nil {
				t.Error(err)
			}
			return
		}
	}
	t.Errorf("none of %v is in the snare", children())
}

// holds says whether a process is in the snare's read: proc_pid_syscall(5).
func (s *snare) holds(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", pid))
	if err != nil {
		return false
	}
	f := strings.Fields(string(b))
	return len(f) > 1 && f[0] == strconv.Itoa(int(launch.Read.Number(runtime.GOARCH))) && f[1] == fmt.Sprintf("%#x", s.never.Fd())
}

func prepare(w *world, c *system.Container, l *loadedLaunch) error {
	s, err := w.Runtime.sandbox(c, l, w.probeParts(c))
	if err == nil {
		err = errors.Join(errors.New("it was not killed"), s.Close())
	}
	return err
}

func (w *world) probeParts(c *system.Container) parts {
	return parts{
		image:   filepath.Join(w.Store, "images", c.Image.Digest.String()),
		objects: filepath.Join(w.Store, "objects"), data: []string{w.State},
	}
}

// leftovers says what a container could leave behind.
func leftovers(t *testing.T, w *world) string {
	t.Helper()
	runtime.GC()
	places, err := os.ReadDir(w.State)
	if err != nil {
		t.Fatal(err)
	}
	var groups []string
	if w.Cgroup != "" {
		if groups, err = filepath.Glob(w.Cgroup + "/*/cgroup.procs"); err != nil {
			t.Fatal(err)
		}
	}
	return fmt.Sprintf("descriptors, mounts, children %v; %d places, %d cgroups", state(t), len(places), len(groups))
}

// TestThousandCycles makes, starts, ends and removes a container a thousand
// times.
func TestThousandCycles(t *testing.T) {
	w := newWorld(t)
	w.Cgroup = cgroup2(t)
	c := w.container(t, nil)
	cycle := func() {
		s, err := w.Prepare(c, "day")
		if err != nil {
			t.Fatal(err)
		}
		p, err := s.Start([]string{"/bin/true"}, nil, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		wantExit(t, p, Exit{})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	cycles := 1000
	if testing.Short() {
		cycles = 50
	}
	for range 50 {
		cycle()
	}
	before, memory := leftovers(t, w), resident(t)
	spaces, goroutines := namespaces(t), runtime.NumGoroutine()
	for range cycles {
		cycle()
	}
	if after := leftovers(t, w); after != before {
		t.Errorf("%s before, %s after", before, after)
	}
	if n := runtime.NumGoroutine(); n != goroutines {
		t.Errorf("%d goroutines, %d after %d cycles", goroutines, n, cycles)
	}
	if n := namespaces(t); n != spaces {
		t.Errorf("%d namespaces in use, %d after %d cycles", spaces, n, cycles)
	}
	after := resident(t)
	t.Logf("resident: %d KiB, %d after %d cycles", memory>>10, after>>10, cycles)
	if after > memory+4<<20 {
		t.Errorf("resident memory grew from %d to %d KiB", memory>>10, after>>10)
	}
}

// namespaces counts the namespaces that our processes and descriptors hold.
func namespaces(t *testing.T) int {
	t.Helper()
	set := map[string]bool{}
	for _, pattern := range []string{"/proc/self/task/*/ns/*", "/proc/self/fd/*"} {
		list, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range list {
			if to, err := os.Readlink(l); err == nil && strings.Contains(to, ":[4") {
				set[to] = true
			}
		}
	}
	return len(set)
}

// resident returns the memory that this process holds, in bytes.
func resident(t *testing.T) int64 {
	t.Helper()
	runtime.GC()
	time.Sleep(10 * time.Millisecond)
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(b))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}
