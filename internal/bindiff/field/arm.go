package field

// codeArm finds the branches of a section of aarch64 code.
func (l *Layout) codeArm(i int) {
	s := &l.Sections[i]
	code := l.bytes(i)
	for at := 0; at+4 <= len(code); at += 4 {
		if w := le.Uint32(code[at:]); w>>26&31 == 5 { // B, BL
			l.add(s.Off+uint64(at), Branch26, 0)
		}
	}
}
