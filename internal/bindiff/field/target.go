package field

// Place is a field's position in one of the two files.
type Place struct {
	Layout *Layout
	Addr   uint64 // of the field
	Before uint64 // target of the field before
	Base   uint64 // what Layout.Base returned; in the new file where that is
}

// Read returns the value of a field whose bytes are b.
func (f Field) Read(b []byte) uint64 {
	switch k := f.Kind(); {
	case k.Size() == 8:
		return le.Uint64(b)
	case k == Branch26:
		return uint64(int64(le.Uint32(b)) << 38 >> 36)
	case k == Page21:
		w := le.Uint32(b)
		return uint64(int64(w>>5&0x7ffff<<2|w>>29&3) << 43 >> 31)
	case k == Low12:
		return uint64(le.Uint32(b)>>10&0xfff) << scale(le.Uint32(b))
	case k == Index24:
		return uint64(b[0])<<16 | uint64(b[1])<<8 | uint64(b[2])
	case k == Type32, k == Name32, k == Sym32:
		return uint64(le.Uint32(b))
	}
	return uint64(int64(int32(le.Uint32(b))))
}

// Write makes the bytes of value v; b has those of the old file.
func (f Field) Write(b []byte, v uint64) {
	switch k := f.Kind(); {
	case k.Size() == 8:
		le.PutUint64(b, v)
	case k == Branch26:
		le.PutUint32(b, le.Uint32(b)&^0x3ffffff|uint32(v>>2)&0x3ffffff)
	case k == Page21:
		le.PutUint32(b, le.Uint32(b)&0x9f00001f|uint32(v>>14)&0x7ffff<<5|uint32(v>>12)&3<<29)
	case k == Index24:
		b[0], b[1], b[2] = byte(v>>16), byte(v>>8), byte(v)
	case k == Low12:
		w := le.Uint32(b)
		le.PutUint32(b, w&^(0xfff<<10)|uint32(v>>scale(w))&0xfff<<10)
	default:
		le.PutUint32(b, uint32(v))
	}
}

// scale returns by how many bits the immediate of an ADD, load or store is
// shifted.
func scale(w uint32) uint32 {
	if w>>24&0x3b == 0x39 { // load or store, unsigned offset
		if w>>26&1 != 0 && w>>30 == 0 && w>>23&1 != 0 {
			return 4
		}
		return w >> 30
	}
	return 0
}

// base returns what a field's target is counted from at a place. section is
// the field's aux, or the section that stands for it in the other file.
func (f Field) base(p Place, section int) uint64 {
	switch f.Kind() {
	case Rel32:
		return p.Addr + uint64(f.Aux())
	case Sec32, Sec64, Sym32, NegSec32:
		if section >= 0 && section < len(p.Layout.Sections) {
			return p.Layout.Sections[section].Addr
		}
	case SecPC64:
		if section >= 0 && section < len(p.Layout.Sections) {
			return p.Layout.Sections[section].Addr + 4
		}
	case Len32, Len64:
		return p.Before
	case Branch26:
		return p.Addr
	}
	return 0
}

// Target returns what a field of value v points to.
func (f Field) Target(p Place, section int, v uint64) uint64 {
	switch f.Kind() {
	case Sym32:
		v *= symbolSize
	case Index24:
		return p.Base + 4*v
	case Page21:
		return p.Addr&^0xfff + v | p.Base&0xfff
	case Low12:
		return p.Base&^0xfff | v&0xfff
	}
	if f.Kind() == Back32 {
		return p.Addr - v
	}
	if f.Kind() == NegSec32 {
		return f.base(p, section) - 1 - v
	}
	return f.base(p, section) + v
}

// Value returns the value of a field that points to target.
func (f Field) Value(p Place, section int, target uint64) uint64 {
	v := target - f.base(p, section)
	switch f.Kind() {
	case Sym32:
		return v / symbolSize
	case Index24:
		return (target - p.Base) / 4 & 0xffffff
	case NegSec32:
		return uint64(int64(int32(f.base(p, section) - 1 - target)))
	case Back32:
		return uint64(int64(int32(p.Addr - target)))
	case Abs64, Sec64, SecPC64, Len64, Token64, Known64:
		return v
	case Branch26:
		return uint64(int64(v<<36) >> 36)
	case Page21:
		return uint64(int64((target&^0xfff-p.Addr&^0xfff)<<31) >> 31)
	case Low12:
		return target & 0xfff
	case Type32, Name32:
		return v & 0xffffffff
	}
	return uint64(int64(int32(v)))
}

// Base returns what besides its value says where an Index24, Page21 or Low12
// field points, or 0.
func (l *Layout) Base(f Field) uint64 {
	switch k := f.Kind(); {
	case k == Index24 && f.Aux() < len(l.Bases):
		return l.Bases[f.Aux()]
	case (k == Page21 || k == Low12) && f.Aux() < len(l.Pages):
		return l.Pages[f.Aux()]
	}
	return 0
}

// Section returns the section that the field's aux names, or -1.
func (f Field) Section() int {
	switch f.Kind() {
	case Sec32, Sec64, SecPC64, Sym32, NegSec32:
		return f.Aux()
	}
	return -1
}

// Known returns the value of a Known64 field of old in a file of which now knows
// the sections. pair translates sections of the old file; nil: they are now's. Offsets count from
// where the ELF file begins, which is where its first section is said to be.
func (f Field) Known(old, now *Layout, pair []int32) uint64 {
	i := f.Aux() / 4
	to := func(i int) int {
		switch {
		case pair == nil && i < len(now.Sections):
			return i
		case i < len(pair):
			return int(pair[i])
		}
		return -1
	}
	first, behind := old.sectionsOf(i)
	if to(i) < 0 || to(first) < 0 {
		return 0
	}
	begin := now.Sections[to(first)].Off
	switch s := &now.Sections[to(i)]; f.Aux() % 4 {
	case 0:
		return s.Addr
	case 1:
		return s.Off - begin
	case 2:
		return s.Size
	}
	last := len(now.Sections)
	if to(behind) >= 0 {
		last = to(behind)
	}
	end := begin
	for j := to(first); j < last; j++ {
		if s := &now.Sections[j]; !s.Empty {
			end = max(end, s.Off+s.Size)
		}
	}
	return (end - begin + 7) &^ 7
}
