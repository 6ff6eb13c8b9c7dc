// Package container runs containers: it makes a sandbox ahead of the start and
// executes launch programs in it.
//
// A child is made with clone3 in the manner of vfork: it shares the memory of
// the supervisor, which stands still in that thread until the child executes
// the container's program. In between nothing runs but the table of system
// calls, walked by a few lines of assembly: no Go code, no stack, no second
// start of this binary. An error comes back through the shared memory.
package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"github.com/instar-os/instar/internal/launch"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/volume"
	"golang.org/x/sys/unix"
)

// Runtime says where things are on the machine. Its fields are read only and it
// can be used from many goroutines; two sandboxes of one container at a time
// cannot be.
//
// On the initial ramfs, LeaveRamfs has to be called first. The caller must be
// root, and must not reap children it does not know: wait4(-1) would take the
// ends of containers from Process.Wait.
type Runtime struct {
	Store   string        // the mounted store's directory
	Data    *volume.Store // the data that lasts; nil when there is none
	State   string        // directory on a tmpfs, for mount points
	Cgroup  string        // cgroup v2 directory, without processes, to make cgroups in; "" for none
	Resolv  string        // resolv.conf for containers on the host's network, rewritten in place; must exist before Prepare when a container has it
	Control string        // path of the control socket, which must exist before Prepare when a container wants it
	Verity  bool          // objects must have fs-verity digests

	// Descriptors returns the files of a container's links, which stay its own;
	// nil when no container has links.
	Descriptors func(c *system.Container) ([]*os.File, error)

	// Namespace returns a descriptor of the network namespace of a container
	// that is on networks, for the caller to close; nil when there are none.
	Namespace func(container string) (int, error)

	// Watch is called with a descriptor of a container's mount namespace when
	// its mounts are made and nothing runs in it yet; nil for nobody.
	Watch func(container string, mounts int) error

	// Disks finds the disks of limits; nil when none can be limited.
	Disks Disks

	known  launches
	filter sharedFilter
	spares spares
	init   initProgram
}

// Sandbox is a container without processes: namespaces, mounts and a cgroup.
// It is good for one life: the container's Prepare commands one after the
// other, then the program; they share /tmp, /run and an ephemeral root.
// Its methods can be used from many goroutines; Close once, at the end.
type Sandbox struct {
	name     string
	place    string
	env      []string
	cgroup   *cgroup                // nil for none
	fds      [launch.UserNS + 1]int // by launch's slots MountNS to UserNS; -1 when not there
	links    []*os.File             // the descriptors that its first process gets
	nofile   *unix.Rlimit
	start    *loaded
	joining  *loaded
	copies   bool     // each first process has a copy of the mounts
	init     int      // descriptor of the program of its own first process, the Runtime's; 0 for none
	master   *os.File // of the terminal of its first process; nil for none
	warnings []string
	data     held
	devices  devices

	mu     sync.Mutex
	main   *Process  // the newest first process
	poised *poised   // for the next start; nil for none
	past   []*poised // that were, for what is left of them
	kept   []int     // descriptors of the mounts of its first processes
}

// Exit is how a process ended.
type Exit struct {
	Code   int            // exit status, when Signal is 0
	Signal syscall.Signal // the signal that ended it, or 0
}

// Status returns the exit status as shells have it: 128+n for signal n.
func (e Exit) Status() int {
	if e.Signal != 0 {
		return 128 + int(e.Signal)
	}
	return e.Code
}

// String says it in words.
func (e Exit) String() string {
	if e.Signal != 0 {
		return fmt.Sprintf("ended by signal %d (%v)", int(e.Signal), e.Signal)
	}
	return fmt.Sprintf("exit status %d", e.Code)
}

// Prepare makes everything of a container but its processes. The
// configuration's name is part of the place of its data. On an error nothing is
// left but directories for data. An operation that failed is a *launch.Error.
func (r *Runtime) Prepare(c *system.Container, configuration string) (*Sandbox, error) {
	err := closeMemory()
	var s *Sandbox
	if err == nil {
		s, err = r.prepare(c, configuration)
	}
	if err != nil {
		return nil, fmt.Errorf("preparing container %s: %w", c.Name, err)
	}
	return s, nil
}

func (r *Runtime) prepare(c *system.Container, configuration string) (*Sandbox, error) {
	if err := r.evict(c); err != nil {
		return nil, err
	}
	if s := r.spares.take(c); s != nil {
		if err := s.equip(r, c); err != nil {
			return nil, errors.Join(err, s.Close())
		}
		return s, nil
	}
	l, err := r.launch(c)
	if err != nil {
		return nil, err
	}
	data, err := r.openData(c, configuration)
	if err != nil {
		return nil, err
	}
	s, err := r.sandbox(c, l, r.parts(c, data))
	if err != nil {
		data.release()
		return nil, err
	}
	s.data, s.warnings = data, append(s.warnings, data.warnings()...)
	return s, nil
}

// closeMemory keeps processes of containers out of this one's memory and files,
// which a child has until it executes its program: prctl(2), PR_SET_DUMPABLE. It
// has the container's user and is seen there before.
func closeMemory() error {
	return os.NewSyscallError("prctl", unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0))
}

// parts says where what a container is made of is on this machine.
type parts struct {
	image   string
	objects string
	data    []string
}

func (r *Runtime) parts(c *system.Container, data held) parts {
	return parts{
		image:   filepath.Join(r.Store, "images", c.Image.Digest.String()),
		objects: filepath.Join(r.Store, "objects"),
		data:    data.directories(),
	}
}

func (r *Runtime) sandbox(c *system.Container, l *loadedLaunch, where parts) (_ *Sandbox, err error) {
	s := newSandbox(c, l, filepath.Join(r.State, c.Name))
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	return s, s.build(r, c, l, where, func() error { return s.equip(r, c) })
}

func newSandbox(c *system.Container, l *loadedLaunch, place string) *Sandbox {
	return &Sandbox{
		name: c.Name, place: place, fds: [launch.UserNS + 1]int{-1, -1, -1, -1, -1, -1},
		start: l.start, joining: l.join, env: c.Env, copies: len(c.Prepare) > 0,
	}
}

// equip gives the sandbox what only one sandbox of a container can have, or
// what changes while it waits: links, networks, the cgroup.
func (s *Sandbox) equip(r *Runtime, c *system.Container) (err error) {
	if len(c.Descriptors) > 0 {
		if s.links, err = r.descriptors(c); err != nil {
			return err
		}
	}
	if err = s.network(r, c); err != nil {
		return err
	}
	if s.nofile, err = openFiles(); err != nil {
		return err
	}
	if c.Init {
		if s.init, err = r.init.open(); err != nil {
			return err
		}
	}
	if s.cgroup == nil {
		if s.cgroup, err = makeCgroup(r.cgroupOf(c), c, false); err != nil {
			return err
		}
		s.guard(r, c)
	}
	warnings, err := s.cgroup.restrict(r.cgroupOf(c), c)
	if err != nil {
		return err
	}
	s.warnings = append(s.warnings, warnings...)
	s.warnings = append(s.warnings, r.limitDisks(s.cgroup, c.Limits)...)
	return nil
}

// openFiles returns the default limit of open files, as the machine allows it.
func openFiles() (*unix.Rlimit, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return nil, os.NewSyscallError("getrlimit", err)
	}
	return &unix.Rlimit{Cur: min(softNofile, limit.Max), Max: min(hardNofile, limit.Max)}, nil
}

// Limits of open files for a container that declares none: select(2) cannot
// handle descriptors from 1024, so that only who knows better raises its own.
const (
	softNofile = 1024
	hardNofile = 524288
)

// Warnings returns what could not be enforced on this machine, and why.
func (s *Sandbox) Warnings() []string { return slices.Clone(s.warnings) }

// Kill ends every process of the sandbox. It does not wait for their ends.
func (s *Sandbox) Kill() error {
	if s.cgroup != nil && s.cgroup.canKill {
		return s.cgroup.kill()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.main == nil {
		return nil
	}
	// The end of a PID namespace's first process is the end of all others.
	if err := s.main.Signal(unix.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// Release gives up what another sandbox may wait for: the container's data and
// its devices. No process may be left but those that have been killed. Close
// does it as well.
func (s *Sandbox) Release() {
	s.data.release()
	s.data = nil
	s.devices.close()
}

// letGo ends the process that waits, and gives up what is left of others.
func (s *Sandbox) letGo() error {
	s.mu.Lock()
	all := s.past
	if s.poised != nil {
		all = append(all, s.poised)
	}
	kept := s.kept
	s.poised, s.past, s.kept = nil, nil, nil
	s.mu.Unlock()
	var errs []error
	for _, fd := range kept {
		errs = append(errs, os.NewSyscallError("close", unix.Close(fd)))
	}
	for _, h := range all {
		errs = append(errs, h.close())
	}
	return errors.Join(errs...)
}

// Close removes the sandbox: its mounts go with the last reference to their
// namespace. No process may be left but those that have been killed.
func (s *Sandbox) Close() error {
	s.Release()
	errs := []error{s.letGo()}
	for i, fd := range s.fds {
		if fd >= 0 {
			errs = append(errs, os.NewSyscallError("close", unix.Close(fd)))
			s.fds[i] = -1
		}
	}
	if s.master != nil {
		errs = append(errs, s.master.Close())
		s.master = nil
	}
	if err := os.Remove(s.place); err != nil && !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, err)
	}
	if s.cgroup != nil {
		errs = append(errs, s.cgroup.remove())
		s.cgroup = nil
	}
	return errors.Join(errs...)
}
