package container

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"github.com/instar-os/instar/internal/launch"
	"golang.org/x/sys/unix"
)

// Process is a process of a sandbox that the runtime started.
type Process struct {
	pid, pidfd int
	all        bool // it takes all signals: a container's own first process
	kept       func(mounts int)

	mu   sync.Mutex
	done bool // pidfd is closed
}

// PID returns the process's number as the supervisor sees it.
func (p *Process) PID() int { return p.pid }

// PidFD returns a descriptor of the process, good until Wait returns.
func (p *Process) PidFD() int { return p.pidfd }

// Wait waits for the end. It is called exactly once.
func (p *Process) Wait() (Exit, error) {
	p.keepMounts()
	e, err := wait(p.pidfd)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done = true
	if err := errors.Join(err, os.NewSyscallError("close", unix.Close(p.pidfd))); err != nil {
		return e, fmt.Errorf("waiting for process %d: %w", p.pid, err)
	}
	return e, nil
}

// keepMounts keeps a first process's copy of the mounts beyond its end: without the last
// reference they would be taken apart by the process itself, with a grace period
// of the kernel's, before anybody hears that it has ended.
func (p *Process) keepMounts() {
	if p.kept == nil {
		return
	}
	if fd, err := openat(unix.AT_FDCWD, "/proc/"+strconv.Itoa(p.pid)+"/ns/mnt", unix.O_RDONLY); err == nil {
		p.kept(fd)
	}
}

// Signal sends a signal. os.ErrProcessDone says that there is nobody to get it.
func (p *Process) Signal(sig syscall.Signal) error {
	return p.hold(func() error {
		err := unix.PidfdSendSignal(p.pidfd, sig, nil, 0)
		if errors.Is(err, unix.ESRCH) {
			return os.ErrProcessDone
		}
		return os.NewSyscallError("pidfd_send_signal", err)
	})
}

// hold calls f while the pidfd is open.
func (p *Process) hold(f func() error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done {
		return os.ErrProcessDone
	}
	return f()
}

// Start runs a command of the container in new namespaces as their first
// process, and returns when it runs. args[0] is a path in the container. A nil
// file stands for /dev/null. A failure before the program runs is a
// *launch.Error that names the operation.
func (s *Sandbox) Start(args []string, stdin, stdout, stderr *os.File) (*Process, error) {
	slots := s.start.slots()
	s.spaces(slots)
	for i, f := range s.links {
		slots[launch.FirstDescriptor+i] = f.Fd()
	}
	slots[launch.Init] = uintptr(s.init)
	files := [3]*os.File{stdin, stdout, stderr}
	p, err := s.resume(slots, args, files)
	if errors.Is(err, errGone) {
		p, err = s.execute(s.start.run, slots, args, files)
	}
	if err != nil {
		return nil, fmt.Errorf("starting %s in container %s: %w", command(args), s.name, err)
	}
	p.all = s.init != 0
	if s.copies {
		p.kept = s.keep
	}
	s.mu.Lock()
	s.main = p
	s.mu.Unlock()
	return p, nil
}

// keep takes a descriptor over until Close.
func (s *Sandbox) keep(fd int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = append(s.kept, fd)
}

// spaces sets the slots of the namespaces.
func (s *Sandbox) spaces(slots []uintptr) {
	for i := launch.MountNS; i <= launch.UserNS; i++ {
		slots[i] = uintptr(s.fds[i])
	}
}

// resume lets the process go on that is held for the start; errGone when there
// is none.
func (s *Sandbox) resume(slots []uintptr, args []string, files [3]*os.File) (*Process, error) {
	s.mu.Lock()
	h := s.poised
	s.poised = nil
	if h != nil {
		s.past = append(s.past, h)
	}
	s.mu.Unlock()
	if h == nil {
		return nil, errGone
	}
	return s.execute(func(slots []uintptr, _ int) (int, int, error) { return h.run(slots) }, slots, args, files)
}

// Exec runs a further command within the running container. It returns as
// Start does.
func (s *Sandbox) Exec(args []string, stdin, stdout, stderr *os.File) (*Process, error) {
	return s.ExecEnv(nil, args, stdin, stdout, stderr)
}

// ExecEnv is Exec with more environment as KEY=VALUE, which overrides the
// container's own. A terminal as standard input becomes the command's.
func (s *Sandbox) ExecEnv(env, args []string, stdin, stdout, stderr *os.File) (*Process, error) {
	s.mu.Lock()
	main := s.main
	s.mu.Unlock()
	if main == nil {
		return nil, fmt.Errorf("starting %s in container %s: it does not run", command(args), s.name)
	}
	p, err := s.join(main, overlaid(s.env, env), args, [3]*os.File{stdin, stdout, stderr})
	if err != nil {
		return nil, fmt.Errorf("starting %s in container %s: %w", command(args), s.name, err)
	}
	return p, nil
}

func command(args []string) string {
	if len(args) == 0 {
		return "nothing"
	}
	return args[0]
}

// join enters the PID namespace for children with a thread of its own, because
// clone3 makes the child there. A thread that cannot get back is given up.
func (s *Sandbox) join(main *Process, env, args []string, files [3]*os.File) (p *Process, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		back := true
		err = main.hold(func() (err error) {
			p, back, err = s.joinHere(main.pidfd, env, args, files)
			return err
		})
		if back {
			runtime.UnlockOSThread()
		}
	}()
	<-done
	return p, err
}

func (s *Sandbox) joinHere(main int, env, args []string, files [3]*os.File) (p *Process, back bool, err error) {
	own, err := unix.Open("/proc/thread-self/ns/pid_for_children", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, true, fmt.Errorf("opening the own PID namespace: %w", err)
	}
	defer unix.Close(own)
	if err := unix.Setns(main, unix.CLONE_NEWPID); err != nil {
		return nil, true, fmt.Errorf("joining its PID namespace: %w", err)
	}
	slots := s.joining.slots()
	slots[launch.MountNS] = uintptr(main)
	envp, err := vector(env)
	if err != nil {
		return nil, unix.Setns(own, unix.CLONE_NEWPID) == nil, err
	}
	slots[launch.Env] = uintptr(unsafe.Pointer(&envp[0]))
	defer runtime.KeepAlive(envp)
	p, err = s.execute(s.joining.run, slots, args, files)
	return p, unix.Setns(own, unix.CLONE_NEWPID) == nil, err
}

// execute sets the slots that differ from start to start and runs a program
// with them, in the sandbox's cgroup.
func (s *Sandbox) execute(run func(slots []uintptr, cgroup int) (pid, pidfd int, err error), slots []uintptr, args []string, files [3]*os.File) (*Process, error) {
	if len(args) == 0 || args[0] == "" {
		return nil, errors.New("no program to run")
	}
	argv, err := vector(args)
	if err != nil {
		return nil, err
	}
	slots[launch.Nofile] = uintptr(unsafe.Pointer(s.nofile))
	slots[launch.Path] = uintptr(unsafe.Pointer(argv[0]))
	slots[launch.Argv] = uintptr(unsafe.Pointer(&argv[0]))
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	for i, f := range files {
		if f == nil {
			f = null
		}
		slots[launch.Stdin+i] = f.Fd()
	}
	cgroup := -1
	if s.cgroup != nil {
		cgroup = s.cgroup.fd
	}
	pid, pidfd, err := run(slots, cgroup)
	runtime.KeepAlive(argv)
	runtime.KeepAlive(files)
	runtime.KeepAlive(s)
	if err != nil {
		return nil, err
	}
	return &Process{pid: pid, pidfd: pidfd}, nil
}

// overlaid returns an environment with some variables set anew.
func overlaid(env, more []string) []string {
	out := slices.Clone(env)
	for _, kv := range more {
		key, _, _ := strings.Cut(kv, "=")
		out = slices.DeleteFunc(out, func(e string) bool { return strings.HasPrefix(e, key+"=") })
	}
	return append(out, more...)
}

// vector makes a NULL-terminated array of NUL-terminated strings.
func vector(args []string) ([]*byte, error) {
	out := make([]*byte, len(args)+1)
	for i, a := range args {
		if strings.IndexByte(a, 0) >= 0 {
			return nil, fmt.Errorf("argument %q contains a NUL byte", a)
		}
		out[i] = unsafe.StringData(a + "\x00")
	}
	return out, nil
}
