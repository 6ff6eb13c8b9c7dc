package launch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// magic begins an encoded program; its last byte is the version.
const magic = "instarL\x01"

// MaxEncoded is the largest program that Decode reads, in bytes.
const MaxEncoded = 4 << 20

// Encode returns the program's only encoding; its digest names the program.
// Integers are unsigned varints (encoding/binary), strings follow their length:
//
//	magic, architecture, source, clone flags, slots,
//	pool, number of relocations, each: at, to
//	number of operations, each: call, result slot, tolerated error, label,
//	  number of arguments up to the last that is not zero, each: kind, value
func (p *Program) Encode() ([]byte, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	b := []byte(magic)
	number := func(list ...uint64) {
		for _, n := range list {
			b = binary.AppendUvarint(b, n)
		}
	}
	text := func(s string) {
		number(uint64(len(s)))
		b = append(b, s...)
	}
	text(p.Arch)
	text(p.Source)
	number(p.Clone, uint64(p.Slots))
	text(string(p.Pool))
	number(uint64(len(p.Relocs)))
	for _, r := range p.Relocs {
		number(uint64(r.At), uint64(r.To))
	}
	number(uint64(len(p.Ops)))
	for _, o := range p.Ops {
		number(uint64(o.Call), uint64(o.Out), uint64(o.Tolerate))
		text(o.Label)
		args := o.arguments()
		number(uint64(len(args)))
		for _, a := range args {
			number(uint64(a.Kind), a.Value)
		}
	}
	if len(b) > MaxEncoded {
		return nil, fmt.Errorf("launch program of %d bytes, more than %d", len(b), MaxEncoded)
	}
	return b, nil
}

// arguments returns the arguments up to the last that is not zero.
func (o *Op) arguments() []Arg {
	n := len(o.Args)
	for n > 0 && o.Args[n-1] == (Arg{}) {
		n--
	}
	return o.Args[:n]
}

// Decode reads what Encode has written, and nothing else.
func Decode(b []byte) (*Program, error) {
	if len(b) > MaxEncoded {
		return nil, fmt.Errorf("launch program of %d bytes, more than %d", len(b), MaxEncoded)
	}
	rest, ok := bytes.CutPrefix(b, []byte(magic))
	if !ok {
		return nil, errors.New("not a launch program of version 1")
	}
	r := &reader{rest: rest}
	p := r.program()
	if r.err == nil && len(r.rest) > 0 {
		r.err = fmt.Errorf("%d bytes after its end", len(r.rest))
	}
	if r.err != nil {
		return nil, fmt.Errorf("decoding a launch program: %w", r.err)
	}
	if err := p.Check(); err != nil {
		return nil, err
	}
	if back, err := p.Encode(); err != nil || !bytes.Equal(back, b) {
		return nil, errors.Join(errors.New("decoding a launch program: not in canonical form"), err)
	}
	return p, nil
}

// A reader takes fields off its bytes; the first error sticks.
type reader struct {
	rest []byte
	err  error
}

// number reads an integer of at most limit.
func (r *reader) number(what string, limit uint64) uint64 {
	n, size := binary.Uvarint(r.rest)
	switch {
	case r.err != nil:
		return 0
	case size <= 0:
		r.err = fmt.Errorf("%s: cut off or too long", what)
		return 0
	case n > limit:
		r.err = fmt.Errorf("%s: %d, more than %d", what, n, limit)
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

func (r *reader) text(what string, limit uint64) string {
	n := r.number("length of "+what, limit)
	if r.err == nil && n > uint64(len(r.rest)) {
		r.err = fmt.Errorf("%s: cut off", what)
	}
	if r.err != nil {
		return ""
	}
	s := string(r.rest[:n])
	r.rest = r.rest[n:]
	return s
}

func (r *reader) program() *Program {
	p := &Program{
		Arch:   r.text("architecture", 16),
		Source: r.text("source", MaxLabel),
		Clone:  r.number("clone flags", 1<<63),
		Slots:  uint8(r.number("slots", MaxSlots)),
		Pool:   []byte(r.text("pool", MaxPool)),
	}
	for n := r.number("number of relocations", MaxRelocs); n > 0 && r.err == nil; n-- {
		p.Relocs = append(p.Relocs, Reloc{uint32(r.number("relocation", MaxPool)), uint32(r.number("relocation", MaxPool))})
	}
	for n := r.number("number of operations", MaxOps); n > 0 && r.err == nil; n-- {
		p.Ops = append(p.Ops, r.op())
	}
	return p
}

func (r *reader) op() Op {
	o := Op{
		Call:     Call(r.number("call", uint64(len(calls)-1))),
		Out:      uint8(r.number("result slot", MaxSlots)),
		Tolerate: syscall.Errno(r.number("tolerated error", 4095)),
		Label:    r.text("label", MaxLabel),
	}
	n := r.number("number of arguments", uint64(len(o.Args)))
	for i := range n {
		o.Args[i] = Arg{Kind(r.number("kind of an argument", uint64(Text))), r.number("argument", 1<<64-1)}
	}
	return o
}

// slotNames are the slots with a meaning, as a dump shows them.
var slotNames = [...]string{"_", "mountns", "utsns", "ipcns", "netns", "userns", "stdin", "stdout", "stderr",
	"path", "argv", "place", "image", "objects", "verity", "resolv", "control", "idmap", "nofile", "env", "init", "master"}

func slotName(n uint64) string {
	if n < uint64(len(slotNames)) {
		return "$" + slotNames[n]
	}
	return fmt.Sprintf("$%d", n)
}

// String returns the program for people, one operation a line:
//
//	12  $14 = openat(-100, "/a/hosts", 0x800c1, 420)  # creating /a/hosts
func (p *Program) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "launch program for %s, clone flags %#x, %d slots, pool of %d bytes\n", p.Arch, p.Clone, p.Slots, len(p.Pool))
	for i := range p.Ops {
		o := &p.Ops[i]
		fmt.Fprintf(&b, "%4d  ", i)
		if o.Out != Scrap {
			fmt.Fprintf(&b, "%s = ", slotName(uint64(o.Out)))
		}
		var args []string
		for _, a := range o.arguments() {
			args = append(args, p.argument(a))
		}
		fmt.Fprintf(&b, "%v(%s)", o.Call, strings.Join(args, ", "))
		if o.Tolerate != 0 {
			fmt.Fprintf(&b, " or error %d", int(o.Tolerate))
		}
		fmt.Fprintf(&b, "  # %s\n", o.Label)
	}
	return b.String()
}

// argument shows small numbers in decimal and larger ones in hexadecimal.
func (p *Program) argument(a Arg) string {
	switch a.Kind {
	case Slot:
		return slotName(a.Value)
	case Text:
		if s, ok := p.text(a.Value); ok {
			return fmt.Sprintf("%q", s)
		}
		fallthrough
	case Pool:
		return fmt.Sprintf("pool+%d", a.Value)
	}
	if a.Value < 1024 || a.Value > 1<<64-1024 {
		return fmt.Sprint(int64(a.Value))
	}
	return fmt.Sprintf("%#x", a.Value)
}

// text returns the string at a place of the pool, and whether one ends there.
func (p *Program) text(at uint64) (string, bool) {
	if at >= uint64(len(p.Pool)) {
		return "", false
	}
	s, _, ok := bytes.Cut(p.Pool[at:], []byte{0})
	return string(s), ok
}
