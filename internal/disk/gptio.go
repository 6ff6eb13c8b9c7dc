package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"unicode/utf16"
)

const gptSignature = "EFI PART"

// Write writes the table so that a cut at any write leaves the old or the new
// one, whole: entries go to the places that no valid header points to, then
// each header is one sector. It may run twice. When w has a method Sync, that
// is called between the steps; without one the order is not held.
//
// entries of both headers, sync, backup header in the last sector, sync, header
// in LBA 1, sync. The protective MBR is written first when there is none, and
// never again: firmware finds no table without it, and there is no second one.
//
// What is in force is the table that LBA 1 points to, and when that sector is
// torn, the new one, by the backup.
func (g *GPT) Write(w io.WriterAt) error {
	if err := g.check(); err != nil {
		return fmt.Errorf("writing a partition table: %w", err)
	}
	entries := g.encodeEntries()
	last := g.sectors() - 1
	primary, backup := g.places()
	steps := []gptStep{{"protective MBR", 0, g.encodeMBR(), false}}
	if g.protected {
		steps = nil
	}
	steps = append(steps,
		gptStep{"backup entries", backup, entries, false},
		gptStep{"entries", primary, entries, true},
		gptStep{"backup header", last, g.encodeHeader(entries, last, 1, backup), true},
		gptStep{"header", 1, g.encodeHeader(entries, 1, last, primary), true})
	for _, s := range steps {
		if err := s.do(w); err != nil {
			return fmt.Errorf("writing a partition table: %w", err)
		}
	}
	g.primary, g.backup, g.protected, g.Recovered = primary, backup, true, false
	return nil
}

// gptStep is one write of a table.
type gptStep struct {
	what   string
	sector uint64
	data   []byte
	sync   bool // after it
}

func (s gptStep) do(w io.WriterAt) error {
	if _, err := w.WriteAt(s.data, int64(s.sector)*SectorSize); err != nil {
		return fmt.Errorf("%s: %w", s.what, err)
	}
	if f, ok := w.(interface{ Sync() error }); ok && s.sync {
		if err := f.Sync(); err != nil {
			return fmt.Errorf("syncing %s: %w", s.what, err)
		}
	}
	return nil
}

func (g *GPT) encodeEntries() []byte {
	b := make([]byte, entryCount*entrySize)
	for i, p := range g.Partitions {
		if p.Type == (GUID{}) {
			continue
		}
		e := b[i*entrySize:]
		copy(e, p.Type[:])
		copy(e[16:], p.GUID[:])
		binary.LittleEndian.PutUint64(e[32:], p.First)
		binary.LittleEndian.PutUint64(e[40:], p.Last)
		binary.LittleEndian.PutUint64(e[48:], p.Attributes)
		for j, u := range utf16.Encode([]rune(p.Name)) {
			binary.LittleEndian.PutUint16(e[56+2*j:], u)
		}
	}
	return b
}

func (g *GPT) encodeHeader(entries []byte, at, other, entriesAt uint64) []byte {
	b := make([]byte, SectorSize)
	copy(b, gptSignature)
	le := binary.LittleEndian
	le.PutUint32(b[8:], 0x00010000)
	le.PutUint32(b[12:], gptHeaderSize)
	le.PutUint64(b[24:], at)
	le.PutUint64(b[32:], other)
	le.PutUint64(b[40:], alignSectors)
	le.PutUint64(b[48:], g.LastUsable())
	copy(b[56:], g.Disk[:])
	le.PutUint64(b[72:], entriesAt)
	le.PutUint32(b[80:], entryCount)
	le.PutUint32(b[84:], entrySize)
	le.PutUint32(b[88:], crc32.ChecksumIEEE(entries))
	le.PutUint32(b[16:], crc32.ChecksumIEEE(b[:gptHeaderSize]))
	return b
}

// encodeMBR makes the protective MBR: one partition of type 0xEE over the disk.
func (g *GPT) encodeMBR() []byte {
	b := make([]byte, SectorSize)
	p := b[446:]
	copy(p[1:], []byte{0x00, 0x02, 0x00, 0xee, 0xff, 0xff, 0xff}) // CHS first, type, CHS last
	binary.LittleEndian.PutUint32(p[8:], 1)
	binary.LittleEndian.PutUint32(p[12:], uint32(min(g.sectors()-1, 0xffffffff)))
	b[510], b[511] = 0x55, 0xaa
	return b
}

// ReadGPT reads the table of a disk of diskSize bytes: the primary one, or the
// backup in the last sector when the primary is damaged. Checksums, positions
// and overlaps are checked. The table's Size is diskSize, also when it was
// made for a smaller disk; writing it moves the backup.
func ReadGPT(r io.ReaderAt, diskSize int64) (*GPT, error) {
	if diskSize < MinSize() {
		return nil, fmt.Errorf("reading a partition table: a disk of %d bytes is too small", diskSize)
	}
	diskSize -= diskSize % SectorSize
	mbr := make([]byte, SectorSize)
	if err := readFull(r, mbr, 0); err != nil {
		return nil, fmt.Errorf("reading a partition table: %w", err)
	}
	g, err := readTable(r, diskSize, 1)
	backup, errBackup := readTable(r, diskSize, uint64(diskSize)/SectorSize-1)
	switch {
	case err == nil && errBackup == nil:
		g.backup = backup.backup
	case err == nil:
	case errBackup == nil:
		g = backup
		g.Recovered = true
	default:
		return nil, fmt.Errorf("reading a partition table: %w; backup: %w", err, errBackup)
	}
	g.protected = isProtective(mbr)
	return g, nil
}

// isProtective says whether firmware looks for a GPT behind this MBR: one entry
// of type 0xEE begins in sector 1 (UEFI 2.10, 5.2.3).
func isProtective(mbr []byte) bool {
	for p := mbr[446:510]; len(p) > 0; p = p[16:] {
		if p[4] == 0xee && binary.LittleEndian.Uint32(p[8:]) == 1 {
			return mbr[510] == 0x55 && mbr[511] == 0xaa
		}
	}
	return false
}

func readTable(r io.ReaderAt, diskSize int64, at uint64) (*GPT, error) {
	h := make([]byte, SectorSize)
	if err := readFull(r, h, int64(at)*SectorSize); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	entriesAt, n, size := le.Uint64(h[72:]), le.Uint32(h[80:]), le.Uint32(h[84:])
	switch {
	case string(h[:8]) != gptSignature || le.Uint32(h[8:]) != 0x00010000 || le.Uint32(h[12:]) != gptHeaderSize:
		return nil, errors.New("no GPT header")
	case headerSum(h) != le.Uint32(h[16:]):
		return nil, errors.New("wrong checksum of the header")
	case le.Uint64(h[24:]) != at:
		return nil, errors.New("header of another sector")
	case n > entryCount || size != entrySize:
		return nil, fmt.Errorf("%d entries of %d bytes; want up to %d of %d", n, size, entryCount, entrySize)
	case entriesAt < 2 || entriesAt > uint64(diskSize)/SectorSize:
		return nil, errors.New("entries are not on the disk")
	}
	entries := make([]byte, n*size)
	if err := readFull(r, entries, int64(entriesAt)*SectorSize); err != nil {
		return nil, err
	}
	if crc32.ChecksumIEEE(entries) != le.Uint32(h[88:]) {
		return nil, errors.New("wrong checksum of the entries")
	}
	g := &GPT{Disk: GUID(h[56:72]), Size: diskSize, Partitions: decodeEntries(entries)}
	if at == 1 {
		g.primary = entriesAt
	} else {
		g.backup = entriesAt
	}
	return g, g.check()
}

func headerSum(h []byte) uint32 {
	c := append([]byte(nil), h[:gptHeaderSize]...)
	clear(c[16:20])
	return crc32.ChecksumIEEE(c)
}

// decodeEntries drops the unused entries at the end.
func decodeEntries(b []byte) []Partition {
	var all []Partition
	used := 0
	for ; len(b) >= entrySize; b = b[entrySize:] {
		p := Partition{Type: GUID(b[:16])}
		if p.Type != (GUID{}) {
			p.GUID = GUID(b[16:32])
			p.First = binary.LittleEndian.Uint64(b[32:])
			p.Last = binary.LittleEndian.Uint64(b[40:])
			p.Attributes = binary.LittleEndian.Uint64(b[48:])
			p.Name = decodeUTF16(b[56:entrySize])
			used = len(all) + 1
		}
		all = append(all, p)
	}
	return all[:used]
}

// decodeUTF16 reads little-endian UTF-16 up to a NUL.
func decodeUTF16(b []byte) string {
	var units []uint16
	for ; len(b) >= 2; b = b[2:] {
		u := binary.LittleEndian.Uint16(b)
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	return string(utf16.Decode(units))
}

// readFull reads all of b at off; a short read is io.ErrUnexpectedEOF.
func readFull(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("reading %d bytes at %d: %w", len(b), off, err)
}
