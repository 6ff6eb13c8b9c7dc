package field

// types reads .BTF: names and types that types refer to.
func (l *Layout) types(i int) {
	s := &l.Sections[i]
	b := l.bytes(i)
	if len(b) < 24 || le.Uint16(b) != 0xeb9f {
		return
	}
	head, from, n := uint64(le.Uint32(b[4:])), uint64(le.Uint32(b[8:])), uint64(le.Uint32(b[12:]))
	at, end := head+from, head+from+n
	if end > uint64(len(b)) {
		return
	}
	base := s.Off
	for at+12 <= end {
		l.add(base+at, Name32, 0)
		info := le.Uint32(b[at+4:])
		kind, count := info>>24&31, uint64(info&0xffff)
		switch kind {
		case 2, 8, 9, 10, 11, 12, 13, 14, 17, 18:
			l.add(base+at+8, Type32, 0)
		}
		at += 12
		size, name, typ := uint64(0), -1, -1
		switch kind {
		case 1, 14, 17:
			size, count = 4, 1
		case 3:
			if at+8 <= end {
				l.add(base+at, Type32, 0)
				l.add(base+at+4, Type32, 0)
			}
			size, count = 12, 1
		case 4, 5:
			size, name, typ = 12, 0, 4
		case 6:
			size, name = 8, 0
		case 13:
			size, name, typ = 8, 0, 4
		case 15:
			size, typ = 12, 0
		case 19:
			size, name = 12, 0
		}
		for ; count > 0 && size > 0 && at+size <= end; count, at = count-1, at+size {
			if name >= 0 {
				l.add(base+at+uint64(name), Name32, 0)
			}
			if typ >= 0 {
				l.add(base+at+uint64(typ), Type32, 0)
			}
		}
		if count > 0 && size > 0 {
			return
		}
	}
}
