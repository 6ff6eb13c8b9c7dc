package field

// frames reads .eh_frame: of each FDE where its function begins and how long
// it is, relative to the place and in 32 bits, as compilers write them.
func (l *Layout) frames(i int) {
	s := &l.Sections[i]
	if l.object {
		return
	}
	b := l.bytes(i)
	for at := 0; at+16 <= len(b); {
		n := int(le.Uint32(b[at:]))
		if n < 12 || n >= len(b)-at-4 {
			if n != 0 { // nonsense; zero ends a part
				return
			}
			at += 4
			continue
		}
		if le.Uint32(b[at+4:]) != 0 {
			l.add(s.Off+uint64(at)+4, Back32, 0)
			l.add(s.Off+uint64(at)+8, Rel32, 0)
			l.add(s.Off+uint64(at)+12, Len32, 0)
		}
		at += n + 4
	}
}

// frameTable reads .eh_frame_hdr: a sorted table of functions and their FDEs,
// relative to the section.
func (l *Layout) frameTable(i int) {
	s := &l.Sections[i]
	b := l.bytes(i)
	if len(b) < 12 || b[1] != 0x1b || b[2] != 3 || b[3] != 0x3b {
		return
	}
	l.add(s.Off+4, Rel32, 0)
	for o := uint64(12); o+8 <= s.Size; o += 8 {
		l.add(s.Off+o, Sec32, i)
		l.add(s.Off+o+4, Sec32, i)
	}
}
