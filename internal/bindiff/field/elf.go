package field

import (
	"bytes"
	"encoding/binary"
)

// Numbers of the ELF specification.
const (
	typeRelocatable = 1
	machineX86      = 62
	machineArm      = 183

	sectionSymbols  = 2
	sectionRela     = 4
	sectionDynamic  = 6
	sectionNoBits   = 8
	sectionDynSym   = 11
	flagAlloc       = 2
	flagExecute     = 4
	headerSize      = 64
	sectionSize     = 64
	programSize     = 56
	symbolSize      = 24
	relaSize        = 24
	maxSections     = 1 << 14
	madeUp          = 1 << 40 // addresses of sections that have none
	madeUpEmpty     = 1 << 41 // and of those that have no bytes either
	reservedIndices = 0xff00
)

var le = binary.LittleEndian

// readSections reads the section headers.
func (l *Layout) readSections() bool {
	t := l.text
	if len(t) < headerSize || !bytes.HasPrefix(t, []byte("\x7fELF\x02\x01\x01")) {
		return false
	}
	l.object = le.Uint16(t[16:]) == typeRelocatable
	l.machine = le.Uint16(t[18:])
	l.table = le.Uint64(t[40:])
	n, names := uint64(le.Uint16(t[60:])), int(le.Uint16(t[62:]))
	size := uint64(len(t))
	if l.machine != machineX86 && l.machine != machineArm || le.Uint16(t[58:]) != sectionSize ||
		n == 0 || n > maxSections || l.table > size || n*sectionSize > size-l.table {
		return false
	}
	l.Sections = make([]Section, n)
	empty := uint64(madeUpEmpty)
	for i := range l.Sections {
		h := t[l.table+uint64(i)*sectionSize:]
		s := &l.Sections[i]
		*s = Section{Addr: le.Uint64(h[16:]), Off: le.Uint64(h[24:]), Size: le.Uint64(h[32:]),
			kind: le.Uint32(h[4:]), flags: le.Uint64(h[8:]), link: le.Uint32(h[40:]), info: le.Uint32(h[44:]), align: le.Uint64(h[48:])}
		s.Empty = s.kind == sectionNoBits || s.kind == 0
		if !s.Empty && (s.Off > size || s.Size > size-s.Off) || s.Size > 1<<40 {
			return false
		}
		if l.object || s.flags&flagAlloc == 0 {
			s.Addr = madeUp + s.Off
			if s.Empty {
				s.Addr = empty
				empty += s.Size + 64
			}
		}
	}
	if names < len(l.Sections) {
		l.nameSections(names)
	}
	l.order()
	return true
}

func (l *Layout) nameSections(names int) {
	for i := range l.Sections {
		h := l.text[l.table+uint64(i)*sectionSize:]
		l.Sections[i].Name = l.str(names, uint64(le.Uint32(h)))
	}
}

// str returns the string at off of section i.
func (l *Layout) str(i int, off uint64) string {
	if i >= len(l.Sections) {
		return ""
	}
	b := l.bytes(i)
	if off >= uint64(len(b)) {
		return ""
	}
	b = b[off:min(uint64(len(b)), off+256)]
	if n := bytes.IndexByte(b, 0); n >= 0 {
		b = b[:n]
	}
	return string(b)
}

func (l *Layout) bytes(i int) []byte {
	s := &l.Sections[i]
	if s.Empty {
		return nil
	}
	return l.text[s.Off : s.Off+s.Size]
}

// scan finds the fields of a section.
func (l *Layout) scan(i int) {
	s := &l.Sections[i]
	switch {
	case l.kernelTable(i):
	case s.kind == sectionSymbols, s.kind == sectionDynSym:
		l.symbols(i)
	case s.kind == sectionRela:
		l.relocations(i)
	case s.kind == sectionDynamic:
		l.dynamic(i)
	case s.Name == ".eh_frame":
		l.frames(i)
	case s.Name == ".eh_frame_hdr":
		l.frameTable(i)
	case s.Name == ".BTF":
		l.types(i)
	case s.Name == "__versions":
		for o := uint64(0); o+64 <= s.Size; o += 64 {
			l.add(s.Off+o, Token64, 0)
		}
	case s.flags&flagExecute != 0 && l.machine == machineX86:
		l.codeX86(i)
	case s.flags&flagExecute != 0 && l.machine == machineArm:
		l.codeArm(i)
	}
}

// symbols: name, value and size of each.
func (l *Layout) symbols(i int) {
	s := &l.Sections[i]
	for o := s.Off; o+symbolSize <= s.Off+s.Size; o += symbolSize {
		l.add(o, Sec32, int(s.link))
		in := int(le.Uint16(l.text[o+6:]))
		switch {
		case in == 0 || in >= reservedIndices || in >= len(l.Sections):
			continue
		case l.object:
			l.add(o+8, Sec64, in)
		default:
			l.add(o+8, Abs64, 0)
		}
		l.add(o+16, Len64, 0)
	}
}

// relocations: offset, symbol and addend of each; and the places they speak of
// where these repeat the addend.
func (l *Layout) relocations(i int) {
	s := &l.Sections[i]
	at := -1
	if l.object && int(s.info) < len(l.Sections) {
		at = int(s.info)
	}
	for o := s.Off; o+relaSize <= s.Off+s.Size; o += relaSize {
		if at >= 0 {
			l.add(o, Sec64, at)
		} else {
			l.add(o, Abs64, 0)
		}
		kind, symbol := le.Uint32(l.text[o+8:]), le.Uint32(l.text[o+12:])
		if symbol != 0 {
			l.add(o+12, Sym32, int(s.link))
		}
		if !l.object {
			if symbol == 0 {
				l.add(o+16, Abs64, 0)
				l.slot(le.Uint64(l.text[o:]), le.Uint64(l.text[o+16:]))
			}
			continue
		}
		if in := l.sectionOfSymbol(int(s.link), symbol); in >= 0 {
			if relative(l.machine, kind) {
				l.add(o+16, SecPC64, in)
			} else {
				l.add(o+16, Sec64, in)
			}
		}
	}
}

// relative reports whether a relocation's addend is 4 less than what it means.
func relative(machine uint16, kind uint32) bool {
	return machine == machineX86 && (kind == 2 || kind == 4 || kind == 9)
}

// slot adds the place at addr if it repeats what its relocation says.
func (l *Layout) slot(addr, v uint64) {
	if v == 0 {
		return
	}
	i := l.sectionOf(addr)
	if i < 0 || l.Sections[i].Empty {
		return
	}
	s := &l.Sections[i]
	if d := addr - s.Addr; s.Size-d >= 8 && le.Uint64(l.text[s.Off+d:]) == v {
		l.add(s.Off+d, Abs64, 0)
	}
}

// sectionOfSymbol returns the section that a section symbol stands for, or -1.
func (l *Layout) sectionOfSymbol(table int, symbol uint32) int {
	if table >= len(l.Sections) {
		return -1
	}
	b, o := l.bytes(table), uint64(symbol)*symbolSize
	if symbol == 0 || o+symbolSize > uint64(len(b)) || b[o+4]&15 != 3 {
		return -1
	}
	if in := int(le.Uint16(b[o+6:])); in < len(l.Sections) {
		return in
	}
	return -1
}

// dynamic: the values that are addresses.
func (l *Layout) dynamic(i int) {
	s := &l.Sections[i]
	for o := s.Off; o+16 <= s.Off+s.Size; o += 16 {
		switch tag := le.Uint64(l.text[o:]); tag {
		case 3, 4, 5, 6, 7, 12, 13, 17, 23, 25, 26, 0x6ffffef5, 0x6ffffff0, 0x6ffffffc, 0x6ffffffe:
			l.add(o+8, Abs64, 0)
		}
	}
}

// headers: where sections are, the entry point and program headers.
func (l *Layout) headers() {
	l.add(40, Known64, 3)
	for i := range l.Sections {
		s, o := &l.Sections[i], l.table+uint64(i)*sectionSize
		if s.Addr>>40 != madeUp>>40 && s.Addr>>40 != madeUpEmpty>>40 {
			l.add(o+16, Known64, 4*i)
		}
		l.add(o+24, Known64, 4*i+1)
		l.add(o+32, Known64, 4*i+2)
	}
	if l.object {
		return
	}
	l.add(24, Abs64, 0)
	at, n := le.Uint64(l.text[32:]), uint64(le.Uint16(l.text[56:]))
	if at > uint64(len(l.text)) || n*programSize > uint64(len(l.text))-at {
		return
	}
	for o := at; n > 0; o, n = o+programSize, n-1 {
		l.add(o+16, Abs64, 0) // virtual address, sizes in the file and in memory
		l.add(o+32, Len64, 0)
	}
}
