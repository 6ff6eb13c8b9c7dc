package container

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A walk is a child on its way through a program that makes a part of the
// sandbox, beside its parent: no vfork, and as it uses no stack nobody has to
// stand still. They share the table of descriptors.
type walk struct {
	l     *loaded
	slots []uintptr
	rep   *report
	args  *cloneArgs
	pid   int
	keep  []any // what the slots point to
}

// begin makes the child. The caller ends it.
func (l *loaded) begin(slots []uintptr, keep ...any) (*walk, error) {
	w := &walk{l: l, slots: slots, rep: &report{pidfd: -1}, keep: keep}
	w.args = &cloneArgs{
		// CLEAR_SIGHAND: no signal handler of the Go runtime may run in the child.
		flags:      l.program.Clone | unix.CLONE_VM | unix.CLONE_PIDFD | unix.CLONE_CLEAR_SIGHAND,
		pidfd:      uint64(uintptr(unsafe.Pointer(&w.rep.pidfd))),
		exitSignal: uint64(unix.SIGCHLD),
	}
	pid, errno := spawnBlocking(w.args, &l.ops[0], uintptr(len(l.ops)), &slots[0], w.rep)
	if errno != 0 {
		return nil, fmt.Errorf("clone3: %w", syscall.Errno(errno))
	}
	w.pid = int(pid)
	return w, nil
}

// end waits for the child's end. An operation that failed is a *launch.Error.
func (w *walk) end() error {
	exit, err := wait(int(w.rep.pidfd))
	runtime.KeepAlive(w) // until now the child used all of it
	unix.Close(int(w.rep.pidfd))
	op := int(w.rep.op)
	switch {
	case err != nil:
		return err
	case w.rep.errno != 0:
		return w.l.program.Explain(op, syscall.Errno(w.rep.errno))
	case !w.l.finished(op):
		return w.l.program.Interrupted(op, exit.Signal)
	}
	return nil
}

// kill ends the child. Descriptors that it has opened by then may be lost.
func (w *walk) kill() { _ = unix.PidfdSendSignal(int(w.rep.pidfd), unix.SIGKILL, nil, 0) } // end says what came of it

// A gate is where a walk waits until it is let go on, or the supervisor has
// ended.
type gate struct {
	event int
	watch *[2]unix.PollFd
}

// newGate makes a gate that is closed. self is a descriptor of the supervisor.
func newGate(self int) (*gate, error) {
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK|unix.EFD_SEMAPHORE)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	return &gate{event, &[2]unix.PollFd{{Fd: int32(event), Events: unix.POLLIN}, {Fd: int32(self), Events: unix.POLLIN}}}, nil
}

// open lets n waits pass.
func (g *gate) open(n byte) error {
	count := [8]byte{n} // as little-endian machines have it
	_, err := unix.Write(g.event, count[:])
	return os.NewSyscallError("write", err)
}

// put sets the slots of a program that waits here.
func (g *gate) put(slots []uintptr, at int) {
	slots[at] = uintptr(g.event)
	slots[at+1] = uintptr(unsafe.Pointer(g.watch))
}

func (g *gate) close() { unix.Close(g.event) }
