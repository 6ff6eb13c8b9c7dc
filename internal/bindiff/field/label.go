package field

import (
	"bytes"
	"cmp"
	"slices"
	"sort"
)

// Canonical returns the file with the bytes of each field replaced by a label
// of what it points to, so that code which only has moved looks the same.
func (l *Layout) Canonical() []byte {
	masked := bytes.Clone(l.text)
	for _, f := range l.Fields {
		clear(f.bytes(masked))
	}
	c := bytes.Clone(masked)
	place, section := Place{Layout: l}, -1
	for _, f := range l.Fields {
		place.Addr, section = l.AddressOf(uint64(f.Pos), section)
		v := f.Read(f.bytes(l.text))
		t := f.Target(place, f.Section(), v)
		f.label(f.bytes(c), l.label(f, masked, t, v), f.bytes(l.text))
		place.Before = t
	}
	return c
}

func (f Field) bytes(text []byte) []byte { return text[f.Pos:f.End()] }

// label writes a label where a field is.
func (f Field) label(b []byte, label uint32, was []byte) {
	switch f.Kind() {
	case Branch26:
		le.PutUint32(b, le.Uint32(was)&^0xffffff|label&0xffff)
	case Page21, Low12:
		le.PutUint32(b, le.Uint32(was)&^(0xfff<<10)|label&0xff<<10)
	case Known64:
	default:
		b[0], b[1] = byte(label), byte(label>>8)
		if len(b) == 8 {
			b[2], b[3] = byte(label>>16), byte(label>>24)
		}
	}
}

// label says what a field points to: in files that resemble each other the same
// for the same thing, mostly.
func (l *Layout) label(f Field, masked []byte, target, v uint64) uint32 {
	switch f.Kind() {
	case Len32, Len64, Token64:
		return hash(v)
	case Type32, Name32:
		return 0
	}
	if i := l.sectionOf(target); i >= 0 {
		s := &l.Sections[i]
		d := target - s.Addr
		if s.Empty {
			return hash(uint64(i) | d>>12<<16)
		}
		b := masked[s.Off+d : min(s.Off+s.Size, s.Off+d+16)]
		h := uint64(len(b))
		for _, c := range b {
			h = (h ^ uint64(c)) * 0x100000001b3
		}
		return hash(h)
	}
	return hash(v)
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
