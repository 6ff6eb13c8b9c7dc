// Package field finds the places of an executable that hold an address, an
// index or a length: what changes all over a file when a piece of it moves. It
// knows ELF files of x86-64 and aarch64, kernel modules among them.
//
// A field says how its bytes are made of a target in the address space of its
// file. With a map from the old file's addresses to those of the new one the
// bytes of a field in the new file can be foretold.
//
// Sources: System V ABI (ELF-64 object file format) with the processor
// supplements; Intel 64 SDM volume 2; Arm ARM (DDI 0487) C4; LSB, "Exception
// frames"; Documentation/bpf/btf.rst.
package field

import (
	"cmp"
	"slices"
)

// Kind says how a field's bytes are made of its target.
type Kind uint8

// Kinds of fields. The comment says what the target is; v is the value that
// stands in the file, little-endian, sign-extended where it has 32 bits.
const (
	Rel32    Kind = iota // address behind the field + aux + v
	Base32               // Layout.Bases[aux] + v
	Abs32                // v
	Abs64                // v
	Sec32                // address of section aux + v
	Sec64                // address of section aux + v
	SecPC64              // address of section aux + v + 4: a relocation of a PC-relative field
	Sym32                // entry v of the symbol table that is section aux
	Len32                // target of the field before + v
	Len64                // target of the field before + v
	Type32               // BTF type v, of the kernel or of the module
	Name32               // BTF string v, of the kernel or of the module
	Token64              // v: the same anywhere in the stream, as checksums of symbols are
	Known64              // of section aux/4: 0 address, 1 offset, 2 size; 3: where section headers begin
	Branch26             // address of the field + 4×imm26
	Page21               // Layout.Pages[aux]: ADRP, of which only the page is kept
	Low12                // Layout.Pages[aux]: the low bits of ADD, LDR or STR
	Back32               // address of the field - v: an FDE and its CIE
	NegSec32             // address of section aux - 1 - v
	Index24              // Bases[aux] + 4×v, big-endian
	Hash                 // of a store path: HashSize digits that mean the same anywhere in the stream
	Kinds
)

// Size returns the bytes that a field of kind k has in a file.
func (k Kind) Size() int {
	switch k {
	case Abs64, Sec64, SecPC64, Len64, Token64, Known64:
		return 8
	case Index24:
		return 3
	case Hash:
		return HashSize
	}
	return 4
}

// Instruction reports whether a field of kind k is a whole instruction, of which
// the target is only a part.
func (k Kind) Instruction() bool { return k == Branch26 || k == Page21 || k == Low12 }

// Field is one field of a file.
type Field struct {
	Pos  uint32
	what uint32 // kind and aux
}

// Kind returns the field's kind.
func (f Field) Kind() Kind { return Kind(f.what >> 24) }

// Aux returns the number that the kind's comment speaks of.
func (f Field) Aux() int { return int(f.what & (1<<24 - 1)) }

// End returns where the field ends in its file.
func (f Field) End() uint32 { return f.Pos + uint32(f.Kind().Size()) }

// Section is a piece of a file and its place in the address space. Sections
// without an address of their own stand at a made-up one.
type Section struct {
	Name      string
	Member    string // of an archive
	Addr      uint64
	Off, Size uint64
	Empty     bool // has no bytes in the file

	kind, link, info uint32
	flags, align     uint64
}

// Holds reports whether the file's byte at off belongs to s.
func (s *Section) Holds(off uint64) bool { return !s.Empty && off-s.Off < s.Size }

// Layout is what is known of a file.
type Layout struct {
	Sections []Section
	Bases    []uint64  // of tables
	Pages    []uint64  // targets of instruction pairs
	Own      [2]uint32 // of a module: its first BTF type, and its first BTF string; 0: unknown

	fields  list
	text    []byte
	object  bool // relocatable
	machine uint16
	table   uint64 // of section headers, in the file
	btf     uint64 // where BTF begins in the file
	members []member
	byOff   []int32
	byAddr  []int32
}

// maxFields bounds the memory of a Layout: 4 bytes each, and 12 for each of an
// instruction pair.
const maxFields = 4 << 20

// Find returns the layout of an ELF file, of an archive of such files, or of any
// other file that refers to store paths; nil where there is nothing to be known. It never fails: what makes
// no sense is left out. The layout refers to text.
func Find(text []byte) *Layout {
	l := &Layout{text: text}
	l.hashes()
	switch {
	case l.readSections():
		l.find()
		return l
	case l.archive():
	case l.image():
	case l.fields.n == 0:
		return nil
	default:
		l.Sections, l.byOff = nil, nil
	}
	l.fields.settle(uint64(len(text)))
	return l
}

// find finds the fields of a file whose sections are known.
func (l *Layout) find() {
	for _, i := range l.byOff {
		l.scan(int(i))
	}
	if text, ok := l.kernel(); ok {
		for i := range l.Sections {
			if l.Sections[i].Name == ".rodata" {
				l.kallsyms(i, text)
			}
		}
		l.kernelRelocations()
	}
	l.headers()
	l.fields.settle(uint64(len(l.text)))
}

func (l *Layout) add(pos uint64, k Kind, aux int) {
	if l.fields.n < maxFields && aux < 1<<24 && pos < uint64(len(l.text)) {
		l.fields.add(Field{uint32(pos), uint32(k)<<24 | uint32(aux)})
	}
}

// AddressOf returns the address of the byte at off, and the section it is in:
// -1 where it is in none. near is a guess.
func (l *Layout) AddressOf(off uint64, near int) (uint64, int) {
	if near >= 0 && near < len(l.Sections) && l.Sections[near].Holds(off) {
		return l.Sections[near].Addr + off - l.Sections[near].Off, near
	}
	if i := sectionAt(l.Sections, l.byOff, off); i >= 0 {
		return l.Sections[i].Addr + off - l.Sections[i].Off, i
	}
	return off, -1
}

// sectionAt finds the section that holds off; order is by offset.
func sectionAt(sections []Section, order []int32, off uint64) int {
	n, found := slices.BinarySearchFunc(order, off, func(i int32, off uint64) int {
		s := &sections[i]
		switch {
		case s.Off > off:
			return 1
		case s.Off+s.Size <= off:
			return -1
		}
		return 0
	})
	if !found {
		return -1
	}
	return int(order[n])
}

// SetSections makes a Layout that knows only where sections are: enough to
// compute the bytes of fields.
func SetSections(sections []Section) *Layout {
	l := &Layout{Sections: sections}
	l.order()
	return l
}

// order sorts the sections that have bytes, leaving out any that overlap.
func (l *Layout) order() {
	l.byOff = l.byOff[:0]
	for i := range l.Sections {
		if s := &l.Sections[i]; !s.Empty && s.Size > 0 {
			l.byOff = append(l.byOff, int32(i))
		}
	}
	slices.SortStableFunc(l.byOff, func(a, b int32) int { return cmp.Compare(l.Sections[a].Off, l.Sections[b].Off) })
	end := uint64(0)
	l.byOff = slices.DeleteFunc(l.byOff, func(i int32) bool {
		s := &l.Sections[i]
		if s.Off < end {
			return true
		}
		end = s.Off + s.Size
		return false
	})
}

// Follow returns where a section that was s is expected to be, if the section
// before it was was and is before now.
func (s Section) Follow(was, before Section) Section {
	end, now := was.Off, before.Off
	if !was.Empty {
		end, now = end+was.Size, now+before.Size
	}
	to := s
	to.Off = s.Off + now - end
	for _, align := range [...]uint64{1, s.align, 4096} {
		if align > 0 && align&(align-1) == 0 && (end+align-1)&^(align-1) == s.Off {
			to.Off = (now + align - 1) &^ (align - 1)
			break
		}
	}
	if s.Empty {
		to.Addr = s.Addr + before.Addr + before.Size - was.Addr - was.Size
	} else {
		to.Addr = s.Addr + to.Off - s.Off
	}
	return to
}
