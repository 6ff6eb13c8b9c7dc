package field

import (
	"bytes"
	"sort"
	"strconv"
	"strings"
)

// A cpio archive is what a kernel begins with: an executable and its modules.
// It is taken as one file whose sections are those of its members; relocatable
// members have an address space of their own anyway.
//
// Source: Documentation/driver-api/early-userspace/buffer-format.rst.
const (
	cpioMagic = "070701"
	cpioHead  = 110
)

// member is a piece of an archive that is an ELF file.
type member struct {
	name     string
	off, end int // of the archive
	sections int // the first of its sections
}

// archive finds the fields of all members. Of executables with addresses of
// their own only the first counts.
func (l *Layout) archive() bool {
	if !bytes.HasPrefix(l.text, []byte(cpioMagic)) {
		return false
	}
	executable := false
	empty := uint64(0)
	for at := 0; ; {
		name, off, end := cpioMember(l.text, at)
		if end < 0 {
			break
		}
		at = (end + 3) &^ 3
		sub := &Layout{text: l.text[off:end]}
		if !sub.readSections() || !sub.object && executable || len(l.Sections)+len(sub.Sections) > maxSections {
			continue
		}
		executable = executable || !sub.object
		sub.find()
		l.join(sub, member{name, off, end, len(l.Sections)}, &empty)
	}
	l.order()
	return len(l.members) > 0
}

// cpioMember reads the header at a place; end is -1 where there is none.
func cpioMember(text []byte, at int) (name string, off, end int) {
	if at < 0 || at > len(text)-cpioHead || string(text[at:at+6]) != cpioMagic {
		return "", 0, -1
	}
	size, err1 := strconv.ParseUint(string(text[at+54:at+62]), 16, 32)
	names, err2 := strconv.ParseUint(string(text[at+94:at+102]), 16, 32)
	left := uint64(len(text) - at - cpioHead)
	if err1 != nil || err2 != nil || names == 0 || names > left {
		return "", 0, -1
	}
	off = (at + cpioHead + int(names) + 3) &^ 3
	if off > len(text) || size > uint64(len(text)-off) {
		return "", 0, -1
	}
	name = string(text[at+cpioHead : at+cpioHead+int(names)-1])
	if _, after, ok := strings.Cut(name, "-"); ok { // modules/012-name.ko: numbers change
		name = after
	}
	return name, off, off + int(size)
}

// join adds what is known of a member.
func (l *Layout) join(sub *Layout, m member, empty *uint64) {
	l.members = append(l.members, m)
	l.machine, l.object = sub.machine, true
	most := uint64(0)
	for _, s := range sub.Sections {
		s.Off += uint64(m.off)
		s.Member = m.name
		s.link, s.info = s.link+uint32(m.sections), s.info+uint32(m.sections)
		switch s.Addr >> 40 {
		case madeUp >> 40:
			s.Addr += uint64(m.off)
		case madeUpEmpty >> 40:
			s.Addr += *empty
			most = max(most, s.Addr+s.Size+64-madeUpEmpty)
		}
		l.Sections = append(l.Sections, s)
	}
	*empty = max(*empty, most)
	for f := range sub.fields.all() {
		aux := f.Aux()
		switch f.Kind() {
		case Sec32, Sec64, SecPC64, Sym32, NegSec32:
			aux += m.sections
		case Known64:
			aux += 4 * m.sections
		case Index24:
			aux += len(l.Bases)
		case Page21, Low12:
			aux += len(l.Pages)
		}
		l.add(uint64(f.Pos)+uint64(m.off), f.Kind(), aux)
	}
	l.Bases = append(l.Bases, sub.Bases...)
	l.Pages = append(l.Pages, sub.Pages...)
	for i, own := range sub.Own {
		l.Own[i] = max(l.Own[i], own)
	}
}

// Member returns the number of the archive's member that holds a place, 0 where
// there are none.
func (l *Layout) Member(pos uint32) int {
	return sort.Search(len(l.members), func(i int) bool { return l.members[i].end > int(pos) })
}

// sectionsOf returns the numbers of the sections of the member that section i
// belongs to: first, and the one behind the last.
func (l *Layout) sectionsOf(i int) (first, end int) {
	n := sort.Search(len(l.members), func(n int) bool { return l.members[n].sections > i })
	if end = len(l.Sections); n < len(l.members) {
		end = l.members[n].sections
	}
	if n > 0 {
		first = l.members[n-1].sections
	}
	return first, end
}
