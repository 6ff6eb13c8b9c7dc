package container

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/instar-os/instar/internal/launch"
	"golang.org/x/sys/unix"
)

// A poised process is a first process ahead of its start: it has joined its
// namespaces and made its own mounts, and waits before the first operation that
// the start decides. Until then it shares the supervisor's memory and its
// descriptors, so that what the start brings is there when it goes on. It is no
// vfork: nobody stands still for it, and it uses no stack.
type poised struct {
	l     *loaded
	gate  int // eventfd; the process reads it
	at    int // the gate's operation in l
	slots []uintptr
	rep   *report
	args  *cloneArgs
	tid   *uint32 // its PID until it has executed a program or has ended: set_tid_address(2)
	pid   int
}

// gateOps is the number of operations that a gate adds to a program.
const gateOps = 2

// errGone says that a held process has ended, by somebody else's doing.
var errGone = errors.New("the process that was held for the start has ended")

// reached bounds the wait for a process to come to its gate.
const reached = 10 * time.Second

// gated returns a start with a gate before what belongs to the process itself.
func (l *loaded) gated() (_ *loaded, at int, err error) {
	p := *l.program
	at = slices.IndexFunc(p.Ops, func(o launch.Op) bool { return o.Call == launch.Setsid })
	if at < 0 || p.Slots == launch.MaxSlots {
		return nil, 0, errors.New("this launch program has no place to wait at")
	}
	buffer := (len(p.Pool) + 7) &^ 7
	p.Pool = append(slices.Clone(p.Pool), make([]byte, buffer+8-len(p.Pool))...)
	gate := launch.Arg{Kind: launch.Slot, Value: uint64(p.Slots)}
	p.Slots++
	p.Ops = slices.Insert(slices.Clone(p.Ops), at,
		launch.Op{Call: launch.Read, Label: "waiting for the start", Args: [6]launch.Arg{gate, {Kind: launch.Pool, Value: uint64(buffer)}, {Value: 8}}},
		launch.Op{Call: launch.Unshare, Label: "taking a table of descriptors of its own", Args: [6]launch.Arg{{Value: unix.CLONE_FILES}}})
	p.Clone |= unix.CLONE_FILES
	return relocate(&p), at, nil
}

// hold makes the first process and returns when it waits at its gate. The
// sandbox has its control group already.
func (s *Sandbox) hold() error {
	l, at, err := s.start.gated()
	if err != nil {
		return err
	}
	h := &poised{l: l, at: at, slots: l.slots(), rep: &report{pidfd: -1}, tid: new(uint32)}
	if h.gate, err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
		return os.NewSyscallError("eventfd", err)
	}
	s.spaces(h.slots)
	h.slots[len(h.slots)-1] = uintptr(h.gate)
	if err := h.begin(s.cgroup.fd); err != nil {
		unix.Close(h.gate)
		return err
	}
	s.poised = h
	return h.arrive()
}

func (h *poised) begin(cgroup int) error {
	h.args = &cloneArgs{
		flags: h.l.program.Clone | unix.CLONE_VM | unix.CLONE_PIDFD | unix.CLONE_CLEAR_SIGHAND |
			unix.CLONE_PARENT_SETTID | unix.CLONE_CHILD_CLEARTID | unix.CLONE_INTO_CGROUP,
		pidfd:      uint64(uintptr(unsafe.Pointer(&h.rep.pidfd))),
		childTID:   uint64(uintptr(unsafe.Pointer(h.tid))),
		parentTID:  uint64(uintptr(unsafe.Pointer(h.tid))),
		exitSignal: uint64(unix.SIGCHLD),
		cgroup:     uint64(cgroup),
	}
	pid, errno := spawnBlocking(h.args, &h.l.ops[0], uintptr(len(h.l.ops)), &h.slots[0], h.rep)
	if errno != 0 {
		return fmt.Errorf("clone3: %w", unix.Errno(errno))
	}
	h.pid = int(pid)
	return nil
}

// arrive waits until the process is at the gate. The process is not waited for
// when it fails before: close does that.
func (h *poised) arrive() error {
	for end := time.Now().Add(reached); atomic.LoadUintptr(&h.rep.op) < uintptr(h.at); time.Sleep(200 * time.Microsecond) {
		switch {
		case atomic.LoadUint32(h.tid) == 0:
			return h.outcome()
		case time.Now().After(end):
			return fmt.Errorf("the process has not come to its gate within %v", reached)
		}
	}
	return nil
}

// run lets the process go on with the slots of the start. It is to a poised
// process what loaded.run is to a program.
func (h *poised) run(slots []uintptr) (pid, pidfd int, err error) {
	if atomic.LoadUint32(h.tid) == 0 {
		return 0, -1, errGone
	}
	copy(h.slots, slots)
	one := [8]byte{1}
	if _, err := unix.Write(h.gate, one[:]); err != nil {
		return 0, -1, os.NewSyscallError("write", err)
	}
	for pid := atomic.LoadUint32(h.tid); pid != 0; pid = atomic.LoadUint32(h.tid) {
		// FUTEX_WAIT; an interruption and a change are both looked at again.
		unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(h.tid)), 0, uintptr(pid), 0, 0, 0)
	}
	runtime.KeepAlive(h)
	if err := h.outcome(); err != nil {
		return 0, -1, err
	}
	pidfd = int(h.rep.pidfd)
	h.rep.pidfd = -1
	return h.pid, pidfd, nil
}

// outcome says how far a process came that executed a program or ended, in the
// words of the program without the gate.
func (h *poised) outcome() (err error) {
	op := int(h.rep.op)
	switch {
	case h.rep.errno != 0:
		err = h.l.program.Explain(op, unix.Errno(h.rep.errno))
	case !h.l.finished(op):
		exit, e := wait(int(h.rep.pidfd))
		if errors.Is(e, unix.ECHILD) { // PID 1 has reaped it
			exit.Signal = unix.SIGKILL
		}
		err = h.l.program.Interrupted(op, exit.Signal)
	}
	var e *launch.Error
	if errors.As(err, &e) && e.Op > h.at {
		e.Op -= min(e.Op-h.at, gateOps)
	}
	return err
}

// close ends the process if it has not executed its program, and gives up what
// is left of it.
func (h *poised) close() error {
	var errs []error
	if fd := int(h.rep.pidfd); fd >= 0 {
		if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, os.NewSyscallError("pidfd_send_signal", err))
		}
		if _, err := wait(fd); err != nil && !errors.Is(err, unix.ECHILD) { // waited for already, or by PID 1
			errs = append(errs, err)
		}
		errs = append(errs, os.NewSyscallError("close", unix.Close(fd)))
		h.rep.pidfd = -1
	}
	if h.gate >= 0 {
		errs = append(errs, os.NewSyscallError("close", unix.Close(h.gate)))
		h.gate = -1
	}
	runtime.KeepAlive(h)
	return errors.Join(errs...)
}
