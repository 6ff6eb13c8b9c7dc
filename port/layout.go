package port

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"
)

// Layout describes the memory of a port, for who makes it.
type Layout struct {
	Message
	Kind     Kind
	Depth    int           // messages of a queue; 0 for a sampling port
	Policy   Policy        // of a queue; 0 for a sampling port
	Validity time.Duration // age at which a sample is not valid any more; 0: always valid
}

// Offsets of docs/format/port.md.
const (
	magic       = 0x54524f5052545349  // "ISTRPORT"
	cursorMagic = 0x53525543_52545349 // "ISTRCURS"
	format      = 1

	atPublished = 64
	atRejected  = 72
	headerSize  = 128

	atConsumed = 64
	atLost     = 72

	slotTime   = 8
	slotLength = 16
	slotOrigin = 24
	slotData   = 32

	// samplingSlots lets the writer write seven times before it disturbs a
	// reader, which may be slower at copying.
	samplingSlots = 8

	// CursorBytes is the size of a queue's cursor file.
	CursorBytes = headerSize
)

func (l Layout) check() error {
	switch {
	case l.Kind != Sampling && l.Kind != Queueing:
		return fmt.Errorf("port %s: unknown kind %d", l.Link, l.Kind)
	case l.Size < 1 || l.Size > MaxSize:
		return fmt.Errorf("port %s: messages of %d bytes; want 1 to %d", l.Link, l.Size, MaxSize)
	case l.Kind == Sampling && (l.Depth != 0 || l.Policy != 0):
		return fmt.Errorf("port %s: a sampling port has neither depth nor policy", l.Link)
	case l.Kind == Queueing && (l.Depth < 1 || l.Depth > MaxDepth):
		return fmt.Errorf("port %s: a queue of %d messages; want 1 to %d", l.Link, l.Depth, MaxDepth)
	case l.Kind == Queueing && l.Policy != Reject && l.Policy != Drop:
		return fmt.Errorf("port %s: unknown policy %d", l.Link, l.Policy)
	case l.Validity < 0:
		return fmt.Errorf("port %s: validity %v", l.Link, l.Validity)
	case l.bytes() > MaxMemory:
		return fmt.Errorf("port %s: %d bytes of memory, more than %d", l.Link, l.bytes(), MaxMemory)
	}
	return nil
}

// slots is one more than a queue's depth, so that depth messages can be read
// while one is written.
func (l Layout) slots() int {
	if l.Kind == Sampling {
		return samplingSlots
	}
	return l.Depth + 1
}

// stride keeps slots apart by whole cache lines.
func stride(size int) int { return (slotData + size + 63) &^ 63 }

func (l Layout) bytes() int { return headerSize + l.slots()*stride(l.Size) }

// Bytes returns the size of the port's memory, or what is wrong with l.
func (l Layout) Bytes() (int, error) {
	if err := l.check(); err != nil {
		return 0, err
	}
	return l.bytes(), nil
}

// Header returns the first bytes of the port's memory; the rest is zero.
func (l Layout) Header() []byte {
	h := l.head(magic)
	le := binary.LittleEndian
	le.PutUint32(h[24:], uint32(l.Size))
	le.PutUint32(h[28:], uint32(l.slots()))
	le.PutUint32(h[32:], uint32(l.Policy))
	le.PutUint32(h[36:], uint32(stride(l.Size)))
	le.PutUint64(h[40:], uint64(l.Validity))
	le.PutUint32(h[48:], uint32(l.Depth))
	le.PutUint32(h[52:], l.Version)
	return h
}

// CursorHeader returns the content of a new cursor file.
func (l Layout) CursorHeader() []byte { return l.head(cursorMagic) }

func (l Layout) head(magic uint64) []byte {
	h := make([]byte, headerSize)
	le := binary.LittleEndian
	le.PutUint64(h, magic)
	le.PutUint32(h[8:], format)
	le.PutUint32(h[12:], uint32(l.Kind))
	le.PutUint64(h[16:], l.hash(l.Kind))
	return h
}

// parse reads and checks the header of a port's memory, which whoever may write
// it could have spoilt. The result's Message has no name.
func parse(mem []byte) (Layout, uint64, error) {
	le := binary.LittleEndian
	if len(mem) < headerSize || le.Uint64(mem) != magic {
		return Layout{}, 0, ErrCorrupt
	}
	if v := le.Uint32(mem[8:]); v != format {
		return Layout{}, 0, fmt.Errorf("%w: of format %d; this program knows %d", ErrMismatch, v, format)
	}
	validity := le.Uint64(mem[40:])
	if validity > math.MaxInt64 {
		return Layout{}, 0, ErrCorrupt
	}
	l := Layout{
		Message:  Message{Size: int(le.Uint32(mem[24:])), Version: le.Uint32(mem[52:])},
		Kind:     Kind(le.Uint32(mem[12:])),
		Depth:    int(le.Uint32(mem[48:])),
		Policy:   Policy(le.Uint32(mem[32:])),
		Validity: time.Duration(validity),
	}
	if err := l.check(); err != nil {
		return Layout{}, 0, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if int(le.Uint32(mem[28:])) != l.slots() || int(le.Uint32(mem[36:])) != stride(l.Size) || l.bytes() > len(mem) {
		return Layout{}, 0, ErrCorrupt
	}
	return l, le.Uint64(mem[16:]), nil
}
