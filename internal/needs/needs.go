// Package needs reads what a program cannot start without: the loader and the
// libraries that an ELF file names, and the interpreter of a script.
//
// Only what the kernel and the dynamic loader look at is read, the program
// headers and the dynamic section: section headers may be absent or wrong. See
// elf(5), execve(2) and ld.so(8).
package needs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// File is what a file needs. At most one of the two is set; of a file that is
// neither, none.
type File struct {
	ELF    *ELF
	Script *Script
}

// ELF is what a program or library needs.
type ELF struct {
	Kind    Kind
	Interp  string   // loader, an absolute path; "" for none
	Needed  []string // names of libraries, in order
	RPath   []string // DT_RPATH, not expanded; nothing when there is a RunPath, as ld.so has it
	RunPath []string // DT_RUNPATH
}

// Kind is what the loader compares: a library of another kind is passed over.
type Kind struct {
	Class   byte // 1: 32 bits, 2: 64 bits
	Order   byte // 1: little endian, 2: big endian
	Machine uint16
}

// Script is the first line of a script.
type Script struct {
	Interp  string // path
	Program string // what env is asked to look for along PATH; "" unless the interpreter is env
}

// Limits. The largest dynamic section of Debian 13 has 1,100 entries; the
// loader's own limit for a path is PATH_MAX, the kernel's for a first line 256.
const (
	maxHeaders = 1 << 10
	maxDynamic = 1 << 20
	maxText    = 4096
	maxNeeded  = 4096
	maxLine    = 256
)

var errShort = errors.New("the file is too short for what its headers say")

// Read reads what a file of size bytes needs. A file that begins like an ELF
// file and is damaged is an error.
func Read(r io.ReaderAt, size int64) (File, error) {
	head := make([]byte, min(maxLine, max(size, 0)))
	if _, err := r.ReadAt(head, 0); err != nil && err != io.EOF {
		return File{}, err
	}
	switch {
	case bytes.HasPrefix(head, []byte("#!")):
		return File{Script: script(head[2:])}, nil
	case bytes.HasPrefix(head, []byte("\x7fELF")):
		e, err := readELF(r, size, head)
		if err != nil {
			return File{}, fmt.Errorf("ELF file: %w", err)
		}
		return File{ELF: e}, nil
	}
	return File{}, nil
}

// script reads the first line without its "#!"; nil when it names nothing.
func script(head []byte) *Script {
	line, _, _ := bytes.Cut(head, []byte("\n"))
	words := strings.Fields(string(line))
	if len(words) == 0 {
		return nil
	}
	s := &Script{Interp: words[0]}
	if strings.HasSuffix("/"+s.Interp, "/env") {
		s.Program = asked(words[1:])
	}
	return s
}

// asked returns the program in the arguments of env: after options and variables.
func asked(words []string) string {
	for i := 0; i < len(words); i++ {
		w := words[i]
		if w == "-u" || w == "-C" { // their values stand apart
			i++
			continue
		}
		if rest, ok := strings.CutPrefix(w, "-S"); ok && rest != "" {
			w = rest
		}
		if !strings.HasPrefix(w, "-") && !strings.Contains(w, "=") {
			return w
		}
	}
	return ""
}

// Types of program headers and tags of the dynamic section.
const (
	ptLoad    = 1
	ptDynamic = 2
	ptInterp  = 3

	dtNull    = 0
	dtNeeded  = 1
	dtStrTab  = 5
	dtStrSize = 10
	dtRPath   = 15
	dtRunPath = 29
)

type segment struct {
	kind                    uint32
	offset, address, length uint64
}

type reader struct {
	io.ReaderAt
	size  int64
	order binary.ByteOrder
	wide  bool // 64 bits
}

func readELF(r io.ReaderAt, size int64, head []byte) (*ELF, error) {
	if len(head) < 64 {
		return nil, errShort
	}
	in := &reader{ReaderAt: r, size: size, order: binary.LittleEndian, wide: head[4] == 2}
	if head[5] == 2 {
		in.order = binary.BigEndian
	}
	if head[4] != 1 && head[4] != 2 || head[5] != 1 && head[5] != 2 {
		return nil, fmt.Errorf("class %d and byte order %d are not known", head[4], head[5])
	}
	e := &ELF{Kind: Kind{head[4], head[5], in.order.Uint16(head[18:])}}
	segments, err := in.segments(head)
	if err != nil {
		return nil, err
	}
	for _, s := range segments {
		switch s.kind {
		case ptInterp:
			b, err := in.bytes(s.offset, s.length, maxText)
			if err != nil {
				return nil, fmt.Errorf("its loader's name: %w", err)
			}
			text, _, _ := bytes.Cut(b, []byte{0})
			e.Interp = string(text)
		case ptDynamic:
			if err := in.dynamic(e, s, segments); err != nil {
				return nil, fmt.Errorf("its dynamic section: %w", err)
			}
		}
	}
	return e, nil
}

// bytes reads n bytes at an offset.
func (in *reader) bytes(offset, n, limit uint64) ([]byte, error) {
	if n > limit {
		return nil, fmt.Errorf("%d bytes, more than the limit of %d", n, limit)
	}
	if offset > uint64(in.size) || n > uint64(in.size)-offset {
		return nil, errShort
	}
	b := make([]byte, n)
	if _, err := in.ReadAt(b, int64(offset)); err != nil && err != io.EOF {
		return nil, err
	}
	return b, nil
}

// word reads an address or offset.
func (in *reader) word(b []byte) uint64 {
	if in.wide {
		return in.order.Uint64(b)
	}
	return uint64(in.order.Uint32(b))
}

func (in *reader) segments(head []byte) ([]segment, error) {
	at, each, count := in.word(head[28:]), in.order.Uint16(head[42:]), in.order.Uint16(head[44:])
	least := uint16(32)
	if in.wide {
		at, each, count, least = in.word(head[32:]), in.order.Uint16(head[54:]), in.order.Uint16(head[56:]), 56
	}
	if count == 0 {
		return nil, nil // an object file, as kernel modules are
	}
	if each < least || count > maxHeaders {
		return nil, fmt.Errorf("%d program headers of %d bytes", count, each)
	}
	b, err := in.bytes(at, uint64(each)*uint64(count), maxHeaders*64)
	if err != nil {
		return nil, fmt.Errorf("its program headers: %w", err)
	}
	out := make([]segment, 0, count)
	for ; len(b) >= int(each); b = b[each:] {
		s := segment{kind: in.order.Uint32(b)}
		if in.wide {
			s.offset, s.address, s.length = in.word(b[8:]), in.word(b[16:]), in.word(b[32:])
		} else {
			s.offset, s.address, s.length = in.word(b[4:]), in.word(b[8:]), in.word(b[16:])
		}
		out = append(out, s)
	}
	return out, nil
}

// dynamic reads the names out of the dynamic section.
func (in *reader) dynamic(e *ELF, s segment, segments []segment) error {
	b, err := in.bytes(s.offset, s.length, maxDynamic)
	if err != nil {
		return err
	}
	each := 8
	if in.wide {
		each = 16
	}
	var strtab, strsize uint64
	var needed, rpath, runpath []uint64
	for ; len(b) >= each; b = b[each:] {
		tag, value := in.word(b), in.word(b[each/2:])
		if tag == dtNull {
			break
		}
		switch tag {
		case dtNeeded:
			needed = append(needed, value)
		case dtStrTab:
			strtab = value
		case dtStrSize:
			strsize = value
		case dtRPath:
			rpath = append(rpath, value)
		case dtRunPath:
			runpath = append(runpath, value)
		}
	}
	if len(needed) > maxNeeded {
		return fmt.Errorf("%d libraries, more than the limit of %d", len(needed), maxNeeded)
	}
	if len(needed)+len(rpath)+len(runpath) == 0 {
		return nil
	}
	base, ok := fileOffset(segments, strtab)
	if !ok {
		return errors.New("its names are in no segment")
	}
	text := func(list []uint64) (out []string, err error) {
		for _, at := range list {
			name, err := in.text(base, at, strsize)
			if err != nil {
				return nil, err
			}
			out = append(out, name)
		}
		return out, nil
	}
	if e.Needed, err = text(needed); err != nil {
		return err
	}
	for list, to := range map[*[]uint64]*[]string{&rpath: &e.RPath, &runpath: &e.RunPath} {
		paths, err := text(*list)
		if err != nil {
			return err
		}
		for _, p := range paths {
			*to = append(*to, strings.Split(p, ":")...)
		}
	}
	if len(e.RunPath) > 0 {
		e.RPath = nil
	}
	return nil
}

// text reads a name of the table of names.
func (in *reader) text(base, at, size uint64) (string, error) {
	if at >= size || base+at < base {
		return "", errShort
	}
	n := min(maxText, size-at)
	if base+at > uint64(in.size) {
		return "", errShort
	}
	b, err := in.bytes(base+at, min(n, uint64(in.size)-base-at), maxText)
	if err != nil {
		return "", err
	}
	name, _, ended := bytes.Cut(b, []byte{0})
	if !ended {
		return "", errors.New("a name without an end")
	}
	return string(name), nil
}

// fileOffset says where an address is in the file.
func fileOffset(segments []segment, address uint64) (uint64, bool) {
	for _, s := range segments {
		if s.kind == ptLoad && address >= s.address && address-s.address < s.length {
			return s.offset + address - s.address, true
		}
	}
	return 0, false
}
