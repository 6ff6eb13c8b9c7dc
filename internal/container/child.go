package container

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"github.com/instar-os/instar/internal/launch"
	"golang.org/x/sys/unix"
)

// Child is a process that walks a launch program while its parent goes on: only
// the thread that made it stands still until the child calls execve or ends.
// When the parent exits meanwhile, the child stays, with the memory they share.
type Child struct {
	program *loaded
	slots   []uintptr
	rep     *report
	args    *cloneArgs
	tid     *int32
	keep    []any

	done chan struct{} // closed when the thread goes on
	err  error         // after done
}

// NewChild readies a child that will walk a program, with some slots set.
func NewChild(p *launch.Program, set map[launch.Arg]uintptr) (*Child, error) {
	l, err := load(p)
	if err != nil {
		return nil, err
	}
	c := &Child{program: l, slots: l.slots(), rep: &report{pidfd: -1}, tid: new(int32), done: make(chan struct{})}
	for a, v := range set {
		c.slots[a.Value] = v
	}
	return c, nil
}

// Begin makes the child, once. cgroup is the descriptor of a cgroup v2 to start
// in, or -1. pidNS is a descriptor of the PID namespace to start in, or -1; the
// thread stays there for its children and is given up. ended is called when the
// child has executed another program or is gone.
func (c *Child) Begin(cgroup, pidNS int, ended func()) {
	c.args = &cloneArgs{
		flags: c.program.program.Clone | unix.CLONE_VM | unix.CLONE_VFORK | unix.CLONE_PIDFD |
			unix.CLONE_CLEAR_SIGHAND | unix.CLONE_PARENT_SETTID,
		pidfd:      uint64(uintptr(unsafe.Pointer(&c.rep.pidfd))),
		parentTID:  uint64(uintptr(unsafe.Pointer(c.tid))),
		exitSignal: uint64(unix.SIGCHLD),
	}
	if cgroup >= 0 {
		c.args.flags |= unix.CLONE_INTO_CGROUP
		c.args.cgroup = uint64(cgroup)
	}
	go c.run(pidNS, ended)
}

func (c *Child) run(pidNS int, ended func()) {
	runtime.LockOSThread()
	defer close(c.done)
	defer ended()
	if pidNS >= 0 {
		if err := unix.Setns(pidNS, unix.CLONE_NEWPID); err != nil {
			c.err = fmt.Errorf("joining the PID namespace: %w", err)
			return
		}
	}
	_, errno := spawnBlocking(c.args, &c.program.ops[0], uintptr(len(c.program.ops)), &c.slots[0], c.rep)
	runtime.KeepAlive(c)
	switch {
	case errno != 0:
		c.err = fmt.Errorf("clone3: %w", syscall.Errno(errno))
	case c.rep.errno != 0:
		c.err = c.program.program.Explain(int(c.rep.op), syscall.Errno(c.rep.errno))
	}
	if pidNS < 0 {
		runtime.UnlockOSThread()
	}
}

// PID returns the child's PID; it is good once the child has reported something.
func (c *Child) PID() int { return int(*c.tid) }

// PidFD returns a descriptor of the child, good as PID is. The caller closes it.
func (c *Child) PidFD() int { return int(c.rep.pidfd) }

// Slot returns what a slot holds, once the child has reported that it is there.
func (c *Child) Slot(a launch.Arg) uintptr { return c.slots[a.Value] }

// Command sets the program that the child will execute, before it comes to that.
func (c *Child) Command(path string, args []string) error {
	argv, err := vector(args)
	if err != nil {
		return err
	}
	file, err := vector([]string{path})
	if err != nil {
		return err
	}
	c.keep = append(c.keep, argv, file)
	c.slots[launch.Argv] = uintptr(unsafe.Pointer(&argv[0]))
	c.slots[launch.Path] = uintptr(unsafe.Pointer(file[0]))
	return nil
}

// Executed waits until the child has executed its program. An operation that
// failed is a *launch.Error; the child is gone then.
func (c *Child) Executed() error {
	<-c.done
	if c.err == nil {
		return nil
	}
	if c.rep.pidfd >= 0 {
		_, err := c.Wait()
		return errors.Join(c.err, err)
	}
	return c.err
}

// Wait waits for the child's end and reaps it.
func (c *Child) Wait() (Exit, error) { return wait(int(c.rep.pidfd)) }

// Kill ends the child if it has not ended.
func (c *Child) Kill() error {
	err := unix.PidfdSendSignal(int(c.rep.pidfd), unix.SIGKILL, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return os.NewSyscallError("pidfd_send_signal", err)
}
