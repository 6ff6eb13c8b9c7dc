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
	fd      int
	canKill bool // cgroup.kill, from Linux 5.14
}

// quotaPeriod is the period of cpu.max in microseconds.
const quotaPeriod = 100_000

// makeCgroup makes the container's cgroup below parent and sets its limits.
// Limits that the machine cannot enforce are warnings. Without a parent there
// is no cgroup.
func makeCgroup(parent string, c *system.Container) (*cgroup, []string, error) {
	if parent == "" {
		if c.Limits.Memory == 0 && c.Limits.Pids == 0 && c.Limits.CPUQuota == 0 {
			return nil, nil, nil
		}
		return nil, []string{"limits of memory, processes and CPU are not enforced: no cgroup v2 here"}, nil
	}
	dir := filepath.Join(parent, c.Name)
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, nil, fmt.Errorf("making its cgroup: %w", err)
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("opening its cgroup: %w", err), os.Remove(dir))
	}
	g := &cgroup{dir: dir, fd: fd}
	_, err = os.Stat(filepath.Join(dir, "cgroup.kill"))
	g.canKill = err == nil
	warnings, err := g.limit(parent, c.Limits)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("setting its limits: %w", err), g.remove())
	}
	return g, warnings, nil
}

// limit writes the declared values, one controller after the other.
func (g *cgroup) limit(parent string, l system.Limits) (warnings []string, err error) {
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	for _, s := range []struct {
		set              bool
		controller, file string
		value            string
	}{
		{l.Memory > 0, "memory", "memory.max", number(l.Memory)},
		{l.Memory > 0, "memory", "memory.oom.group", "1"},
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
		if err := enable(parent, s.controller); err != nil {
			if given {
				continue
			}
			warnings = append(warnings, fmt.Sprintf("%s %s is not enforced: %v", s.file, s.value, err))
			continue
		}
		if err := os.WriteFile(filepath.Join(g.dir, s.file), []byte(s.value), 0); err != nil && !(given && errors.Is(err, fs.ErrNotExist)) {
			return warnings, err
		}
	}
	return warnings, nil
}

// enable makes a controller available below a cgroup.
func enable(parent, controller string) error {
	file := filepath.Join(parent, "cgroup.subtree_control")
	have, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(string(have)) {
		if name == controller {
			return nil
		}
	}
	if err := os.WriteFile(file, []byte("+"+controller), 0); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("the machine's cgroup v2 has no %s controller", controller)
		}
		return err
	}
	return nil
}

func (g *cgroup) kill() error {
	return os.WriteFile(filepath.Join(g.dir, "cgroup.kill"), []byte("1"), 0)
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

// Stats reads the counters of the sandbox's cgroup; without one all are zero.
func (s *Sandbox) Stats() Stats {
	if s.cgroup == nil {
		return Stats{}
	}
	return Stats{
		Memory:   s.cgroup.value("memory.current"),
		OOMKills: s.cgroup.field("memory.events", "oom_kill"),
		Pids:     s.cgroup.value("pids.current"),
		CPU:      time.Duration(s.cgroup.field("cpu.stat", "usage_usec")) * time.Microsecond,
	}
}

func (g *cgroup) value(file string) int64 {
	b, err := os.ReadFile(filepath.Join(g.dir, file))
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
	b, err := os.ReadFile(filepath.Join(g.dir, file))
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
