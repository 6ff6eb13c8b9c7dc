package container

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/system"
)

// TestLandlock holds that a container uses no files but those it may, its first
// process and every later one, also behind a first process of its own.
func TestLandlock(t *testing.T) {
	if version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION); errno != 0 || version < 5 {
		t.Skipf("this kernel has version %d of Landlock: %v", version, errno)
	}
	w := newWorld(t)
	for _, init := range []bool{false, true} {
		restrict := func(c *system.Container) {
			c.Init = init
			c.Landlock = &system.Landlock{Read: []string{"/bin", "/etc/hosts"}, Write: []string{"/tmp", "/dev"}}
		}
		try := func(s *Sandbox, start starter, denied bool) {
			t.Helper()
			succeed(t, start, "write", "/tmp/new", "text")
			succeed(t, start, "print", "/tmp/new")
			succeed(t, start, "print", "/etc/hosts")
			for _, args := range [][]string{{"write", "/run/new", "text"}, {"print", "/etc/hostname"}, {"print", "/proc/self/status"}} {
				_, stderr, e := output(t, start, args...)
				if (e.Code == 1 && strings.Contains(stderr, "permission denied")) != denied {
					t.Errorf("init %v, %v: %v, %q; want it denied: %v", init, args, e, stderr, denied)
				}
			}
		}
		c := w.container(t, restrict)
		s := w.sandbox(t, c)
		try(s, s.Start, true)
		main := run(t, s, "sleep")
		try(s, s.Exec, true)
		main.Signal(unix.SIGKILL)
		main.Wait()

		c = w.container(t, restrict)
		w.change(t, c, weakening{without: "restricting it to these files"})
		s = w.sandbox(t, c)
		try(s, s.Start, false)
	}
}

// TestLandlockPath has a path that is not there: the start says so.
func TestLandlockPath(t *testing.T) {
	w := newWorld(t)
	s := w.sandbox(t, w.container(t, func(c *system.Container) { c.Landlock = &system.Landlock{Read: []string{"/bin", "/absent"}} }))
	if _, err := s.Start([]string{"/bin/true"}, nil, nil, nil); err == nil || !strings.Contains(err.Error(), "opening /absent: openat: no such file") {
		t.Errorf("a path that is not there: %v", err)
	}
}
