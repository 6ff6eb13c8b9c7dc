// Package launch compiles a container's start to tables of system calls.
//
// A Program is a value: operations with immediate arguments, references into a
// pool of bytes, and slots that hold file descriptors and pointers. Nothing is
// decided while it runs, so that it can run where nothing but system calls is
// possible: in a child that shares its parent's memory, before execve. What
// fails is told as (index of the operation, error number); the operation's
// label says it in words.
//
// A container has four of them (see Launch): Spaces makes its namespaces, Root
// its mounts ahead of the start, Start is the path of its first process, Join
// that of a process that enters it later. They are compiled on the build host,
// for one architecture, and are in the store: what only the machine knows, as
// the path of its store, comes in slots.
package launch

import (
	"bytes"
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// Limits of a Program. Decode refuses what exceeds them, Compile what would.
const (
	MaxOps    = 4096
	MaxPool   = 1 << 20 // bytes
	MaxRelocs = 1 << 16
	MaxLabel  = 8 << 10 // bytes
	MaxSlots  = 255
)

// Kind says what an argument's value is.
type Kind uint8

// The kinds of arguments.
const (
	Imm  Kind = iota // the value itself
	Pool             // the address of the pool's byte Value
	Slot             // what slot Value holds
	Text             // as Pool, and a string that ends with NUL is there
)

// Arg is one argument of a system call.
type Arg struct {
	Kind  Kind
	Value uint64
}

// Op is one system call. After Clone both processes go on with the operations
// that follow: the new one, which shares all memory, as far as the next Execve;
// the first one stands still until then and goes on behind it. When the new one
// fails, the first one ends.
type Op struct {
	Call     Call
	Args     [6]Arg
	Out      uint8         // slot that gets the result; Scrap when nobody wants it
	Tolerate syscall.Errno // an error that is no failure; 0 for none
	Label    string        // what it does, as "mount /proc"
}

// Reloc asks for the address of the pool's byte To, as a native 64-bit word, at
// the pool's byte At, a multiple of 8.
type Reloc struct{ At, To uint32 }

// Program is a table of system calls. The zero value is an empty program of no
// architecture.
type Program struct {
	Arch   string // GOARCH that the call numbers and structures are for
	Source string // file:line of the container's definition, for messages
	Clone  uint64 // namespace flags of clone3, and CLONE_FILES
	Slots  uint8  // number of slots
	Ops    []Op
	Pool   []byte
	Relocs []Reloc
}

// The slots with a fixed meaning: descriptors, and addresses of what only the
// machine knows that runs the program. Spaces and Root leave namespaces in
// theirs; the others are set by who runs a program. Strings end with NUL.
const (
	Scrap   = iota // results that nobody wants
	MountNS        // Join: pidfd of the container's first process
	UTSNS
	IPCNS
	NetNS
	UserNS
	Stdin
	Stdout
	Stderr
	Path    // address of the program's path
	Argv    // address of its arguments
	Place   // Root: address of the path of an empty directory
	Image   // Root: address of the path of the image, or of the root directory
	Objects // Root: address of the path of the store's objects
	Verity  // Root: address of "require" or "off", overlay's option verity
	Resolv  // Root: address of the path of resolv.conf
	Control // Root: address of the path of the control socket
	IDMap   // Root: address of a struct mount_attr that maps by the user namespace
	Nofile  // Start, Join: address of the default struct rlimit64 of open files
	Env     // Join: address of the environment
	Init    // Start: descriptor of the program of a container's own first process
	Master  // Root leaves its end of the container's terminal there
	Users   // Spaces, Root: gate that is open when the users are mapped: see await
	UsersEnd
	Ready // Spaces, Root: gate that is open when the namespaces are there
	ReadyEnd
	Entered // Root, Drop: gate that is open when the host's mounts can be dropped
	EnteredEnd
	FirstData // Root: address of the path of the container's first data; the others follow. Start: see FirstDescriptor
)

// firstApart is the first slot that Spaces takes for itself, and Root none: they
// can run on the same slots.
const firstApart = 192

// Error says which operation of a launch failed.
type Error struct {
	Op     int
	Label  string
	Call   Call
	Errno  syscall.Errno
	Signal syscall.Signal // ended the child there, and Errno is 0
	Source string         // file:line of the container's definition
}

// Error gives the line of the definition, the label, the system call and its
// error.
func (e *Error) Error() string {
	if e.Signal != 0 {
		return fmt.Sprintf("%s: operation %d, %s: ended by signal %d (%v)", e.Source, e.Op, e.Label, int(e.Signal), e.Signal)
	}
	return fmt.Sprintf("%s: operation %d, %s: %v: %v", e.Source, e.Op, e.Label, e.Call, e.Errno)
}

// Unwrap returns the error number, for errors.Is.
func (e *Error) Unwrap() error {
	if e.Errno == 0 {
		return nil
	}
	return e.Errno
}

// Interrupted turns the end of a child by a signal at an operation into an error.
func (p *Program) Interrupted(op int, sig syscall.Signal) error {
	if op < 0 || op >= len(p.Ops) {
		return fmt.Errorf("%s: operation %d of %d: ended by signal %d", p.Source, op, len(p.Ops), int(sig))
	}
	return &Error{Op: op, Label: p.Ops[op].Label, Call: p.Ops[op].Call, Signal: sig, Source: p.Source}
}

// Explain turns what an executor reports into an error.
func (p *Program) Explain(op int, errno syscall.Errno) error {
	if op < 0 || op >= len(p.Ops) {
		return fmt.Errorf("%s: operation %d of %d: %w", p.Source, op, len(p.Ops), errno)
	}
	return &Error{Op: op, Label: p.Ops[op].Label, Call: p.Ops[op].Call, Errno: errno, Source: p.Source}
}

// Check reports what an executor could not run: unknown calls and
// architectures, references out of the pool or the slots. A program that shares
// its parent's table of descriptors leaves them to the parent, which closes what
// it finds in slots: a number that the program had closed could be anybody's by
// then.
func (p *Program) Check() error {
	if _, ok := archs[p.Arch]; !ok {
		return fmt.Errorf("launch program for unknown architecture %q", p.Arch)
	}
	switch {
	case len(p.Ops) > MaxOps:
		return fmt.Errorf("launch program of %d operations, more than %d", len(p.Ops), MaxOps)
	case len(p.Pool) > MaxPool:
		return fmt.Errorf("launch program with a pool of %d bytes, more than %d", len(p.Pool), MaxPool)
	case len(p.Relocs) > MaxRelocs:
		return fmt.Errorf("launch program with %d relocations, more than %d", len(p.Relocs), MaxRelocs)
	case p.Slots < FirstData:
		return fmt.Errorf("launch program with %d slots, less than %d", p.Slots, FirstData)
	}
	if err := p.checkClone(); err != nil {
		return fmt.Errorf("launch program: %w", err)
	}
	lastNUL := bytes.LastIndexByte(p.Pool, 0)
	for i := range p.Ops {
		if err := p.checkOp(&p.Ops[i], lastNUL); err != nil {
			return fmt.Errorf("launch program: operation %d: %w", i, err)
		}
	}
	for _, r := range p.Relocs {
		if r.At%8 != 0 || uint64(r.At)+8 > uint64(len(p.Pool)) || uint64(r.To) >= uint64(len(p.Pool)) {
			return fmt.Errorf("launch program: relocation at %d to %d is not within the pool's %d bytes", r.At, r.To, len(p.Pool))
		}
	}
	return nil
}

// checkOp checks one operation; a string before the pool's last NUL ends there
// or earlier.
func (p *Program) checkOp(o *Op, lastNUL int) error {
	if int(o.Call) >= len(calls) {
		return fmt.Errorf("unknown call %d", o.Call)
	}
	if o.Out >= p.Slots {
		return fmt.Errorf("result in slot %d of %d", o.Out, p.Slots)
	}
	if o.Tolerate >= 4096 {
		return fmt.Errorf("tolerates %d, which is no error number", o.Tolerate)
	}
	if o.Call == Close && p.Clone&unix.CLONE_FILES != 0 {
		return errors.New("closes a descriptor of the table that it shares")
	}
	if len(o.Label) > MaxLabel {
		return fmt.Errorf("a label of %d bytes, more than %d", len(o.Label), MaxLabel)
	}
	for i, a := range o.Args {
		switch {
		case a.Kind > Text:
			return fmt.Errorf("argument %d of unknown kind %d", i, a.Kind)
		case a.Kind == Pool && a.Value >= uint64(len(p.Pool)):
			return fmt.Errorf("argument %d points to byte %d of a pool of %d", i, a.Value, len(p.Pool))
		case a.Kind == Text && (lastNUL < 0 || a.Value > uint64(lastNUL)):
			return fmt.Errorf("argument %d is no string within the pool", i)
		case a.Kind == Slot && a.Value >= uint64(p.Slots):
			return fmt.Errorf("argument %d is slot %d of %d", i, a.Value, p.Slots)
		}
	}
	return nil
}
