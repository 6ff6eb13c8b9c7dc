package oci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/instar-os/instar/internal/container"
	"github.com/instar-os/instar/internal/launch"
	"golang.org/x/sys/unix"
)

// CreateOptions are the options of create and run.
type CreateOptions struct {
	Bundle        string // directory
	PidFile       string // "" for none
	ConsoleSocket string // unix socket that gets the terminal's master; "" for none
	PreserveFDs   int    // descriptors from 3 that the container's program gets
}

// launchPad is a container on its way to its program.
type launchPad struct {
	r      *Runtime
	c      *containerState
	config *Config
	plan   *plan
	child  *container.Child

	tell, wait, begin [2]int // pipes: read and write end
	master            *os.File
}

// Create makes a container whose process waits for Start. On an error nothing
// of it is left.
func (r *Runtime) Create(id string, o CreateOptions) (err error) {
	l, err := r.prepare(id, o, true)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			l.abandon()
		}
	}()
	if err := l.ready(o); err != nil {
		return err
	}
	if l.master != nil {
		if o.ConsoleSocket == "" {
			return errors.New("the container wants a terminal and there is no console socket to send it to")
		}
		if err := sendTerminal(o.ConsoleSocket, l.master); err != nil {
			return err
		}
	}
	l.c.Status = Created
	if err := l.c.save(); err != nil {
		return err
	}
	return writePid(o.PidFile, l.c.PID)
}

// prepare reads the bundle, makes cgroups and the state directory, and lets
// the child begin. On an error nothing is left.
func (r *Runtime) prepare(id string, o CreateOptions, fifo bool) (_ *launchPad, err error) {
	bundle, err := filepath.Abs(o.Bundle)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(bundle, "config.json"))
	if err != nil {
		return nil, err
	}
	config, err := parse(text)
	if err != nil {
		return nil, err
	}
	rootfs := config.Root.Path
	if !filepath.IsAbs(rootfs) {
		rootfs = filepath.Join(bundle, rootfs)
	}
	if rootfs, err = filepath.EvalSymlinks(rootfs); err != nil {
		return nil, fmt.Errorf("finding the root file system: %w", err)
	}
	dir, err := r.reserve(id)
	if err != nil {
		return nil, err
	}
	c := &containerState{dir: dir, State: State{Version: Version, ID: id, Status: Creating, Bundle: bundle,
		Rootfs: rootfs, Created: r.Now().UTC(), Annotations: config.Annotations}}
	l := &launchPad{r: r, c: c, config: config}
	defer func() {
		if err != nil {
			l.abandon()
		}
	}()
	if err := l.cgroups(); err != nil {
		return nil, err
	}
	f := machineFacts(bundle, rootfs, c.groups)
	if l.plan, err = compile(config, f, o.PreserveFDs); err != nil {
		return nil, err
	}
	for _, w := range l.plan.warnings {
		r.Warn("%s", w)
	}
	if err := l.start(fifo); err != nil {
		return nil, err
	}
	// The child works meanwhile; until it is ready nobody reads this.
	return l, os.WriteFile(filepath.Join(dir, "config.json"), text, 0o600)
}

// cgroups makes the container's cgroups and sets their limits.
func (l *launchPad) cgroups() error {
	mountinfo, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	if l.c.groups, err = makeCgroups(findCgroups(string(mountinfo)), cgroupPath(l.config.Linux.CgroupsPath, l.c.ID)); err != nil {
		return err
	}
	res := l.config.Linux.Resources
	if err := l.c.groups.set(res); err != nil {
		return err
	}
	if res == nil {
		return nil
	}
	return l.c.groups.setDevices(res.Devices)
}

// machineFacts are those of this machine.
func machineFacts(bundle, rootfs string, g *cgroups) *facts {
	of := func(mode os.FileMode) kind {
		if mode.IsDir() {
			return directory
		}
		return other
	}
	return &facts{arch: runtime.GOARCH, bundle: bundle, rootfs: rootfs, cgroup: g,
		host: func(p string) kind {
			st, err := os.Stat(p)
			if err != nil {
				return missing
			}
			return of(st.Mode())
		},
		inRoot: func(p string) kind {
			fd, err := openInRoot(rootfs, p)
			if err != nil {
				return missing
			}
			defer unix.Close(fd)
			var st unix.Stat_t
			if unix.Fstat(fd, &st) != nil {
				return missing
			}
			if st.Mode&unix.S_IFMT == unix.S_IFDIR {
				return directory
			}
			return other
		}}
}

// openInRoot opens a path as it is for a process whose root is a directory.
func openInRoot(root, p string) (int, error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(dir)
	return unix.Openat2(dir, p, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
}

// start makes the pipes and lets the child begin. Both ends of those it reads
// from are open in the child, so that they never end.
func (l *launchPad) start(fifo bool) error {
	for _, p := range []*[2]int{&l.tell, &l.wait, &l.begin} {
		if fifo && p == &l.begin {
			continue
		}
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			return os.NewSyscallError("pipe2", err)
		}
	}
	if fifo {
		if err := unix.Mkfifo(l.c.fifo(), 0o600); err != nil {
			return os.NewSyscallError("mkfifo", err)
		}
		fd, err := unix.Open(l.c.fifo(), unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		l.begin = [2]int{fd, -1}
	}
	var err error
	l.child, err = container.NewChild(l.plan.program, map[launch.Arg]uintptr{
		l.plan.tell: uintptr(l.tell[1]), l.plan.wait: uintptr(l.wait[0]), l.plan.begin: uintptr(l.begin[0])})
	if err != nil {
		return err
	}
	cgroup, err := l.c.groups.open()
	if err != nil {
		return err
	}
	pidNS := -1
	if n, _ := l.config.namespace("pid"); n.Path != "" {
		if pidNS, err = unix.Open(n.Path, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			return fmt.Errorf("opening PID namespace %s: %w", n.Path, err)
		}
	}
	l.child.Begin(cgroup, pidNS, func() { unix.Close(l.tell[1]) })
	return nil
}

// ready serves the child until nothing is left but to start it.
func (l *launchPad) ready(o CreateOptions) error {
	for {
		var stage [1]byte
		n, err := unix.Read(l.tell[0], stage[:])
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return os.NewSyscallError("read", err)
		case n == 0: // the child has ended
			if err := l.child.Executed(); err != nil {
				return err
			}
			return errors.New("the container's process ended before its program")
		}
		if err := l.stage(stage[0]); err != nil {
			return err
		}
		if stage[0] == stageReady {
			return nil
		}
		if _, err := unix.Write(l.wait[1], stage[:]); err != nil {
			return os.NewSyscallError("write", err)
		}
	}
}

// stage does the runtime's part at one of the child's stages.
func (l *launchPad) stage(stage byte) error {
	if l.c.PID == 0 {
		l.c.PID = l.child.PID()
		var err error
		if l.c.Began, _, err = processBegan(l.c.PID); err != nil {
			return err
		}
	}
	s := l.c.State
	switch stage {
	case stageNamespaces:
		if err := l.mapUsers(); err != nil {
			return err
		}
		s.Status = Created
		if err := l.saveCreating(); err != nil {
			return err
		}
		if err := hooks("prestart", l.config.Hooks.Prestart, s); err != nil {
			return err
		}
		s.Status = Creating
		return hooks("createRuntime", l.config.Hooks.CreateRuntime, s)
	case stageMounts:
		if err := l.saveCreating(); err != nil {
			return err
		}
		return inside("createContainer", l.config, l.config.Hooks.CreateContainer, s, runtime.GOARCH)
	case stageReady:
		return l.atReady()
	}
	return fmt.Errorf("the container's process reports an unknown stage %q", stage)
}

// saveCreating lets hooks ask for the state.
func (l *launchPad) saveCreating() error {
	l.c.Status = Creating
	return l.c.save()
}

// atReady finds the program within the container, and takes the terminal.
func (l *launchPad) atReady() error {
	p := l.config.Process
	root := fmt.Sprintf("/proc/%d/root", l.c.PID)
	file, err := lookPath(root, p)
	if err != nil {
		return err
	}
	if err := l.child.Command(file, p.Args); err != nil {
		return err
	}
	if p.OOMScoreAdj != nil {
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", l.c.PID), []byte(strconv.Itoa(*p.OOMScoreAdj)), 0); err != nil {
			return fmt.Errorf("setting the OOM score: %w", err)
		}
	}
	if !l.plan.terminal {
		return nil
	}
	l.master, err = takeTerminal(l.child, l.plan.master)
	return err
}

// mapUsers maps the IDs of a new user namespace, and does what only the machine's
// root can do for a process in there.
func (l *launchPad) mapUsers() error {
	if !l.config.makes("user") {
		return nil
	}
	for name, list := range map[string][]IDMap{"uid_map": l.config.Linux.UIDMappings, "gid_map": l.config.Linux.GIDMappings} {
		var text strings.Builder
		for _, m := range list {
			fmt.Fprintf(&text, "%d %d %d\n", m.ContainerID, m.HostID, m.Size)
		}
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/%s", l.c.PID, name), []byte(text.String()), 0); err != nil {
			return fmt.Errorf("mapping IDs: %w", err)
		}
	}
	for _, r := range l.config.Process.Rlimits {
		n, err := r.number()
		if err != nil {
			return err
		}
		if err := unix.Prlimit(l.c.PID, int(n), &unix.Rlimit{Cur: r.Soft, Max: r.Hard}, nil); err != nil {
			return fmt.Errorf("setting %s: %w", r.Type, err)
		}
	}
	return l.c.groups.add(l.c.PID)
}

// abandon takes everything back.
func (l *launchPad) abandon() {
	if l.child != nil && l.child.PidFD() >= 0 {
		_ = l.child.Kill()
		_, _ = l.child.Wait()
	}
	if err := errors.Join(l.c.groups.remove(), os.RemoveAll(l.c.dir)); err != nil {
		l.r.Warn("cleaning up after container %s: %v", l.c.ID, err)
	}
}

// writePid writes a process's number to a file that appears whole.
func writePid(file string, pid int) error {
	if file == "" {
		return nil
	}
	tmp := filepath.Join(filepath.Dir(file), "."+filepath.Base(file)+".tmp")
	if err := os.WriteFile(tmp, []byte(strconv.Itoa(pid)), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, file)
}

// lookPath finds a process's program as execvp(3) does, below the container's
// root, whose links do not lead out of it.
func lookPath(root string, p *Process) (string, error) {
	name := p.Args[0]
	if strings.Contains(name, "/") {
		full := name
		if !filepath.IsAbs(full) {
			full = filepath.Join(p.Cwd, full)
		}
		if err := executable(root, full); err != nil {
			return "", fmt.Errorf("exec: %q: %w", name, err)
		}
		return name, nil
	}
	search := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, e := range p.Env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			search = v
		}
	}
	var denied error
	for dir := range strings.SplitSeq(search, ":") {
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(p.Cwd, dir)
		}
		file := filepath.Join(dir, name)
		err := executable(root, file)
		if err == nil {
			return file, nil
		}
		if errors.Is(err, unix.EACCES) {
			denied = err
		}
	}
	if denied != nil {
		return "", fmt.Errorf("exec: %q: %w", name, denied)
	}
	return "", fmt.Errorf("exec: %q: executable file not found in $PATH", name)
}

func executable(root, file string) error {
	fd, err := openInRoot(root, file)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o111 == 0 {
		return unix.EACCES
	}
	return nil
}
