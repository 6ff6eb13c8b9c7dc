package field

import (
	"bytes"
	"cmp"
	"slices"
	"sort"
)

// Canonical returns the file with the bytes of each field replaced by a label
// of what it points to, so that code which only has moved looks the same.
// Where now is nil the label is made of what stands at the target; else of the
// address that now translates the target to: with what a first comparison has
// taught, labels of old and new file are equal exactly.
func (l *Layout) Canonical(now func(uint64) uint64) []byte {
	b := labeler{l: l, masked: bytes.Clone(l.text), now: now, names: map[uint64]uint32{}}
	for f := range l.Fields() {
		clear(f.bytes(b.masked))
	}
	c := bytes.Clone(b.masked)
	b.nameSlots()
	b.nameStubs()
	b.slots(c)
	place, section := Place{Layout: l}, -1
	for f := range l.Fields() {
		if f.Kind() == Hash {
			continue // cleared
		}
		place.Addr, section = l.AddressOf(uint64(f.Pos), section)
		v := f.Read(f.bytes(l.text))
		place.Base = l.Base(f)
		t := f.Target(place, f.Section(), v)
		f.label(f.bytes(c), b.field(f, t, v), f.bytes(l.text), now != nil)
		place.Before = t
	}
	return c
}

func (f Field) bytes(text []byte) []byte { return text[f.Pos:f.End()] }

// label writes a label where a field is: two bytes, so that a wrong one does
// not outweigh what is around it, or where labels are exact all four.
func (f Field) label(b []byte, label uint32, was []byte, exact bool) {
	switch f.Kind() {
	case Branch26:
		le.PutUint32(b, le.Uint32(was)&^0xffffff|label&0xffff)
	case Page21:
		le.PutUint32(b, le.Uint32(was)&^0x60ffffe0|label&0xffff<<5)
	case Low12:
		le.PutUint32(b, le.Uint32(was)&^(0xfff<<10)|label&0xfff<<10)
	case Known64:
	default:
		b[0], b[1] = byte(label), byte(label>>8)
		if len(b) == 3 {
			b[2] = byte(label >> 16)
		} else if len(b) == 8 || exact {
			b[2], b[3] = byte(label>>16), byte(label>>24)
		}
	}
}

// labeler makes the labels of one file.
type labeler struct {
	l      *Layout
	masked []byte // the file with all fields cleared
	now    func(uint64) uint64
	names  map[uint64]uint32 // labels of addresses that have a symbol's name
}

// field says what a field points to.
func (b *labeler) field(f Field, target, v uint64) uint32 {
	switch f.Kind() {
	case Len32, Len64, Token64:
		return hash(v)
	case Type32, Name32:
		return 0
	case Sym32:
		return b.symbol(f.Aux(), uint32(v))
	case Index24:
		return b.indexed(target)
	}
	return b.target(target)
}

// target says what stands at an address: the same in files that resemble each
// other, mostly. The lower half has seen few bytes there, and so seldom changes;
// the upper one tells apart functions that begin alike.
func (b *labeler) target(target uint64) uint32 {
	if h, ok := b.names[target]; ok {
		return h
	}
	if b.now != nil {
		return hash(b.now(target))
	}
	i := b.l.sectionOf(target)
	if i < 0 {
		return hash(target)
	}
	s := &b.l.Sections[i]
	d := target - s.Addr
	if s.Empty {
		return sum([]byte(s.Name)) + uint32(d>>12)
	}
	near := sum(b.masked[s.Off+d : min(s.Off+s.Size, s.Off+d+16)])
	far := sum(b.masked[s.Off+d : min(s.Off+s.Size, s.Off+d+64)])
	return near&0xffff | far<<16
}

// indexed says what the kernel's symbol is whose offset stands at an address.
func (b *labeler) indexed(at uint64) uint32 {
	text, ok := b.l.kernel()
	i := b.l.sectionOf(at)
	if !ok || i < 0 || b.l.Sections[i].Empty || b.l.Sections[i].Size-(at-b.l.Sections[i].Addr) < 4 {
		return 0
	}
	v := le.Uint32(b.l.text[b.l.Sections[i].Off+at-b.l.Sections[i].Addr:])
	return b.target(b.l.Sections[text].Addr - 1 - uint64(int64(int32(v))))
}

// symbol says what a symbol is: its name, or where it is.
func (b *labeler) symbol(table int, n uint32) uint32 {
	if table >= len(b.l.Sections) {
		return 0
	}
	s, o := b.l.bytes(table), uint64(n)*symbolSize
	if o+symbolSize > uint64(len(s)) {
		return 0
	}
	if name := b.l.str(int(b.l.Sections[table].link), uint64(le.Uint32(s[o:]))); name != "" {
		return sum([]byte(name))
	}
	if in := int(le.Uint16(s[o+6:])); in < len(b.l.Sections) {
		return sum([]byte(b.l.Sections[in].Name)) + 1
	}
	return 0
}

// eachRelocation calls f for every relocation with the place in the file that
// it fills in, and that place's address.
func (l *Layout) eachRelocation(f func(rela []byte, table int, off, addr uint64)) {
	for i := range l.Sections {
		s := &l.Sections[i]
		if s.kind != sectionRela {
			continue
		}
		t := l.bytes(i)
		for ; len(t) >= relaSize; t = t[relaSize:] {
			addr, in := le.Uint64(t), int(s.info)
			if l.object {
				if in >= len(l.Sections) {
					break
				}
				addr += l.Sections[in].Addr
			} else {
				in = l.sectionOf(addr)
			}
			if in < 0 || l.Sections[in].Empty {
				continue
			}
			if d := addr - l.Sections[in].Addr; d < l.Sections[in].Size && l.Sections[in].Size-d >= 4 {
				f(t, int(s.link), l.Sections[in].Off+d, addr)
			}
		}
	}
}

// nameSlots names the places that are filled with a symbol's address by it.
func (b *labeler) nameSlots() {
	if b.l.object {
		return
	}
	b.l.eachRelocation(func(rela []byte, table int, _, addr uint64) {
		if n := le.Uint32(rela[12:]); n != 0 {
			b.names[addr] = b.symbol(table, n)
		}
	})
}

// nameStubs names the entries of procedure linkage tables by the slot that they
// jump through.
func (b *labeler) nameStubs() {
	l := b.l
	section := -1
	for f := range l.Fields() {
		if f.Kind() != Rel32 {
			continue
		}
		var at uint64
		if at, section = l.AddressOf(uint64(f.Pos), section); section < 0 || len(l.Sections[section].Name) < 4 || l.Sections[section].Name[:4] != ".plt" {
			continue
		}
		p := Place{Layout: l, Addr: at}
		if h, ok := b.names[f.Target(p, -1, f.Read(f.bytes(l.text)))]; ok {
			size := uint64(16)
			if l.Sections[section].Name == ".plt.got" {
				size = 8
			}
			b.names[at&^(size-1)] = h + 1
		}
	}
}

// slots writes labels where relocations fill in addresses: the bytes there are
// zero, and one place like the other.
func (b *labeler) slots(c []byte) {
	b.l.eachRelocation(func(rela []byte, table int, off, _ uint64) {
		if le.Uint32(c[off:]) != 0 {
			return
		}
		n, addend := le.Uint32(rela[12:]), le.Uint64(rela[16:])
		label := uint32(0)
		if in := b.l.sectionOfSymbol(table, n); in >= 0 {
			if relative(b.l.machine, le.Uint32(rela[8:])) {
				addend += 4
			}
			label = b.target(b.l.Sections[in].Addr + addend)
		} else if n != 0 {
			label = b.symbol(table, n)
		} else {
			label = b.target(addend)
		}
		le.PutUint32(c[off:], label)
	})
}

func sum(b []byte) uint32 {
	h := uint64(len(b))
	for _, c := range b {
		h = (h ^ uint64(c)) * 0x100000001b3
	}
	return hash(h)
}

func hash(v uint64) uint32 {
	v *= 0x9e3779b97f4a7c15
	return uint32(v >> 32)
}

// sectionOf finds the section that holds an address, or -1.
func (l *Layout) sectionOf(addr uint64) int {
	if l.byAddr == nil {
		for i := range l.Sections {
			if s := &l.Sections[i]; s.Size > 0 {
				l.byAddr = append(l.byAddr, int32(i))
			}
		}
		slices.SortStableFunc(l.byAddr, func(a, b int32) int { return cmp.Compare(l.Sections[a].Addr, l.Sections[b].Addr) })
	}
	n := sort.Search(len(l.byAddr), func(i int) bool { return l.Sections[l.byAddr[i]].Addr > addr })
	if n == 0 {
		return -1
	}
	i := int(l.byAddr[n-1])
	if s := &l.Sections[i]; addr-s.Addr < s.Size {
		return i
	}
	return -1
}
