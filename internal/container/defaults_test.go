package container

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/launch"
	"github.com/instar-os/instar/internal/system"
	"golang.org/x/sys/unix"
)

// seen is a container that runs, from inside and from outside.
type seen struct {
	Report
	proc string // its /proc/PID on the machine
}

// own says whether a namespace is not the machine's.
func (s *seen) own(t *testing.T, kind string) bool {
	t.Helper()
	theirs, err := os.Readlink(filepath.Join(s.proc, "ns", kind))
	if err != nil {
		t.Fatal(err)
	}
	ours, err := os.Readlink("/proc/self/ns/" + kind)
	if err != nil {
		t.Fatal(err)
	}
	return theirs != ours
}

// options are those of a mount in the container.
func (s *seen) options(at string) []string {
	return strings.FieldsFunc(s.Mounts[at], func(c rune) bool { return c == ' ' || c == ',' })
}

// A weakening takes one protection away: by what the container declares, by
// operations that its launch programs lack, or by what the runtime has.
type weakening struct {
	declare func(*system.Container)
	without string           // beginning of the operations' labels
	instead func(*launch.Op) // changes these operations and leaves them in
	runtime func(*Runtime)
}

// What is hidden and read-only in /proc and /sys, as far as this kernel has it.
var (
	hidden = here("/proc/acpi", "/proc/asound", "/proc/scsi", "/proc/interrupts", "/proc/kcore", "/proc/keys",
		"/proc/latency_stats", "/proc/sched_debug", "/proc/timer_list", "/proc/timer_stats")
	readOnly = here("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
	meters   = here("/sys/devices/virtual/powercap")
)

// here returns the paths that are there.
func here(paths ...string) []string {
	return slices.DeleteFunc(paths, func(p string) bool {
		_, err := os.Lstat(p)
		return err != nil
	})
}

func all(paths []string, holds func(string) bool) bool {
	return !slices.ContainsFunc(paths, func(p string) bool { return !holds(p) })
}

// without takes the operations of each path away, one after the other.
func without(what string, paths []string) (list []weakening) {
	for _, p := range paths {
		list = append(list, weakening{without: what + p})
	}
	return list
}

// defaults are the promises of docs/guide/defaults.md, one a row, and every way in
// which one is broken.
var defaults = []struct {
	name   string
	holds  func(*testing.T, *seen) bool
	weaken []weakening
}{
	{"no network but loopback",
		func(t *testing.T, s *seen) bool {
			return s.own(t, "net") && len(s.Interfaces) == 1 && s.Interfaces["lo"]
		},
		[]weakening{{declare: func(c *system.Container) { c.Network = system.HostNetwork }}}},
	{"no devices",
		func(_ *testing.T, s *seen) bool {
			return strings.Join(s.Devices, " ") == "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero" &&
				slices.Contains(s.options("/dev"), "ro")
		},
		[]weakening{{without: "making /dev read-only"}}},
	{"no device files elsewhere",
		func(_ *testing.T, s *seen) bool {
			for at := range s.Mounts {
				if below := strings.HasPrefix(at, "/dev") || strings.HasPrefix(at, "/proc/"); !below && !slices.Contains(s.options(at), "nodev") {
					return false
				}
			}
			return true
		},
		[]weakening{{without: "mounting tmpfs at /tmp", instead: func(o *launch.Op) { o.Args[3].Value &^= unix.MS_NODEV }}}},
	{"no capabilities beyond the declared",
		func(_ *testing.T, s *seen) bool {
			none := "0000000000000000"
			return s.Status["CapEff"] == none && s.Status["CapPrm"] == none && s.Status["CapBnd"] == none &&
				s.Status["CapInh"] == none && s.Status["CapAmb"] == none
		},
		[]weakening{{without: "dropping capability 21"}}},
	{"no new privileges",
		func(_ *testing.T, s *seen) bool { return s.Status["NoNewPrivs"] == "1" },
		[]weakening{{without: "forbidding new privileges", declare: func(c *system.Container) { c.Capabilities = []string{"CAP_SYS_ADMIN"} }}}},
	{"system calls filtered",
		func(_ *testing.T, s *seen) bool { return s.Status["Seccomp"] == "2" },
		[]weakening{{without: "installing the system call filter"}}},
	{"/proc masked",
		func(_ *testing.T, s *seen) bool {
			return s.Files["/proc/keys"] == "" && all(hidden, func(at string) bool { return s.Mounts[at] != "" })
		},
		without("hiding ", hidden)},
	{"/proc/sys and others read-only",
		func(_ *testing.T, s *seen) bool {
			return all(readOnly, func(at string) bool { return slices.Contains(s.options(at), "ro") })
		},
		without("making ", readOnly)},
	{"/sys read-only and masked",
		func(_ *testing.T, s *seen) bool {
			return slices.Contains(s.options("/sys"), "ro") && s.Files["/sys/firmware"] == "0 entries <nil>" &&
				all(meters, func(at string) bool { return s.Mounts[at] != "" })
		},
		append(without("hiding ", append([]string{"/sys/firmware"}, meters...)),
			weakening{without: "mounting sysfs at /sys", instead: func(o *launch.Op) { o.Args[3].Value &^= unix.MS_RDONLY }})},
	{"own cgroup",
		func(t *testing.T, s *seen) bool {
			b, err := os.ReadFile(filepath.Join(s.proc, "cgroup"))
			return err == nil && strings.Contains(string(b), "/container-test-") && strings.Contains(string(b), "/probe\n") && s.own(t, "cgroup")
		},
		[]weakening{{runtime: func(r *Runtime) { r.Cgroup = "" }}}},
	{"own range of users",
		func(t *testing.T, s *seen) bool {
			for _, file := range []string{"uid_map", "gid_map"} {
				b, err := os.ReadFile(filepath.Join(s.proc, file))
				if err != nil || strings.Join(strings.Fields(string(b)), " ") != "0 327680 65536" {
					return false
				}
			}
			status, err := os.ReadFile(filepath.Join(s.proc, "status"))
			return err == nil && strings.Contains(string(status), "Uid:\t327680\t") && s.UID == 0 && s.own(t, "user")
		},
		[]weakening{{declare: func(c *system.Container) { c.IDs = system.IDRange{} }}}},
	{"files of the image are its own root's",
		func(t *testing.T, s *seen) bool {
			return s.Owners["/bin/probe"] == "0:0" && s.Owners["/etc/hosts"] == "0:0" && s.Owners["/tmp"] == "0:0"
		},
		[]weakening{{without: "mapping the owners of the image"}}},
	{"read-only root",
		func(_ *testing.T, s *seen) bool { return slices.Contains(s.options("/"), "ro") },
		[]weakening{{declare: func(c *system.Container) { c.Root = system.Ephemeral }}}},
	{"/tmp and /run in memory",
		func(_ *testing.T, s *seen) bool {
			return all([]string{"/tmp", "/run"}, func(at string) bool { return slices.Contains(s.options(at), "tmpfs") })
		},
		without("mounting tmpfs at ", []string{"/tmp", "/run"})},
	{"no other processes",
		func(t *testing.T, s *seen) bool {
			return s.PID == 1 && s.own(t, "pid") && s.own(t, "ipc") && s.own(t, "uts") && s.own(t, "mnt")
		},
		[]weakening{{without: "joining the ipc namespace"}, {without: "joining the uts namespace"}}},
	{"no descriptors but three",
		func(_ *testing.T, s *seen) bool {
			return !slices.ContainsFunc(s.FDs, func(fd string) bool { return strings.Contains(fd, "/etc/passwd") })
		},
		[]weakening{{without: "closing other descriptors"}}},
	{"no environment but the declared",
		func(_ *testing.T, s *seen) bool { return strings.Join(s.Env, " ") == "PATH=/bin HOME=/" },
		[]weakening{{declare: func(c *system.Container) { c.Env = append(c.Env, "MORE=1") }}}},
}

// TestDefaults holds each promise, and that its check sees when it is broken.
func TestDefaults(t *testing.T) {
	leak, err := unix.Open("/etc/passwd", unix.O_RDONLY, 0) // not close-on-exec
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(leak)
	for _, row := range defaults {
		t.Run(row.name, func(t *testing.T) {
			t.Run("kept", func(t *testing.T) {
				if s := see(t, weakening{}); !row.holds(t, s) {
					t.Errorf("does not hold: %+v", s)
				}
			})
			for _, weak := range row.weaken {
				t.Run("weakened "+weak.without, func(t *testing.T) {
					if s := see(t, weak); row.holds(t, s) {
						t.Errorf("the check does not see it: %+v", s)
					}
				})
			}
		})
	}
}

// TestNobodyMounts holds that a container cannot change its mounts though it has
// the capability for it, and can with the machine's users.
func TestNobodyMounts(t *testing.T) {
	w := newWorld(t)
	able := func(c *system.Container) { c.Capabilities = []string{"CAP_SYS_ADMIN"} }
	s := w.sandbox(t, w.container(t, able))
	p, err := s.Start([]string{"/bin/probe", "mount"}, nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if e, err := p.Wait(); err != nil || e.Code != 1 {
		t.Errorf("mounting with users of its own: %v, %v; want it to fail", e, err)
	}
	s = w.sandbox(t, w.container(t, func(c *system.Container) {
		able(c)
		c.IDs = system.IDRange{}
	}))
	succeed(t, s.Start, "mount")
}

// see starts a container, weakened, and looks at it. nil is one that does not
// even start.
func see(t *testing.T, weak weakening) *seen {
	t.Helper()
	w := newWorld(t)
	w.Cgroup = cgroup2(t)
	w.Resolv = filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(w.Resolv, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	c := w.container(t, weak.declare)
	if weak.runtime != nil {
		weak.runtime(w.Runtime)
	}
	if weak.without != "" {
		w.change(t, c, weak)
	}
	s := w.sandbox(t, c)
	r, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p, err := s.Start([]string{"/bin/probe", "stay", "/proc/keys", "/proc/timer_list", "/sys/firmware", "/bin/probe", "/etc/hosts", "/tmp"}, nil, out, nil)
	out.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Signal(unix.SIGKILL)
		p.Wait()
	})
	v := &seen{proc: fmt.Sprint("/proc/", p.PID())}
	if err := json.NewDecoder(r).Decode(&v.Report); err != nil {
		t.Fatal(err)
	}
	return v
}

// change takes operations out of the container's launch programs, or edits them.
func (w *world) change(t *testing.T, c *system.Container, weak weakening) {
	t.Helper()
	l, err := w.launch(c)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, part := range []**loaded{&l.spaces, &l.root, &l.start} {
		p := *(*part).program
		p.Ops = slices.Clone(p.Ops)
		p.Ops = slices.DeleteFunc(p.Ops, func(o launch.Op) bool {
			return weak.instead == nil && strings.HasPrefix(o.Label, weak.without)
		})
		found = found || len(p.Ops) < len((*part).program.Ops)
		for i := range p.Ops {
			if weak.instead != nil && strings.HasPrefix(p.Ops[i].Label, weak.without) {
				weak.instead(&p.Ops[i])
				found = true
			}
		}
		if *part, err = load(&p); err != nil {
			t.Fatal(err)
		}
	}
	if !found {
		t.Fatalf("no operation %q", weak.without)
	}
}
