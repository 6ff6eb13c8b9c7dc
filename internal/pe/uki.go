package pe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Profile is one way to start a UKI. The boot loader shows and selects it by
// its ID, as "name.efi@ID".
type Profile struct {
	ID      string
	Title   string
	Command string // kernel command line
}

// Options are the parts of a UKI.
type Options struct {
	OSRelease string  // os-release(5); the boot loader needs ID, VERSION_ID and PRETTY_NAME or NAME
	Release   string  // the kernel's, as uname -r prints it
	Command   string  // command line when there are no profiles
	Kernel    Content // a PE image itself, as Linux with CONFIG_EFI_STUB
	Initrd    Content
	Profiles  []Profile // the first is the default
}

// part is a section to be appended.
type part struct {
	name  string
	data  Content
	flags uint32
}

// maxHeaders is how much of a kernel is read for its headers, in bytes.
const maxHeaders = 64 << 10

// UKI appends the sections of o to the systemd stub and returns the unified
// kernel image. Sections before the first .profile are shared by all profiles;
// a profile's own .cmdline stands after its .profile (systemd-stub(7), since
// systemd 257). The .sbat section stays the stub's. When the stub's headers
// have no space for the section table, the raw data of all its sections moves
// up by a multiple of the file alignment; it never moves in memory.
//
// The image reads kernel and initrd where they are; only the stub is in memory.
// The same input gives the same bytes.
func UKI(stub []byte, o Options) (*File, error) {
	m, err := Parse(stub)
	if err != nil {
		return nil, fmt.Errorf("the UEFI stub: %w", err)
	}
	if o.Kernel == nil {
		return nil, errors.New("no kernel")
	}
	head := make([]byte, min(o.Kernel.Size(), maxHeaders))
	if _, err := io.ReadFull(io.NewSectionReader(o.Kernel, 0, o.Kernel.Size()), head); err != nil {
		return nil, fmt.Errorf("the kernel: %w", err)
	}
	k, err := ParseHead(head, o.Kernel.Size())
	if err != nil {
		return nil, fmt.Errorf("the kernel: %w", err)
	}
	if err := o.check(m, k); err != nil {
		return nil, err
	}
	parts := o.parts()
	out, m, err := makeRoom(m, len(parts))
	if err != nil {
		return nil, err
	}
	if !k.NXCompat {
		// Firmware that enforces NX loads both with the outer image's flag.
		dll := out[m.opt+optDLL:]
		binary.LittleEndian.PutUint16(dll, binary.LittleEndian.Uint16(dll)&^nxCompat)
	}
	return appendParts(out, m, parts)
}

func (o Options) check(stub, kernel *Image) error {
	switch {
	case stub.Subsystem != subsystemEFI:
		return fmt.Errorf("the UEFI stub is for subsystem %d, not an EFI application", stub.Subsystem)
	case stub.Signed:
		return errors.New("the UEFI stub is signed; its signature would not hold")
	case !slices.ContainsFunc(stub.Sections, func(s Section) bool { return s.Name == ".sdmagic" }):
		return errors.New("the UEFI stub has no .sdmagic section: not systemd's")
	case stub.Machine != kernel.Machine:
		return fmt.Errorf("the UEFI stub is for machine %#x, the kernel for %#x", stub.Machine, kernel.Machine)
	case len(o.Profiles) == 0 && o.Command == "":
		return errors.New("neither profiles nor a command line")
	case len(o.Profiles) > 0 && o.Command != "":
		return errors.New("both profiles and a command line of their base")
	}
	seen := map[string]bool{}
	for _, p := range o.Profiles {
		switch {
		case p.ID == "" || strings.ContainsFunc(p.ID, notIDRune):
			return fmt.Errorf("profile ID %q: want letters, digits, dashes, dots and underscores", p.ID)
		case strings.ContainsAny(p.Title+p.Command, "\n\x00") || strings.Contains(p.Title, `"`):
			return fmt.Errorf("profile %s: title or command line contains a line break, NUL or quote", p.ID)
		case seen[p.ID]:
			return fmt.Errorf("profile %s stands twice", p.ID)
		}
		seen[p.ID] = true
	}
	return nil
}

func notIDRune(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.')
}

// parts lists the sections in the order of ukify, but the profiles' in between.
func (o Options) parts() []part {
	base := []part{
		{".osrel", strings.NewReader(o.OSRelease), initData | memRead},
		{".cmdline", strings.NewReader(o.Command), initData | memRead},
		{".uname", strings.NewReader(o.Release), initData | memRead},
		{".linux", o.Kernel, code | memRead},
		{".initrd", o.Initrd, initData | memRead},
	}
	base = slices.DeleteFunc(base, func(p part) bool { return p.data == nil || p.data.Size() == 0 })
	for _, p := range o.Profiles {
		head := "ID=" + p.ID + "\n"
		if p.Title != "" {
			head += `TITLE="` + p.Title + "\"\n"
		}
		base = append(base, part{".profile", strings.NewReader(head), initData | memRead},
			part{".cmdline", strings.NewReader(p.Command), initData | memRead})
	}
	return base
}

// makeRoom copies the image such that n more headers fit into its section
// table, and parses the copy.
func makeRoom(m *Image, n int) ([]byte, *Image, error) {
	if len(m.Sections) == 0 {
		return nil, nil, errors.New("the UEFI stub has no sections")
	}
	if all := len(m.Sections) + n; all > MaxSections {
		return nil, nil, fmt.Errorf("a UKI of %d sections, more than %d: too many configurations", all, MaxSections)
	}
	need := alignUp(uint64(m.table+(len(m.Sections)+n)*sectionSize), m.FileAlign)
	first := uint64(m.Sections[0].RawOffset)
	for _, s := range m.Sections {
		if s.RawSize != 0 {
			first = min(first, uint64(s.RawOffset))
		}
		if need > uint64(s.VirtualAddress) {
			return nil, nil, fmt.Errorf("headers of %d bytes do not fit before section %s at %#x: too many configurations",
				need, s.Name, s.VirtualAddress)
		}
	}
	out := slices.Clone(m.b)
	if need > first {
		shift := need - first
		out = slices.Concat(m.b[:first], make([]byte, shift), m.b[first:])
		for i, s := range m.Sections {
			if s.RawSize != 0 {
				binary.LittleEndian.PutUint32(out[m.table+i*sectionSize+20:], s.RawOffset+uint32(shift))
			}
		}
	}
	end := m.table + len(m.Sections)*sectionSize
	clear(out[end : end+n*sectionSize])
	binary.LittleEndian.PutUint32(out[m.opt+optSizeOfHeader:], max(m.SizeOfHeaders, uint32(need)))
	moved, err := Parse(out)
	return out, moved, err
}

// appendParts places headers and raw data of the parts behind out, then sizes
// and checksum.
func appendParts(out []byte, m *Image, parts []part) (*File, error) {
	var end uint64 // of the image in memory
	for _, s := range m.Sections {
		end = max(end, uint64(s.VirtualAddress)+uint64(s.VirtualSize))
	}
	out = pad(out, m.FileAlign)
	f := &File{}
	f.add(bytes.NewReader(out))
	grown := uint64(0)
	head := m.table + len(m.Sections)*sectionSize
	for i, p := range parts {
		size := uint64(p.data.Size())
		va := alignUp(end, m.SectionAlign)
		end = va + size
		if end > MaxSize || uint64(f.size)+size > MaxSize {
			return nil, fmt.Errorf("section %s of %d bytes makes the UKI larger than %d bytes", p.name, size, MaxSize)
		}
		h := out[head+i*sectionSize:][:sectionSize]
		copy(h, p.name)
		binary.LittleEndian.PutUint32(h[8:], uint32(size))
		binary.LittleEndian.PutUint32(h[12:], uint32(va))
		binary.LittleEndian.PutUint32(h[16:], uint32(alignUp(size, m.FileAlign)))
		binary.LittleEndian.PutUint32(h[20:], uint32(f.size))
		binary.LittleEndian.PutUint32(h[36:], p.flags)
		f.add(p.data)
		f.add(bytes.NewReader(make([]byte, alignUp(size, m.FileAlign)-size)))
		grown += size
	}
	binary.LittleEndian.PutUint16(out[m.coff+2:], uint16(len(m.Sections)+len(parts)))
	opt := out[m.opt:]
	binary.LittleEndian.PutUint32(opt[optInitData:], binary.LittleEndian.Uint32(opt[optInitData:])+uint32(grown))
	binary.LittleEndian.PutUint32(opt[optSizeOfImage:], uint32(alignUp(end, m.SectionAlign)))
	sum, err := checksum(f, m.opt+optChecksum)
	if err != nil {
		return nil, err
	}
	binary.LittleEndian.PutUint32(opt[optChecksum:], sum)
	return f, nil
}

func alignUp(n uint64, a uint32) uint64 {
	return (n + uint64(a) - 1) &^ (uint64(a) - 1)
}

func pad(b []byte, a uint32) []byte {
	return append(b, make([]byte, alignUp(uint64(len(b)), a)-uint64(len(b)))...)
}
