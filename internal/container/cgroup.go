package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/instar-os/instar/internal/system"
	"golang.org/x/sys/unix"
)

// cgroup is a container's control group: Documentation/admin-guide/cgroup-v2.rst.
type cgroup struct {
	dir     string
	parent  string // that it was made in
	fd      int
	canKill bool // cgroup.kill, from Linux 5.14
}

// quotaPeriod is the period of cpu.max in microseconds.
const quotaPeriod = 100_000

// cgroupOf returns the cgroup that a container's is made in: beside all others'
// when it has processors of its own and the machine has made that partition.
func (r *Runtime) cgroupOf(c *system.Container) string {
	if c.Partition != "" && r.Cgroup != "" {
		if dir := r.Cgroup + "-" + c.Partition; exists(dir) {
			return dir
		}
	}
	return r.Cgroup
}

func exists(dir string) bool {
	_, err := os.Stat(dir)
	return err == nil
}

// makeCgroup makes the container's cgroup below parent; without a parent there
// is none. With fresh it is an error when there is one already.
func makeCgroup(parent string, c *system.Container, fresh bool) (*cgroup, error) {
	if parent == "" {
		return nil, nil
	}
	dir := filepath.Join(parent, c.Name)
	if err := os.Mkdir(dir, 0o755); err != nil && (fresh || !errors.Is(err, fs.ErrExist)) {
		return nil, fmt.Errorf("making its cgroup: %w", err)
	}
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening its cgroup: %w", err), os.Remove(dir))
	}
	g := &cgroup{dir: dir, parent: parent, fd: fd}
	g.canKill = unix.Faccessat(fd, "cgroup.kill", unix.F_OK, 0) == nil
	return g, nil
}

// restrict sets the container's limits. Those that the machine cannot enforce
// are warnings.
func (g *cgroup) restrict(parent string, c *system.Container) ([]string, error) {
	if g == nil {
		if c.Limits.Memory == 0 && c.Limits.Pids == 0 && c.Limits.CPUQuota == 0 {
			return nil, nil
		}
		return []string{"limits of memory, processes and CPU are not enforced: no cgroup v2 here"}, nil
	}
	if c.Limits.Locked { // a child is not protected beyond its parent
		os.WriteFile(filepath.Join(parent, "memory.min"), []byte("max"), 0) // that there is no such controller is warned of below
	}
	warnings, err := g.limit(parent, c.Limits)
	if err != nil {
		return nil, fmt.Errorf("setting its limits: %w", err)
	}
	return warnings, nil
}

// limit writes the declared values, one controller after the other.
func (g *cgroup) limit(parent string, l system.Limits) (warnings []string, err error) {
	have, err := controllers(parent)
	if err != nil {
		return nil, err
	}
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	for _, s := range []struct {
		set              bool
		controller, file string
		value            string
	}{
		{l.Memory > 0, "memory", "memory.max", number(l.Memory)},
		{l.Memory > 0, "memory", "memory.oom.group", "1"},
		{l.Locked, "memory", "memory.min", number(l.Memory)},
		{l.Memory > 0, "memory", "memory.swap.max", number(l.Swap)},
		{l.Pids > 0, "pids", "pids.max", number(l.Pids)},
		{l.CPUWeight > 0, "cpu", "cpu.weight", number(l.CPUWeight)},
		{l.CPUQuota > 0, "cpu", "cpu.max", fmt.Sprintf("%d %d", l.CPUQuota, quotaPeriod)},
	} {
		if !s.set {
			continue
		}
		// No swap is what a kernel without it gives.
		given := s.file == "memory.swap.max" && l.Swap == 0
		if err := have.enable(parent, s.controller); err != nil {
			if given {
				continue
			}
			warnings = append(warnings, fmt.Sprintf("%s %s is not enforced: %v", s.file, s.value, err))
			continue
		}
		if err := put(g.fd, s.file, s.value); err != nil && !(given && errors.Is(err, fs.ErrNotExist)) {
			return warnings, err
		}
	}
	return warnings, nil
}

// enabled are the controllers that cgroups below a cgroup have.
type enabled map[string]bool

// controllers returns those of a cgroup.
func controllers(parent string) (enabled, error) {
	text, err := get(unix.AT_FDCWD, filepath.Join(parent, "cgroup.subtree_control"))
	if err != nil {
		return nil, err
	}
	out := enabled{}
	for name := range strings.FieldsSeq(string(text)) {
		out[name] = true
	}
	return out, nil
}

// enable makes a controller available below a cgroup.
func (e enabled) enable(parent, controller string) error {
	if e[controller] {
		return nil
	}
	if err := os.WriteFile(filepath.Join(parent, "cgroup.subtree_control"), []byte("+"+controller), 0); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("the machine's cgroup v2 has no %s controller", controller)
		}
		return err
	}
	e[controller] = true
	return nil
}

func (g *cgroup) kill() error {
	return put(g.fd, "cgroup.kill", "1")
}

// remove removes the cgroup. Processes that were killed stay in it for a moment
// until they are gone.
func (g *cgroup) remove() error {
	unix.Close(g.fd)
	var err error
	for range 100 {
		if err = os.Remove(g.dir); !errors.Is(err, unix.EBUSY) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Stats is what a container uses. A field is zero when the machine does not
// count it.
type Stats struct {
	Memory   int64         // bytes in use
	OOMKills int64         // processes killed for want of memory
	Pids     int64         // processes
	CPU      time.Duration // CPU time used since the sandbox was made
}

// Cgroup returns the sandbox's cgroup directory, "" for none.
func (s *Sandbox) Cgroup() string {
	if s.cgroup == nil {
		return ""
	}
	return s.cgroup.dir
}

// OOMKills returns how many processes the kernel has killed for want of memory.
func (s *Sandbox) OOMKills() int64 {
	if s.cgroup == nil {
		return 0
	}
	return s.cgroup.field("memory.events", "oom_kill")
}

// Stats reads the counters of the sandbox's cgroup; without one all are zero.
func (s *Sandbox) Stats() Stats {
	if s.cgroup == nil {
		return Stats{}
	}
	return Stats{
		Memory:   s.cgroup.value("memory.current"),
		OOMKills: s.OOMKills(),
		Pids:     s.cgroup.value("pids.current"),
		CPU:      time.Duration(s.cgroup.field("cpu.stat", "usage_usec")) * time.Microsecond,
	}
}

func (g *cgroup) value(file string) int64 {
	b, err := get(g.fd, file)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// field returns a value of a flat keyed file.
func (g *cgroup) field(file, key string) int64 {
	b, err := get(g.fd, file)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, key+" "); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(rest), 10, 64)
			if err != nil {
				return 0
			}
			return n
		}
	}
	return 0
}
