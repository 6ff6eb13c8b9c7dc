// Package pe reads the headers of PE images and builds unified kernel images:
// systemd's UEFI stub with kernel, initrd and command lines as further sections.
//
// Sources: Microsoft, "PE Format"; UAPI.5 "Unified Kernel Image"; systemd-stub(7).
package pe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Limits of the images that Parse accepts.
const (
	MaxSections = 96 // what the Windows loader accepts; EFI firmware accepts more
	MaxSize     = 1 << 31
)

// The machines Parse knows, as IMAGE_FILE_MACHINE_*.
const (
	MachineAMD64 = 0x8664
	MachineARM64 = 0xaa64
)

// Section characteristics, as IMAGE_SCN_*.
const (
	code     = 0x00000020
	initData = 0x00000040
	memRead  = 0x40000000
)

// Offsets within the COFF header and the PE32+ optional header, in bytes.
const (
	coffSize        = 20
	sectionSize     = 40
	optInitData     = 8
	optAlignSection = 32
	optAlignFile    = 36
	optSizeOfImage  = 56
	optSizeOfHeader = 60
	optChecksum     = 64
	optSubsystem    = 68
	optDLL          = 70 // DllCharacteristics
	optDirCount     = 108
	optDirs         = 112
	dirSecurity     = 4
	nxCompat        = 0x0100
	subsystemEFI    = 10
	magicPE32Plus   = 0x20b
)

// Section is one entry of the section table.
type Section struct {
	Name           string
	VirtualSize    uint32 // bytes of content
	VirtualAddress uint32
	RawSize        uint32 // bytes in the file
	RawOffset      uint32
	Flags          uint32
}

// Image is a parsed PE32+ image. It keeps the bytes it was parsed from.
type Image struct {
	Machine       uint16
	Subsystem     uint16
	NXCompat      bool
	SizeOfImage   uint32
	SizeOfHeaders uint32
	SectionAlign  uint32
	FileAlign     uint32
	Signed        bool
	Sections      []Section

	b     []byte
	coff  int // offset of the COFF header
	opt   int // of the optional header
	table int // of the section table
}

// Parse reads the headers of b. Every section's raw data lies within b.
func Parse(b []byte) (*Image, error) { return ParseHead(b, int64(len(b))) }

// ParseHead is Parse for an image of size bytes of which b holds the beginning,
// with all headers. Data may then be asked for sections within b only.
func ParseHead(b []byte, size int64) (*Image, error) {
	m, err := parse(b, size)
	if err != nil {
		return nil, fmt.Errorf("reading a PE image: %w", err)
	}
	return m, nil
}

func parse(b []byte, size int64) (*Image, error) {
	if len(b) < 64 || b[0] != 'M' || b[1] != 'Z' {
		return nil, errors.New("no MZ header")
	}
	if size > MaxSize {
		return nil, fmt.Errorf("%d bytes, more than %d", size, MaxSize)
	}
	pe := int64(binary.LittleEndian.Uint32(b[60:]))
	if pe+4+coffSize > int64(len(b)) || string(b[pe:pe+4]) != "PE\x00\x00" {
		return nil, errors.New("no PE header")
	}
	m := &Image{b: b, coff: int(pe) + 4}
	m.opt = m.coff + coffSize
	h := b[m.coff:]
	m.Machine = binary.LittleEndian.Uint16(h)
	n, optSize := int(binary.LittleEndian.Uint16(h[2:])), int(binary.LittleEndian.Uint16(h[16:]))
	m.table = m.opt + optSize
	switch {
	case n > MaxSections:
		return nil, fmt.Errorf("%d sections, more than %d", n, MaxSections)
	case optSize < optDirs || m.table+n*sectionSize > len(b):
		return nil, errors.New("optional header or section table is cut off")
	case binary.LittleEndian.Uint16(b[m.opt:]) != magicPE32Plus:
		return nil, errors.New("not a PE32+ image")
	}
	if err := m.parseOptional(b[m.opt:m.table]); err != nil {
		return nil, err
	}
	return m, m.parseSections(n, size)
}

func (m *Image) parseOptional(o []byte) error {
	m.SectionAlign = binary.LittleEndian.Uint32(o[optAlignSection:])
	m.FileAlign = binary.LittleEndian.Uint32(o[optAlignFile:])
	m.SizeOfImage = binary.LittleEndian.Uint32(o[optSizeOfImage:])
	m.SizeOfHeaders = binary.LittleEndian.Uint32(o[optSizeOfHeader:])
	m.Subsystem = binary.LittleEndian.Uint16(o[optSubsystem:])
	m.NXCompat = binary.LittleEndian.Uint16(o[optDLL:])&nxCompat != 0
	for _, a := range []uint32{m.SectionAlign, m.FileAlign} {
		if a == 0 || a&(a-1) != 0 || a > 1<<24 {
			return fmt.Errorf("alignment of %d bytes", a)
		}
	}
	if n := binary.LittleEndian.Uint32(o[optDirCount:]); n > dirSecurity && len(o) >= optDirs+8*(dirSecurity+1) {
		m.Signed = binary.LittleEndian.Uint64(o[optDirs+8*dirSecurity:]) != 0
	}
	return nil
}

func (m *Image) parseSections(n int, size int64) error {
	for i := range n {
		e := m.b[m.table+i*sectionSize:][:sectionSize]
		s := Section{
			Name:           strings.TrimRight(string(e[:8]), "\x00"),
			VirtualSize:    binary.LittleEndian.Uint32(e[8:]),
			VirtualAddress: binary.LittleEndian.Uint32(e[12:]),
			RawSize:        binary.LittleEndian.Uint32(e[16:]),
			RawOffset:      binary.LittleEndian.Uint32(e[20:]),
			Flags:          binary.LittleEndian.Uint32(e[36:]),
		}
		if uint64(s.RawOffset)+uint64(s.RawSize) > uint64(size) {
			return fmt.Errorf("section %q ends beyond the file", s.Name)
		}
		m.Sections = append(m.Sections, s)
	}
	return nil
}

// Data returns the content of a section: its raw data without padding. It is
// part of the bytes that were parsed.
func (m *Image) Data(s Section) []byte {
	return m.b[s.RawOffset:][:min(s.RawSize, s.VirtualSize)]
}

// checksum computes the PE checksum of an image whose checksum field is at off,
// within the first part: the 16-bit ones' complement sum of everything but that
// field, plus the length. All parts but the last have an even length.
func checksum(f *File, off int) (uint32, error) {
	var sum uint64
	buf := make([]byte, 64<<10)
	for at := int64(0); at < f.size; {
		n, err := f.ReadAt(buf, at)
		if n == 0 {
			return 0, err
		}
		for i := 0; i < n; i += 2 {
			if at+int64(i) == int64(off) || at+int64(i) == int64(off)+2 {
				continue
			}
			v := uint64(buf[i])
			if i+1 < n {
				v |= uint64(buf[i+1]) << 8
			}
			sum += v
		}
		at += int64(n)
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return uint32(sum) + uint32(f.size), nil
}
