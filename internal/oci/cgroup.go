package oci

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A hierarchy is a mounted cgroup file system and a container's directory in it.
type hierarchy struct {
	name        string   // the mount point's, as "cpu,cpuacct"
	mount       string   // mount point
	controllers string   // "cpu,cpuacct", "name=systemd"; "" for version 2
	aliases     []string // further names of the mount point
	dir         string   // the container's directory
}

// cgroups are a container's control groups: one of version 2, or one in each
// hierarchy of version 1.
type cgroups struct {
	hierarchies []hierarchy
}

// findCgroups reads from a mountinfo file (proc_pid_mountinfo(5)) where cgroups
// are. Version 2 at /sys/fs/cgroup is the only one, for its controllers are no
// others'.
func findCgroups(mountinfo string) []hierarchy {
	var out []hierarchy
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(line, " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 3 {
			continue
		}
		h := hierarchy{name: filepath.Base(left[4]), mount: left[4]}
		switch {
		case right[0] == "cgroup2":
			if left[4] == "/sys/fs/cgroup" {
				return []hierarchy{h}
			}
		case right[0] == "cgroup":
			h.controllers = v1Controllers(right[2])
			for c := range strings.SplitSeq(h.controllers, ",") {
				if c != h.name && strings.Contains(h.controllers, ",") {
					h.aliases = append(h.aliases, c)
				}
			}
		default:
			continue
		}
		if !slices.ContainsFunc(out, func(o hierarchy) bool { return o.controllers == h.controllers }) {
			out = append(out, h)
		}
	}
	return out
}

// v1Controllers takes the controllers out of the options of a cgroup mount.
func v1Controllers(options string) string {
	var out []string
	for o := range strings.SplitSeq(options, ",") {
		switch {
		case o == "rw", o == "ro", o == "xattr", o == "clone_children", o == "noprefix", o == "favordynmods",
			strings.HasPrefix(o, "release_agent="), strings.HasPrefix(o, "cpuset_v2_mode"):
		default:
			out = append(out, o)
		}
	}
	return strings.Join(out, ",")
}

// unified reports whether version 2 is all there is.
func (g *cgroups) unified() bool {
	return len(g.hierarchies) == 1 && g.hierarchies[0].controllers == ""
}

// joins returns the files that a process of one thread writes "0" to, to be in
// the container's cgroups; in one of version 2 it begins. They are those of
// threads: a thread that moves itself needs no lock on the forks of the whole
// machine, for which the file of processes waits for an RCU grace period, 5 to
// 10 ms (cgroup_procs_write_start in kernel/cgroup/cgroup.c of Linux).
func (g *cgroups) joins() []string {
	var out []string
	for _, h := range g.hierarchies {
		if h.controllers != "" {
			out = append(out, filepath.Join(h.dir, "tasks"))
		}
	}
	return out
}

// v2 returns the container's directory of version 2, or "".
func (g *cgroups) v2() string {
	for _, h := range g.hierarchies {
		if h.controllers == "" {
			return h.dir
		}
	}
	return ""
}

// v1 returns the container's directory for a controller of version 1, or "".
func (g *cgroups) v1(controller string) string {
	for _, h := range g.hierarchies {
		if slices.Contains(strings.Split(h.controllers, ","), controller) {
			return h.dir
		}
	}
	return ""
}

// cgroupPath returns the path below the mount points. The systemd form,
// slice:prefix:name, names the same scope as systemd would, but systemd is not
// asked.
func cgroupPath(declared, id string) string {
	if declared == "" {
		return "/" + id
	}
	if parts := strings.Split(declared, ":"); len(parts) == 3 && !strings.Contains(declared, "/") {
		slice, prefix, name := parts[0], parts[1], parts[2]
		if slice == "" {
			slice = "system.slice"
		}
		if prefix != "" {
			name = prefix + "-" + name
		}
		return filepath.Join("/", slice, name+".scope")
	}
	return filepath.Clean("/" + declared)
}

// makeCgroups makes the container's cgroups. Directories that are there already
// are used.
func makeCgroups(found []hierarchy, path string) (*cgroups, error) {
	if len(found) == 0 {
		return nil, nil
	}
	g := &cgroups{slices.Clone(found)}
	for i := range g.hierarchies {
		h := &g.hierarchies[i]
		h.dir = filepath.Join(h.mount, path)
		if err := h.make(); err != nil {
			return nil, errors.Join(fmt.Errorf("making cgroup %s: %w", h.dir, err), g.remove())
		}
	}
	return g, nil
}

// make makes the directory and those above. In version 1, a cpuset begins empty
// and takes nobody until it has what is above; in version 2 controllers are
// given on from above.
func (h *hierarchy) make() error {
	cpuset := slices.Contains(strings.Split(h.controllers, ","), "cpuset")
	dir := h.mount
	for part := range strings.SplitSeq(strings.Trim(strings.TrimPrefix(h.dir, h.mount), "/"), "/") {
		if h.controllers == "" {
			giveControllers(dir)
		}
		above := dir
		dir = filepath.Join(dir, part)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if !cpuset {
			continue
		}
		for _, f := range []string{"cpuset.cpus", "cpuset.mems"} {
			if err := inherit(filepath.Join(above, f), filepath.Join(dir, f)); err != nil {
				return err
			}
		}
	}
	return nil
}

// inherit copies a file's content to one that is empty.
func inherit(from, to string) error {
	have, err := os.ReadFile(to)
	if err != nil || strings.TrimSpace(string(have)) != "" {
		return err
	}
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0)
}

// giveControllers makes a cgroup's controllers available below it. What cannot
// be given is missed when a limit is set.
func giveControllers(dir string) {
	have, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return
	}
	given, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
	if err != nil {
		return
	}
	for _, c := range strings.Fields(string(have)) {
		if !slices.Contains(strings.Fields(string(given)), c) {
			_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0)
		}
	}
}

// add moves a process into the cgroups of version 1.
func (g *cgroups) add(pid int) error {
	if g == nil {
		return nil
	}
	for _, file := range g.joins() {
		if err := os.WriteFile(file, []byte(strconv.Itoa(pid)), 0); err != nil {
			return err
		}
	}
	return nil
}

// open opens the cgroup of version 2 to begin in, or -1.
func (g *cgroups) open() (int, error) {
	if g == nil || g.v2() == "" {
		return -1, nil
	}
	fd, err := unix.Open(g.v2(), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("opening cgroup %s: %w", g.v2(), err)
	}
	return fd, nil
}

// remove removes the cgroups and those below. Processes that were killed stay
// in them for a moment.
func (g *cgroups) remove() error {
	if g == nil {
		return nil
	}
	var errs []error
	for _, h := range g.hierarchies {
		if h.dir != h.mount && h.dir != "" {
			errs = append(errs, removeCgroup(h.dir))
		}
	}
	return errors.Join(errs...)
}

func removeCgroup(dir string) error {
	var err error
	for wait := time.Millisecond / 4; wait < time.Second; wait *= 2 {
		err = syscall.Rmdir(dir)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		entries, readErr := os.ReadDir(dir)
		if readErr != nil {
			return readErr
		}
		for _, e := range entries {
			if e.IsDir() {
				if err := removeCgroup(filepath.Join(dir, e.Name())); err != nil {
					return err
				}
			}
		}
		if syscall.Rmdir(dir) == nil {
			return nil
		}
		time.Sleep(wait)
	}
	return fmt.Errorf("removing cgroup %s: %w", dir, err)
}

// processes returns the processes in the cgroups, those below included.
func (g *cgroups) processes() ([]int, error) {
	if g == nil {
		return nil, nil
	}
	var out []int
	err := filepath.WalkDir(g.hierarchies[0].dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "cgroup.procs" {
			return err
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		s := bufio.NewScanner(f)
		for s.Scan() {
			pid, err := strconv.Atoi(s.Text())
			if err != nil {
				return err
			}
			out = append(out, pid)
		}
		return s.Err()
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	slices.Sort(out)
	return out, err
}

// freeze stops the container's processes or lets them go on, and waits until
// they do.
func (g *cgroups) freeze(on bool) error {
	if g == nil {
		return errors.New("the container has no cgroup")
	}
	if dir := g.v1("freezer"); dir != "" {
		want := map[bool]string{true: "FROZEN", false: "THAWED"}[on]
		return settle(filepath.Join(dir, "freezer.state"), want, func(s string) bool { return strings.TrimSpace(s) == want })
	}
	dir := g.v2()
	if dir == "" {
		return errors.New("the machine has no freezer")
	}
	want := map[bool]string{true: "1", false: "0"}[on]
	if err := os.WriteFile(filepath.Join(dir, "cgroup.freeze"), []byte(want), 0); err != nil {
		return err
	}
	return settle("", "", func(string) bool { return frozenV2(dir) == on })
}

// settle writes a state until it is there, for at most two seconds.
func settle(file, want string, is func(string) bool) error {
	for range 2000 {
		var now []byte
		if file != "" {
			if err := os.WriteFile(file, []byte(want), 0); err != nil {
				return err
			}
			var err error
			if now, err = os.ReadFile(file); err != nil {
				return err
			}
		}
		if is(string(now)) {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return fmt.Errorf("the processes did not become %s within 2 seconds", want)
}

func frozenV2(dir string) bool {
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.events"))
	return err == nil && strings.Contains(string(b), "frozen 1")
}

// frozen reports whether the container is paused.
func (g *cgroups) frozen() bool {
	if g == nil {
		return false
	}
	if dir := g.v1("freezer"); dir != "" {
		b, err := os.ReadFile(filepath.Join(dir, "freezer.state"))
		return err == nil && strings.TrimSpace(string(b)) != "THAWED"
	}
	return g.v2() != "" && frozenV2(g.v2())
}
