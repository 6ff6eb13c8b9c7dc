package launch

import (
	"encoding/binary"
	"fmt"
	"path"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// atCWD is AT_FDCWD as a system call argument.
const atCWD = ^uint64(99) // -100

// A builder appends operations to a Program. Equal strings share their place
// in the pool.
type builder struct {
	p     *Program
	slots int // used so far; what is too much is found at the end
	known map[string]uint64
	base  uint32 // what the container's user 0 is outside of it
}

func newBuilder(s *Spec) *builder {
	return &builder{
		p:     &Program{Arch: s.Arch, Source: s.Container.Source},
		slots: FirstData, known: map[string]uint64{}, base: s.Container.IDs.Base,
	}
}

// do appends a call.
func (b *builder) do(label string, c Call, args ...Arg) *Op {
	o := Op{Call: c, Label: label}
	copy(o.Args[:], args)
	b.p.Ops = append(b.p.Ops, o)
	return &b.p.Ops[len(b.p.Ops)-1]
}

// slot sets a new slot aside for the operation's result.
func (b *builder) slot(o *Op) Arg {
	o.Out = uint8(b.slots)
	b.slots++
	return Arg{Slot, uint64(o.Out)}
}

func imm[T ~int | ~uint | ~uint32 | ~uint64](v T) Arg { return Arg{Imm, uint64(v)} }

func held(slot int) Arg { return Arg{Slot, uint64(slot)} }

// str puts a NUL-terminated string in the pool.
func (b *builder) str(s string) Arg {
	at, ok := b.known[s]
	if !ok {
		at = uint64(len(b.p.Pool))
		b.p.Pool = append(append(b.p.Pool, s...), 0)
		b.known[s] = at
	}
	return Arg{Text, at}
}

// bytes puts a structure in the pool, aligned to 8 bytes.
func (b *builder) bytes(s []byte) Arg {
	for len(b.p.Pool)%8 != 0 {
		b.p.Pool = append(b.p.Pool, 0)
	}
	at := uint64(len(b.p.Pool))
	b.p.Pool = append(b.p.Pool, s...)
	if len(s) == 0 {
		b.p.Pool = append(b.p.Pool, 0)
	}
	return Arg{Pool, at}
}

// point makes the word at an offset of a structure the address of another.
func (b *builder) point(structure Arg, offset int, to Arg) {
	b.p.Relocs = append(b.p.Relocs, Reloc{uint32(structure.Value) + uint32(offset), uint32(to.Value)})
}

// vector puts a NULL-terminated array of strings in the pool.
func (b *builder) vector(list []string) Arg {
	args := make([]Arg, len(list))
	for i, s := range list {
		args[i] = b.str(s)
	}
	v := b.bytes(make([]byte, 8*(len(list)+1)))
	for i, a := range args {
		b.point(v, 8*i, a)
	}
	return v
}

// words encodes 64-bit words as both architectures hold them.
func words(list ...uint64) []byte {
	var out []byte
	for _, w := range list {
		out = binary.LittleEndian.AppendUint64(out, w)
	}
	return out
}

func words32(list ...uint32) []byte {
	var out []byte
	for _, w := range list {
		out = binary.LittleEndian.AppendUint32(out, w)
	}
	return out
}

// mount mounts a new file system of a type.
func (b *builder) mount(fstype, at string, flags uint64, options string) *Op {
	return b.do("mounting "+fstype+" at "+at, Mount,
		b.str(fstype), b.str(at), b.str(fstype), imm(flags), b.str(options))
}

// bind mounts what slot tree holds, a detached copy of a mount, at a path. Its
// mount attributes are set before anything can see it.
func (b *builder) bind(tree Arg, at string, attributes uint64) {
	if attributes != 0 {
		set := b.bytes(words(attributes, 0, 0, 0)) // struct mount_attr: set, clear, propagation, userns
		b.do("setting mount attributes for "+at, MountSetattr, tree, b.str(""), imm(unix.AT_EMPTY_PATH), set, imm(32))
	}
	b.do("mounting "+at, MoveMount, tree, b.str(""), imm(atCWD), b.str(at),
		imm(unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_SYMLINKS))
}

// clone takes a detached copy of the mount of a path; what says which.
func (b *builder) clone(what string, path Arg) Arg {
	return b.slot(b.do("taking "+what, OpenTree, imm(atCWD), path, imm(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)))
}

// await waits at a gate until the supervisor lets it go on, or fails with EAGAIN
// when the supervisor has ended: both end ppoll(2), and only the first leaves
// something to read. In slot gate is a non-blocking eventfd, a semaphore; in the
// next one the address of two struct pollfd, of the eventfd and of the
// supervisor's end. Whoever waits here shares the supervisor's descriptors, so
// that a pipe would never end.
func (b *builder) await(what string, gate int) {
	b.do("waiting for "+what, Ppoll, held(gate+1), imm(2))
	b.do("going on with "+what, Read, held(gate), b.bytes(make([]byte, 8)), imm(8))
}

// open lets one wait at a gate pass.
func (b *builder) open(label string, gate int) {
	b.do(label, Write, held(gate), b.bytes(words(1)), imm(8))
}

// idmap makes the owners in a detached mount those of the container's user
// namespace: mount_setattr(2), "ID mapped mounts". Without an own range of IDs
// there is nothing to do.
func (b *builder) idmap(what string, tree Arg) {
	if b.base != 0 {
		b.do("mapping the owners of "+what, MountSetattr, tree, b.str(""), imm(unix.AT_EMPTY_PATH), held(IDMap), imm(32))
	}
}

// own gives what has just been made to a user and group of the container.
func (b *builder) own(at string, uid, gid uint32) {
	if b.base != 0 {
		b.do("giving "+at+" to its owner", Fchownat, imm(atCWD), b.str(at), imm(b.base+uid), imm(b.base+gid), imm(unix.AT_SYMLINK_NOFOLLOW))
	}
}

// mkdir makes a directory; that it is there already is no failure.
func (b *builder) mkdir(at string, mode uint32) {
	b.do("making "+at, Mkdirat, imm(atCWD), b.str(at), imm(mode)).Tolerate = syscall.EEXIST
}

// mkdirBelow makes the directories between a mount point of memory and a path
// under it, the path included.
func (b *builder) mkdirBelow(memory, at string) {
	rest := strings.Split(strings.Trim(strings.TrimPrefix(at, memory), "/"), "/")
	dir := memory
	for _, part := range rest {
		dir = path.Join(dir, part)
		b.mkdir(dir, 0o755)
		b.own(dir, 0, 0)
	}
}

// file writes a small file that is not there yet.
func (b *builder) file(at string, mode uint32, content string) {
	fd := b.slot(b.do("creating "+at, Openat, imm(atCWD), b.str(at),
		imm(unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC), imm(mode)))
	if content != "" {
		b.do("writing "+at, Write, fd, b.str(content), imm(len(content)))
	}
	b.own(at, 0, 0)
}

// finish checks the program against the limits.
func (b *builder) finish(of string) (*Program, error) {
	if b.slots > MaxSlots {
		return nil, fmt.Errorf("compiling the %s of a container: more than %d slots", of, MaxSlots)
	}
	b.p.Slots = uint8(b.slots)
	if err := b.p.Check(); err != nil {
		return nil, fmt.Errorf("compiling the %s of a container: %w", of, err)
	}
	return b.p, nil
}
