package field

// adrp is an instruction that has put a page into a register.
type adrp struct {
	at    int
	page  uint64
	known bool // what it is for
}

// maxApart is how many bytes of code an ADRP and what completes its address
// may be apart.
const maxApart = 256

// codeArm finds branches, and the addresses that ADRP and a following ADD, load
// or store make together. An ADRP alone says too little to be foretold.
func (l *Layout) codeArm(i int) { l.codeArmAt(i, 0, len(l.bytes(i))) }

// codeArmAt does that between two places of a section.
func (l *Layout) codeArmAt(i, from, to int) {
	s := &l.Sections[i]
	code := l.bytes(i)[:to]
	var pages [32]adrp
	for at := from; at+4 <= len(code); at += 4 {
		w := le.Uint32(code[at:])
		off, addr := s.Off+uint64(at), s.Addr+uint64(at)
		switch {
		case w>>26&31 == 5: // B, BL
			l.add(off, Branch26, 0)
		case w>>24&0x9f == 0x90: // ADRP
			f := Field{what: uint32(Page21) << 24}
			pages[w&31] = adrp{at: at, page: addr&^0xfff + f.Read(code[at:])}
		case w>>22 == 0x244, w>>24&0x3b == 0x39: // ADD of 64 bits; load or store at an unsigned offset
			p := &pages[w>>5&31]
			if p.page == 0 || at-p.at > maxApart || len(l.Pages) >= 1<<24-1 {
				continue
			}
			f := Field{what: uint32(Low12) << 24}
			l.Pages = append(l.Pages, p.page+f.Read(code[at:]))
			if !p.known {
				l.add(s.Off+uint64(p.at), Page21, len(l.Pages)-1)
				p.known = true
			}
			l.add(off, Low12, len(l.Pages)-1)
		}
	}
}
