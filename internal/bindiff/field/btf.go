package field

import "bytes"

// types reads .BTF: names and types that types refer to.
func (l *Layout) types(i int) {
	s := &l.Sections[i]
	b := l.bytes(i)
	if len(b) < 24 || le.Uint16(b) != 0xeb9f {
		return
	}
	l.btf = s.Off
	head, from, n := uint64(le.Uint32(b[4:])), uint64(le.Uint32(b[8:])), uint64(le.Uint32(b[12:]))
	at, end := head+from, head+from+n
	if end > uint64(len(b)) {
		return
	}
	base := s.Off
	maxName, maxType, records := uint32(0), uint32(0), uint32(0)
	if l.object {
		defer func() { l.ownTypes(b[min(head+uint64(le.Uint32(b[16:])), uint64(len(b))):], maxName, maxType, records) }()
	}
	name32 := func(at uint64) {
		maxName = max(maxName, le.Uint32(b[at:]))
		l.add(base+at, Name32, 0)
	}
	type32 := func(at uint64) {
		maxType = max(maxType, le.Uint32(b[at:]))
		l.add(base+at, Type32, 0)
	}
	for at+12 <= end {
		name32(at)
		records++
		info := le.Uint32(b[at+4:])
		kind, count := info>>24&31, uint64(info&0xffff)
		switch kind {
		case 2, 8, 9, 10, 11, 12, 13, 14, 17, 18:
			type32(at + 8)
		}
		at += 12
		size, name, typ := uint64(0), -1, -1
		switch kind {
		case 1, 14, 17:
			size, count = 4, 1
		case 3:
			if at+8 <= end {
				type32(at)
				type32(at + 4)
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
				name32(at + uint64(name))
			}
			if typ >= 0 {
				type32(at + uint64(typ))
			}
		}
		if count > 0 && size > 0 {
			return
		}
	}
}

// ownTypes finds out where the numbers of a module's own types and strings
// begin, which continue those of the kernel. strings is what follows where its
// own strings begin; maxName and maxType are the highest numbers that occur, of
// records types. The last string is in use always; the last types may not be, so
// that some of the kernel's may be taken for the module's.
func (l *Layout) ownTypes(strings []byte, maxName, maxType, records uint32) {
	if n := uint64(le.Uint32(l.text[l.btf+20:])); n < uint64(len(strings)) {
		strings = strings[:n]
	}
	if len(strings) < 2 {
		return
	}
	last := bytes.LastIndexByte(strings[:len(strings)-1], 0) + 1
	l.Own[0], l.Own[1] = maxType-min(records, maxType)+1, maxName-min(uint32(last), maxName)
}
