package launch

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// cloneFlags are those of Clone: the new process shares the memory that the
// program and its report are in, and the first one stands still meanwhile.
const cloneFlags = unix.CLONE_VM | unix.CLONE_VFORK | uint64(unix.SIGCHLD)

// commandPID is the number that a container's command has in its PID namespace:
// 1, or 2 when there is a first process before it.
func commandPID(init bool) int {
	if init {
		return 2
	}
	return 1
}

// divide makes a process for the command, which do completes and which ends
// with Execve, and becomes the container's own first process. That one has the
// command's user, rights and filter, holds back every signal since before the
// command was there, and has no files.
func (b *builder) divide(do func()) {
	b.do("holding back signals", RtSigprocmask, imm(unix.SIG_SETMASK), b.bytes(words(^uint64(0))), imm(0), imm(8))
	b.do("making the command's process", Clone, imm(cloneFlags))
	b.do("starting the command's session", Setsid)
	do()
	b.do("closing the command's files at exec", CloseRange, imm(0), imm(^uint32(0)), imm(unix.CLOSE_RANGE_CLOEXEC))
	b.do("executing the first process", Execveat, held(Init), b.str(""), b.vector([]string{"init"}), b.vector(nil), imm(unix.AT_EMPTY_PATH))
}

// Behind returns where the first process goes on after the Clone at an index.
func (p *Program) Behind(clone int) int {
	rest := slices.IndexFunc(p.Ops[clone:], func(o Op) bool { return o.Call == Execve })
	return clone + rest + 1
}

// checkClone holds that both processes of a Clone come to an end.
func (p *Program) checkClone() error {
	at := slices.IndexFunc(p.Ops, func(o Op) bool { return o.Call == Clone })
	if at < 0 {
		return nil
	}
	if o := p.Ops[at]; o.Args != ([6]Arg{imm(cloneFlags)}) || o.Tolerate != 0 {
		return fmt.Errorf("operation %d: clone otherwise than with flags %#x", at, cloneFlags)
	}
	behind := p.Behind(at)
	if behind == at || behind == len(p.Ops) {
		return errors.New("clone, and not an execve for each of the two processes")
	}
	if slices.ContainsFunc(p.Ops[at+1:], func(o Op) bool { return o.Call == Clone }) {
		return errors.New("more than one clone")
	}
	if last := p.Ops[len(p.Ops)-1].Call; last != Execve && last != Execveat {
		return errors.New("after clone, the first process does not execute a program")
	}
	return nil
}
