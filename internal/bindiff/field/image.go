package field

// An Image is a kernel of aarch64 as boot loaders take it: memory from the
// kernel's first byte on, without a word of what is where.
//
// Sources: Documentation/arch/arm64/booting.rst, Documentation/arch/arm64/memory.rst.
const (
	imageMagic = "ARM\x64" // at 0x38
	imageBase  = 0xffff800080000000
	imageBlock = 1024 // bytes that are code as a whole, or are not
)

// image finds the fields of an Image: instructions where most words are some,
// addresses in the kernel's space, and the places of its symbols.
func (l *Layout) image() bool {
	t := l.text
	if len(t) < 4096 || string(t[0x38:0x3c]) != imageMagic {
		return false
	}
	size := le.Uint64(t[0x10:]) // in memory
	if size < uint64(len(t)) || size > 1<<30 {
		size = uint64(len(t))
	}
	l.machine = machineArm
	l.Sections = []Section{{Name: ".text", Addr: imageBase, Size: uint64(len(t)), kind: 1, align: 1}}
	l.order()
	for at := 0; at+imageBlock <= len(t); {
		end := at
		for end+imageBlock <= len(t) && instructions(t[end:end+imageBlock]) {
			end += imageBlock
		}
		if end > at {
			l.codeArmAt(0, at, end)
			at = end
			continue
		}
		l.addresses(at, size)
		at += imageBlock
	}
	l.imageSymbols()
	return true
}

// instructions reports whether nearly all words of b are in classes of
// instructions that kernels use (Arm ARM, C4.1: op0).
func instructions(b []byte) bool {
	strange := 0
	for i := 0; i+4 <= len(b); i += 4 {
		if le.Uint32(b[i:])>>25&15 < 4 {
			strange++
		}
	}
	return strange*64 < len(b)/4
}

// addresses finds words of a block that are addresses of the kernel.
func (l *Layout) addresses(at int, size uint64) {
	for end := at + imageBlock; at < end; at += 8 {
		if le.Uint64(l.text[at:])-imageBase < size {
			l.add(uint64(at), Abs64, 0)
		}
	}
}

// imageSymbols finds the offsets of kallsyms: a long run of rising words, and
// behind it the symbols' numbers in the order of names.
func (l *Layout) imageSymbols() {
	run, last := 0, uint32(0)
	for o := 0; o+4 <= len(l.text); o += 4 {
		v := le.Uint32(l.text[o:])
		if v >= last && v-last < 1<<20 && v < 1<<30 {
			run++
		} else {
			if at := o - 4*run; run >= minSymbols && le.Uint32(l.text[o-4:]) > 1<<20 {
				for i := at; i < o; i += 4 {
					l.add(uint64(i), Sec32, 0)
				}
			}
			run = 0
		}
		last = v
	}
}
