package field

// The shape of an instruction by its opcode:
//
//	. nothing follows         m modrm            x none that is known
//	b imm8                    B modrm, imm8      s rel8
//	z imm16/32                Z modrm, imm16/32  j rel32
//	w imm16                   e imm16, imm8      v imm32, with REX.W imm64
//	o 64-bit address          p prefix           r REX
//	g G modrm, and for TEST an immediate
const (
	oneByte = "" +
		"mmmmbzxxmmmmbzxx" + "mmmmbzxxmmmmbzxx" + "mmmmbzpxmmmmbzpx" + "mmmmbzpxmmmmbzpx" +
		"rrrrrrrrrrrrrrrr" + "................" + "xxxmppppzZbB...." + "ssssssssssssssss" +
		"BZxBmmmmmmmmmmmm" + "..........x....." + "oooo....bz......" + "bbbbbbbbvvvvvvvv" +
		"BBw.xxBZe.w..bx." + "mmmmxxx.mmmmmmmm" + "ssssbbbbjjxs...." + "p.pp..gG......mm"
	twoByte = "" +
		"mmmmx.....x.xm.B" + "mmmmmmmmmmmmmmmm" + "mmmmxxxxmmmmmmmm" + "........xxxxxxxx" +
		"mmmmmmmmmmmmmmmm" + "mmmmmmmmmmmmmmmm" + "mmmmmmmmmmmmmmmm" + "BBBBmmm.mmxxmmmm" +
		"jjjjjjjjjjjjjjjj" + "mmmmmmmmmmmmmmmm" + "...mBmmm...mBmmm" + "mmmmmmmmmmBmmmmm" +
		"mmBmBBBm........" + "mmmmmmmmmmmmmmmm" + "mmmmmmmmmmmmmmmm" + "mmmmmmmmmmmmmmmm"
)

// instruction returns the length of the instruction at the beginning of b, and
// where in it a 32-bit displacement relative to the next instruction stands: 0
// for none. A length of 0 says that it is no instruction.
func instruction(b []byte) (n, rel int) {
	if len(b) > 15 {
		b = b[:15]
	}
	small, wide := false, false // operand size prefix, REX.W
	shape := byte('x')
	i := 0
	for ; ; i++ {
		if i >= len(b) {
			return 0, 0
		}
		shape = oneByte[b[i]]
		if shape == 'r' {
			wide = b[i]&8 != 0
		} else if shape != 'p' {
			break
		} else {
			small, wide = small || b[i] == 0x66, false
		}
	}
	op := b[i]
	i++
	switch {
	case op == 0x0f:
		shape, i = escaped(b, i)
	case op == 0xc5 && i+1 < len(b):
		shape, i = vector(1, b[i+1]), i+2
	case op == 0xc4 && i+2 < len(b):
		shape, i = vector(b[i]&31, b[i+2]), i+3
	case op == 0x62 && i+3 < len(b):
		shape, i = vector(b[i]&7, b[i+3]), i+4
	}
	immediate := 4
	if small {
		immediate = 2
	}
	switch shape {
	case '.':
	case 'b', 's':
		i++
	case 'z':
		i += immediate
	case 'w':
		i += 2
	case 'e':
		i += 3
	case 'o':
		i += 8
	case 'v':
		switch {
		case wide:
			i += 8
		default:
			i += immediate
		}
	case 'j':
		rel = i
		i += 4
	case 'm', 'B', 'Z', 'g', 'G':
		if i >= len(b) {
			return 0, 0
		}
		test := b[i]>>3&7 < 2
		i, rel = operand(b, i)
		switch {
		case shape == 'B', shape == 'g' && test:
			i++
		case shape == 'Z', shape == 'G' && test:
			i += immediate
		}
	default:
		return 0, 0
	}
	if i > len(b) {
		return 0, 0
	}
	return i, rel
}

// escaped returns the shape of an opcode behind 0F.
func escaped(b []byte, i int) (byte, int) {
	if i >= len(b) {
		return 'x', i
	}
	switch b[i] {
	case 0x38:
		return 'm', i + 2
	case 0x3a:
		return 'B', i + 2
	}
	return twoByte[b[i]], i + 1
}

// vector returns the shape of a VEX or EVEX opcode of a map.
func vector(opmap, op byte) byte {
	switch opmap {
	case 1:
		if s := twoByte[op]; s == 'B' || op == 0x77 {
			return s
		}
		return 'm'
	case 2, 5, 6:
		return 'm'
	case 3:
		return 'B'
	}
	return 'x'
}

// operand skips modrm, SIB and displacement from i on; rel is where the
// displacement stands if it is relative to the next instruction.
func operand(b []byte, i int) (end, rel int) {
	modrm := b[i]
	mod, rm := modrm>>6, modrm&7
	i++
	if mod == 3 {
		return i, 0
	}
	if rm == 4 {
		if i >= len(b) {
			return i + 1, 0
		}
		if mod == 0 && b[i]&7 == 5 {
			return i + 5, 0
		}
		i++
	} else if mod == 0 && rm == 5 {
		return i + 4, i
	}
	switch mod {
	case 1:
		i++
	case 2:
		i += 4
	}
	return i, 0
}

// codeX86 goes through a section of code from its beginning. Where it loses
// its way it finds it again soon: any sequence of bytes does.
func (l *Layout) codeX86(i int) {
	s := &l.Sections[i]
	code := l.bytes(i)
	for at := 0; at < len(code); {
		n, rel := instruction(code[at:])
		if n == 0 {
			at++
			continue
		}
		if rel > 0 {
			l.add(s.Off+uint64(at+rel), Rel32, n-rel)
		}
		at += n
	}
}
