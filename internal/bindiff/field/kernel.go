package field

// tables are the sections of a kernel image whose 32-bit words are relative to
// their own place: entry size, then the words of an entry that are.
//
// Sources: include/asm-generic/bug.h, arch/x86/include/asm/alternative.h,
// arch/x86/include/asm/extable.h, include/linux/pci.h, include/linux/export.h,
// Documentation/arch/x86/orc-unwinder.rst.
var tables = map[string][]uint64{
	"__ksymtab":        {12, 0, 4, 8},
	"__ksymtab_gpl":    {12, 0, 4, 8},
	".orc_unwind_ip":   {4, 0},
	"__ex_table":       {12, 0, 4},
	"__bug_table":      {12, 0, 4},
	".retpoline_sites": {4, 0},
	".return_sites":    {4, 0},
	".call_sites":      {4, 0},
	".ibt_endbr_seal":  {4, 0},
	".altinstructions": {14, 0, 4},
	".smp_locks":       {4, 0},
	".pci_fixup":       {16, 12},
}

// kernelTable adds the fields of one of tables, in a kernel image: in modules
// relocations fill them in. It reports whether section i is one.
func (l *Layout) kernelTable(i int) bool {
	s := &l.Sections[i]
	t, ok := tables[s.Name]
	if !ok || l.object {
		return false
	}
	for o := s.Off; o+t[0] <= s.Off+s.Size; o += t[0] {
		for _, w := range t[1:] {
			l.add(o+w, Rel32, 0)
		}
	}
	return true
}

// minSymbols is how long a falling run of words must be to be taken for the
// table of kallsyms.
const minSymbols = 4096

// kallsyms finds in the read-only data of a kernel image the offsets of its
// symbols: base - 1 - address, in the order of addresses
// (scripts/kallsyms.c with CONFIG_KALLSYMS_ABSOLUTE_PERCPU).
func (l *Layout) kallsyms(i, text int) {
	s := &l.Sections[i]
	b := l.bytes(i)
	run, last := 0, int32(0)
	for o := 0; o+4 <= len(b); o += 4 {
		v := int32(le.Uint32(b[o:]))
		if v < 0 && v > -1<<30 && (run == 0 || v <= last) { // an image is smaller than 1 GiB; the base is not
			run++
		} else {
			l.addKallsyms(s.Off+uint64(o-4*run), run, text)
			run = 0
		}
		last = v
	}
}

func (l *Layout) addKallsyms(at uint64, n, text int) {
	if n < minSymbols {
		return
	}
	first, end := at, at+uint64(4*n)
	for o := at; o < end; o += 4 {
		l.add(o, NegSec32, text)
	}
	// Symbols of per-CPU data stand first, with rising offsets.
	for last := int32(1 << 30); first >= 4; first -= 4 {
		v := int32(le.Uint32(l.text[first-4:]))
		if v < 0 || v > last {
			break
		}
		last = v
	}
	// Behind the base of 8 bytes: the symbols' numbers in the order of names.
	count := (end - first) / 4
	from := (end+7)&^7 + 8
	if from+3*count > uint64(len(l.text)) || !permutation(l.text[from:from+3*count]) { // kernels before 6.2 have it not
		return
	}
	base, _ := l.AddressOf(first, -1)
	l.Bases = append(l.Bases, base)
	for o := from; o < from+3*count; o += 3 {
		l.add(o, Index24, len(l.Bases)-1)
	}
}

// permutation reports whether b holds each number below its length once, in 24
// bits, big-endian.
func permutation(b []byte) bool {
	seen := make([]bool, len(b)/3)
	for ; len(b) >= 3; b = b[3:] {
		v := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
		if v >= len(seen) || seen[v] {
			return false
		}
		seen[v] = true
	}
	return true
}

// kernelRelocations reads what follows the section headers of the payload of a
// kernel image: lists of the places that hold absolute addresses, each behind a
// zero: 64 bits, 32 bits negated, 32 bits (arch/x86/tools/relocs.c).
func (l *Layout) kernelRelocations() {
	start := l.table + uint64(len(l.Sections))*sectionSize
	if l.object || l.machine != machineX86 || uint64(len(l.text))-start < 64 || (uint64(len(l.text))-start)%4 != 0 {
		return
	}
	section := -1
	list := 0
	for o := uint64(len(l.text)) - 4; o >= start; o -= 4 {
		v := le.Uint32(l.text[o:])
		if v == 0 {
			list++
			continue
		}
		l.add(o, Abs32, 0)
		addr := uint64(int64(int32(v)))
		if section < 0 || addr-l.Sections[section].Addr >= l.Sections[section].Size {
			section = l.sectionOf(addr)
		}
		if section < 0 || l.Sections[section].Empty {
			continue
		}
		at := addr - l.Sections[section].Addr
		switch {
		case list == 0 && l.Sections[section].Size-at >= 4:
			l.add(l.Sections[section].Off+at, Abs32, 0)
		case list == 2 && l.Sections[section].Size-at >= 8:
			l.add(l.Sections[section].Off+at, Abs64, 0)
		}
	}
}

// kernel reports whether the file is the payload of a kernel image.
func (l *Layout) kernel() (text int, ok bool) {
	text = -1
	for i := range l.Sections {
		switch l.Sections[i].Name {
		case ".text":
			text = i
		case "__ksymtab":
			ok = true
		}
	}
	return text, ok && text >= 0 && !l.object
}
