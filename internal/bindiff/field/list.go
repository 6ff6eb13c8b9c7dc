package field

import (
	"cmp"
	"iter"
	"slices"
)

// list holds fields in the order of their positions, four bytes each: a kernel
// image has three million, and a device little memory.
type list struct {
	blocks []block
	kinds  []uint32 // what fields are, by number
	number map[uint32]uint16
	n      int
}

// block holds the fields that begin in blockSize bytes of the file.
type block struct {
	entries []uint32 // position in the block << 16 | number
	own     []uint32 // what fields of instruction pairs are, each its own; numbers from ownNumbers on
}

const (
	blockBits  = 16
	blockSize  = 1 << blockBits
	ownNumbers = 1 << 15
)

// add appends a field. Of more kinds than have numbers it is left out.
func (l *list) add(f Field) {
	at := int(f.Pos >> blockBits)
	for at >= len(l.blocks) {
		l.blocks = append(l.blocks, block{})
	}
	b := &l.blocks[at]
	var id uint32
	if k := f.Kind(); k == Page21 || k == Low12 {
		if len(b.own) >= ownNumbers {
			return
		}
		id = ownNumbers + uint32(len(b.own))
		b.own = append(b.own, f.what)
	} else {
		n, ok := l.number[f.what]
		if !ok {
			if len(l.kinds) == ownNumbers {
				return
			}
			if l.number == nil {
				l.number = map[uint32]uint16{}
			}
			n = uint16(len(l.kinds))
			l.number[f.what] = n
			l.kinds = append(l.kinds, f.what)
		}
		id = uint32(n)
	}
	b.entries = append(b.entries, f.Pos<<blockBits|id)
	l.n++
}

// settle sorts the fields; of those that overlap, or end behind size, the first
// to be added at the lowest place stays.
func (l *list) settle(size uint64) {
	end := uint32(0)
	l.n = 0
	byPlace := func(a, b uint32) int { return cmp.Compare(a>>16, b>>16) }
	for i := range l.blocks {
		b := &l.blocks[i]
		if !slices.IsSortedFunc(b.entries, byPlace) {
			slices.SortStableFunc(b.entries, byPlace)
		}
		b.entries = slices.DeleteFunc(b.entries, func(e uint32) bool {
			f := l.field(i, e)
			if f.Pos < end || uint64(f.End()) > size {
				return true
			}
			end = f.End()
			return false
		})
		l.n += len(b.entries)
	}
	l.number = nil
}

func (l *list) field(block int, e uint32) Field {
	f := Field{Pos: uint32(block)<<blockBits | e>>16}
	if id := e & 0xffff; id >= ownNumbers {
		f.what = l.blocks[block].own[id-ownNumbers]
	} else {
		f.what = l.kinds[id]
	}
	return f
}

// Cursor goes through fields by position.
type Cursor struct {
	l     *list
	block int
	at    int
}

// From returns a cursor before the first field that begins at pos or behind it.
func (l *Layout) From(pos uint32) Cursor {
	c := Cursor{l: &l.fields, block: int(pos >> blockBits)}
	if c.block < len(l.fields.blocks) {
		c.at, _ = slices.BinarySearchFunc(l.fields.blocks[c.block].entries, pos&(blockSize-1), func(e, p uint32) int { return cmp.Compare(e>>16, p) })
	}
	return c
}

// Next returns the next field.
func (c *Cursor) Next() (Field, bool) {
	for ; c.block < len(c.l.blocks); c.block, c.at = c.block+1, 0 {
		if b := &c.l.blocks[c.block]; c.at < len(b.entries) {
			c.at++
			return c.l.field(c.block, b.entries[c.at-1]), true
		}
	}
	return Field{}, false
}

// Fields goes through all fields by position, none overlaps another.
func (l *Layout) Fields() iter.Seq[Field] { return l.fields.all() }

func (l *list) all() iter.Seq[Field] {
	return func(yield func(Field) bool) {
		c := Cursor{l: l}
		for f, ok := c.Next(); ok; f, ok = c.Next() {
			if !yield(f) {
				return
			}
		}
	}
}

// Count returns how many fields there are.
func (l *Layout) Count() int { return l.fields.n }
