package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/instar-os/instar/internal/bzimage"
	"github.com/instar-os/instar/internal/zstd"
)

var le = binary.LittleEndian

func pack(content []byte) ([]byte, error) {
	var b bytes.Buffer
	err := zstd.Compress(&b, content)
	return b.Bytes(), err
}

// move returns the image with room for a payload of that length, of which every
// field is right but the payload itself.
func (k *image) move(length, content int64) ([]byte, error) {
	old := k.tail - k.at
	k.by = roundUp(length+bzimage.Room()-old, bzimage.Align)
	b := bytes.Clone(k.b)
	edits, err := k.references()
	if err != nil {
		return nil, err
	}
	for _, e := range edits {
		v := int64(int32(le.Uint32(b[e.at:])))
		if e.down {
			v -= k.by
		} else {
			v += k.by
		}
		le.PutUint32(b[e.at:], uint32(v))
	}
	if err := k.lengths(b, length, content); err != nil {
		return nil, err
	}
	grown := k.header(b, length, content)
	return b, k.sections(b, grown)
}

func roundUp(n, to int64) int64 {
	if r := n % to; r > 0 {
		return n + to - r
	} else if r < 0 {
		return n - r
	}
	return n
}

// edit is a 32-bit field of the file that refers across the payload: up from the
// head, or down from the tail.
type edit struct {
	at   int64
	down bool
}

// references finds all fields whose value changes with the distance of head and
// tail.
//
// The head is a few hundred bytes of assembly. Its values that lie between tail
// and end, counted from the image's begin or from the next instruction, are
// references. The tail refers to the head and the payload relative to itself,
// which of random values one in ten million would do.
func (k *image) references() ([]edit, error) {
	var all []edit
	head, err := k.scan(k.base, k.at, k.up)
	if err != nil {
		return nil, err
	}
	for _, at := range head {
		all = append(all, edit{at, false})
	}
	tail, err := k.scan(k.tail, int64(len(k.b)), k.down)
	if err != nil {
		return nil, err
	}
	for _, at := range tail {
		all = append(all, edit{at, true})
	}
	if len(head) < 8 || len(tail) < 2 {
		return nil, fmt.Errorf("%d and %d references across its payload; more are known", len(head), len(tail))
	}
	return all, k.absolute()
}

// verdict says of a field: no reference, one whose instruction is understood, or
// what may be one.
type verdict int

const (
	none verdict = iota
	known
	doubtful
)

// scan returns the places of references between from and to. What is doubtful
// must overlap one that is understood, whose neighbour it misreads.
func (k *image) scan(from, to int64, judge func(at int64) verdict) ([]int64, error) {
	var sure, doubts []int64
	for at := from; at+4 <= to; at++ {
		switch judge(at) {
		case known:
			if n := len(sure); n > 0 && at < sure[n-1]+4 {
				return nil, fmt.Errorf("two references at %#x", at)
			}
			sure = append(sure, at)
		case doubtful:
			doubts = append(doubts, at)
		}
	}
	for _, at := range doubts {
		if !k.explained(at, sure) {
			return nil, fmt.Errorf("what may be a reference at %#x", at)
		}
	}
	return sure, nil
}

// explained reports whether a doubtful field is a misreading of a reference
// beside it: it overlaps that, or takes its end for an opcode.
func (k *image) explained(at int64, sure []int64) bool {
	i, _ := slices.BinarySearch(sure, at)
	if i < len(sure) && sure[i] < at+4 {
		return true
	}
	if i == 0 {
		return false
	}
	switch end := sure[i-1] + 4; {
	case end > at:
		return true
	case end == at: // an immediate may follow a displacement
		op := k.b[sure[i-1]-2]
		return op != 0x81 && op != 0xc7 && op != 0x69
	case end == at-1: // an opcode without ModRM would be in between
		b := k.b[at-1]
		return !takesImmediate(b) && b != 0xe8 && b != 0xe9
	}
	return false
}

// startup64 is where 64-bit code begins: before it, no address is relative to
// the instruction but those of calls and jumps.
const startup64 = 0x200

// up judges a field of the head.
func (k *image) up(at int64) verdict {
	v := int64(le.Uint32(k.b[at:]))
	tail := k.tail - k.base
	absolute := v >= tail && v <= int64(k.end) // from the begin of the image
	t := int64(int32(v)) + at + 4 - k.base     // from the next instruction
	relative := t >= tail && t <= int64(k.end)
	switch {
	case absolute && k.absoluteOperand(at, true),
		relative && (k.branch(at) || at-k.base >= startup64 && k.relativeOperand(at)):
		return known
	case absolute || relative || t >= tail-8 && t < tail:
		return k.doubt(at)
	}
	return none
}

// doubt judges a field whose value may be a reference and whose instruction is
// not understood.
func (k *image) doubt(at int64) verdict {
	if k.mayBeField(at) {
		return doubtful
	}
	return none
}

// slack is how far from the field's end a relative value may be counted: an
// immediate may follow, or an address that a call has pushed.
const slack = 96

// down judges a field of the tail.
func (k *image) down(at int64) verdict {
	t := int64(int32(le.Uint32(k.b[at:]))) + at + 4 - k.base
	payload, tail := k.at-k.base, k.tail-k.base
	switch {
	case t >= tail-8 && t < tail: // the end of the payload: nobody asks for it
		return k.doubt(at)
	case t < -slack || t > payload+8:
		return none
	case k.branch(at) || k.relativeOperand(at) || k.fromHere(at):
		return known
	}
	return k.doubt(at)
}

// branch reports whether the field is that of a call or a jump.
func (k *image) branch(at int64) bool {
	op := k.b[at-1]
	return op == 0xe8 || op == 0xe9 || k.b[at-2] == 0x0f && op&0xf0 == 0x80
}

// takesOperand are opcodes of one byte with a ModRM byte that startup code uses:
// add, sub, cmp, mov, lea, and those with an immediate.
func takesOperand(op byte) bool {
	switch op {
	case 0x01, 0x03, 0x29, 0x2b, 0x39, 0x3b, 0x63, 0x80, 0x81, 0x83, 0x85, 0x88, 0x89, 0x8a, 0x8b, 0x8d, 0xc6, 0xc7, 0xff:
		return true
	}
	return false
}

// relativeOperand reports whether the field is that of an operand relative to
// the instruction.
func (k *image) relativeOperand(at int64) bool {
	return k.b[at-1]&0xc7 == 0x05 && takesOperand(k.b[at-2])
}

// absoluteOperand reports whether the field is the displacement of a register
// that holds the image's begin, or a number.
func (k *image) absoluteOperand(at int64, numbers bool) bool {
	modrm, op := k.b[at-1], k.b[at-2]
	if modrm&0xc0 == 0x80 && modrm&7 != 4 && takesOperand(op) {
		return true
	}
	return numbers && (modrm&0xf8 == 0xb8 || modrm&0xc0 == 0xc0 && (op == 0x81 || op == 0xc7))
}

// mayBeField reports whether any instruction of x86 can have a field of 32 bits
// there, by what stands before: a displacement behind ModRM or SIB, or an
// immediate behind an opcode or ModRM.
func (k *image) mayBeField(at int64) bool {
	b, a := k.b[at-1], k.b[at-2]
	switch {
	case b&0xc0 == 0x80 && b&7 != 4, b&0xc7 == 0x05: // ModRM with a displacement
		return true
	case a&0xc7 == 0x84, a&0xc7 == 0x04 && b&7 == 5: // SIB
		return true
	case takesImmediate(b):
		return true
	case a == 0x81 || a == 0xc7 || a == 0x69 || a == 0xf7: // ModRM, immediate
		return true
	}
	return k.branch(at)
}

// takesImmediate are opcodes that an immediate follows at once.
func takesImmediate(op byte) bool {
	return op >= 0xb8 && op <= 0xbf || op == 0x68 || op == 0xa9 || op < 0x40 && op&7 == 5
}

// fromHere reports whether the field is a number counted from a place near it,
// as 32-bit code has them: sub $startup_32-here,0x260(%esi).
func (k *image) fromHere(at int64) bool {
	return bytes.Equal(k.b[at-6:at], []byte{0x81, 0xae, 0x60, 0x02, 0x00, 0x00})
}

// absolute refuses tails with addresses from the image's begin on. None is known
// that has them.
func (k *image) absolute() error {
	for at := k.tail + 8; at+4 <= int64(len(k.b)); at++ {
		v := le.Uint32(k.b[at:])
		if v < uint32(k.tail-k.base) || v > k.end || !k.absoluteOperand(at, false) {
			continue
		}
		if rex := k.b[at-3]; k.b[at-1]&7 == 5 && rex&0xf0 != 0x40 { // from %ebp, as 32-bit code
			return fmt.Errorf("what may be an address at %#x", at)
		}
	}
	return nil
}

// lengths corrects what the decompressor knows of its input: its length, and
// that of its output, side by side.
func (k *image) lengths(b []byte, length, content int64) error {
	have := le.AppendUint32(le.AppendUint32(nil, uint32(k.tail-k.at)), uint32(content))
	tail := b[k.tail:]
	i := bytes.Index(tail, have)
	if i < 0 || bytes.Count(tail, have) != 1 || bytes.Count(tail, have[:4]) != 1 {
		return errors.New("the length of its payload is not known to stand in one place")
	}
	le.PutUint32(tail[i:], uint32(length))
	return nil
}

// header corrects the setup header, and returns what the memory that it asks for
// grows by.
//
// Source: arch/x86/boot/header.S, ZO_INIT_SIZE: the image is copied to the end of
// that memory, and the kernel is unpacked from its begin on, not quite reaching
// what is still to be read.
func (k *image) header(b []byte, length, content int64) int64 {
	put := func(at int, v int64) { le.PutUint32(b[at:], uint32(v)) }
	add := func(at int) {
		if v := int64(le.Uint32(b[at:])); v >= k.tail-k.base {
			put(at, v+k.by)
		}
	}
	put(bzimage.PayloadLength, length)
	put(bzimage.ProtectedSize, (int64(len(b))-k.base+k.by)/16)
	add(bzimage.Handover)
	add(bzimage.KernelInfo)
	margin := content>>8 + 128<<10
	from := max(content+margin, length) - length
	need := int64(k.end) + k.by + roundUp(from, bzimage.Align) + bzimage.Align
	had := int64(le.Uint32(b[bzimage.InitSize:]))
	put(bzimage.InitSize, max(had, need))
	return max(had, need) - had
}
