package container

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"slices"
	"syscall"
	"unsafe"

	"github.com/instar-os/instar/internal/launch"
	"golang.org/x/sys/unix"
)

// operation is a launch.Op with addresses in place of references: what the
// assembly of spawn reads.
type operation struct {
	nr   uintptr
	meta uint64 // bits 0-5: argument i names a slot; 6: it is a clone; 8-15: slot of the result; 16-27: error that is tolerated; 32-63: of a clone, where the first process goes on
	args [6]uintptr
}

// report is what a child leaves behind: the operation it came to, their number
// when it did them all, and the error when one failed. The kernel adds the
// child's pidfd.
type report struct {
	op    uintptr
	errno uintptr
	pidfd int32
}

// cloneArgs is struct clone_args of linux/sched.h, CLONE_ARGS_SIZE_VER2.
type cloneArgs struct {
	flags, pidfd uint64
	childTID     uint64 // what CLONE_CHILD_CLEARTID clears
	parentTID    uint64 // where CLONE_PARENT_SETTID leaves the PID
	exitSignal   uint64
	_            [5]uint64 // stack, stack_size, tls, set_tid, set_tid_size
	cgroup       uint64
}

// spawn makes a child with clone3 and lets it do the operations. It returns in
// the parent only, when the child has called execve or ended. All that is
// pointed to must be on the heap, for a stack may move: there is no noescape here.
func spawn(args *cloneArgs, size uintptr, ops *operation, n uintptr, slots *uintptr, rep *report) (pid, errno uintptr)

// The runtime's way around a system call that takes long, so that the other
// goroutines go on and no garbage collection waits for the child. The runtime
// keeps both reachable for gVisor, which needs them for the same reason.
//
//go:linkname entersyscall runtime.entersyscall
func entersyscall()

//go:linkname exitsyscall runtime.exitsyscall
func exitsyscall()

// spawnBlocking is spawn as a system call that blocks.
//
//go:norace
//go:nosplit
func spawnBlocking(args *cloneArgs, ops *operation, n uintptr, slots *uintptr, rep *report) (pid, errno uintptr) {
	entersyscall()
	pid, errno = spawn(args, unsafe.Sizeof(*args), ops, n, slots, rep)
	exitsyscall()
	return pid, errno
}

// loaded is a program with its addresses put in. It can be run any number of
// times, also at once.
type loaded struct {
	program *launch.Program
	ops     []operation
	pool    []uint64 // the heap does not move, so addresses within stay good
}

func load(p *launch.Program) (*loaded, error) {
	if p.Arch != runtime.GOARCH {
		return nil, fmt.Errorf("launch program for %s on %s", p.Arch, runtime.GOARCH)
	}
	if err := p.Check(); err != nil {
		return nil, err
	}
	return relocate(p), nil
}

// relocate puts the addresses into a program.
func relocate(p *launch.Program) *loaded {
	l := &loaded{program: p, ops: make([]operation, len(p.Ops)), pool: make([]uint64, len(p.Pool)/8+1)}
	base := uintptr(unsafe.Pointer(&l.pool[0]))
	bytes := unsafe.Slice((*byte)(unsafe.Pointer(&l.pool[0])), 8*len(l.pool))
	copy(bytes, p.Pool)
	for _, r := range p.Relocs {
		binary.NativeEndian.PutUint64(bytes[r.At:], uint64(base)+uint64(r.To))
	}
	for i, op := range p.Ops {
		o := operation{nr: op.Call.Number(p.Arch), meta: uint64(op.Out)<<8 | uint64(op.Tolerate)<<16}
		if op.Call == launch.Clone {
			o.meta |= 1<<6 | uint64(p.Behind(i))<<32
		}
		for j, a := range op.Args {
			o.args[j] = uintptr(a.Value)
			switch a.Kind {
			case launch.Pool, launch.Text:
				o.args[j] += base
			case launch.Slot:
				o.meta |= 1 << j
			}
		}
		l.ops[i] = o
	}
	return l
}

// slots returns the program's slots, none of them set: -1 is no descriptor.
func (l *loaded) slots() []uintptr {
	return slices.Repeat([]uintptr{^uintptr(0)}, int(l.program.Slots))
}

// outputs returns the slots that the program's operations set, without Scrap.
func (l *loaded) outputs() []int {
	var out []int
	for i := range l.program.Ops {
		if s := int(l.program.Ops[i].Out); s != launch.Scrap && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// run executes the program in a child. It returns when the child has executed
// another program or has ended; then its PID and a pidfd, which the caller
// waits for and closes. An operation that failed is an error; the child is gone
// then. cgroup is the descriptor of a cgroup to start in, or -1.
func (l *loaded) run(slots []uintptr, cgroup int) (pid, pidfd int, err error) {
	rep := &report{pidfd: -1}
	args := &cloneArgs{
		// CLEAR_SIGHAND: no signal handler of the Go runtime may run in the child.
		flags:      l.program.Clone | unix.CLONE_VM | unix.CLONE_VFORK | unix.CLONE_PIDFD | unix.CLONE_CLEAR_SIGHAND,
		pidfd:      uint64(uintptr(unsafe.Pointer(&rep.pidfd))),
		exitSignal: uint64(unix.SIGCHLD),
	}
	if cgroup >= 0 {
		args.flags |= unix.CLONE_INTO_CGROUP
		args.cgroup = uint64(cgroup)
	}
	p, errno := spawnBlocking(args, &l.ops[0], uintptr(len(l.ops)), &slots[0], rep)
	runtime.KeepAlive(l)
	if errno != 0 {
		return 0, -1, fmt.Errorf("clone3: %w", syscall.Errno(errno))
	}
	pid, pidfd = int(p), int(rep.pidfd)
	if rep.errno == 0 && l.finished(int(rep.op)) {
		return pid, pidfd, nil
	}
	exit, err := wait(pidfd)
	runtime.KeepAlive(slots) // until now a process of a clone could use them
	runtime.KeepAlive(args)
	unix.Close(pidfd)
	if err != nil {
		return 0, -1, err
	}
	if rep.errno == 0 {
		return 0, -1, l.program.Interrupted(int(rep.op), exit.Signal)
	}
	return 0, -1, l.program.Explain(int(rep.op), syscall.Errno(rep.errno))
}

// finished says whether a child that came to an operation without an error did
// all of them. One that is killed while it executes its program counts as that
// program.
func (l *loaded) finished(op int) bool {
	last := len(l.ops) - 1
	call := l.program.Ops[last].Call
	return op > last || op == last && (call == launch.Execve || call == launch.Execveat)
}

// wait waits for the end of a child by its pidfd and reaps it.
func wait(pidfd int) (Exit, error) {
	var info childInfo
	for {
		err := unix.Waitid(unix.P_PIDFD, pidfd, (*unix.Siginfo)(unsafe.Pointer(&info)), unix.WEXITED, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return Exit{}, os.NewSyscallError("waitid", err)
		}
		if info.code == cldExited {
			return Exit{Code: int(info.status)}, nil
		}
		return Exit{Signal: syscall.Signal(info.status)}, nil
	}
}

// cldExited is CLD_EXITED of asm-generic/siginfo.h; other codes that WEXITED
// brings are ends by a signal.
const cldExited = 1

// childInfo is siginfo_t of a SIGCHLD, as 64-bit Linux has it: 128 bytes.
type childInfo struct {
	signo, errno, code, _ int32
	pid                   int32
	uid                   uint32
	status                int32
	_                     [100]byte
}
