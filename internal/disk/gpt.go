// Package disk reads and writes what disks are made of: GUID partition tables,
// FAT file systems, sparse raw files and qcow2 images. Writers are
// deterministic: the same input gives the same bytes.
package disk

import (
	"errors"
	"fmt"
	"unicode/utf16"
)

// SectorSize is the logical block size in bytes that partition tables count
// in. Disks with 4096-byte logical blocks are not supported.
const SectorSize = 512

// Align is what partitions begin and end on, in bytes. Everything before the
// first partition is the table's.
const Align = 1 << 20

const (
	entryCount    = 128
	entrySize     = 128
	entrySectors  = entryCount * entrySize / SectorSize
	alignSectors  = Align / SectorSize
	maxNameUnits  = 36
	tailSectors   = 2*entrySectors + 1 // both backup entry arrays and the header
	gptHeaderSize = 92

	// Each header has two places for its entries and points to one of them:
	// a table is changed by writing the other place and then one sector.
	primaryA = 2
	primaryB = primaryA + entrySectors
)

// Partition is one entry of a table.
type Partition struct {
	Type        GUID
	GUID        GUID
	First, Last uint64 // sectors, both included
	Attributes  uint64
	Name        string // up to 36 UTF-16 units
}

// Offset returns where the partition begins, in bytes.
func (p Partition) Offset() int64 { return int64(p.First) * SectorSize }

// Size returns the partition's length in bytes.
func (p Partition) Size() int64 { return int64(p.Last-p.First+1) * SectorSize }

// GPT is a GUID partition table (UEFI 2.10, chapter 5.3).
type GPT struct {
	Disk       GUID
	Size       int64       // of the disk in bytes, a multiple of SectorSize
	Partitions []Partition // index i is partition i+1; a zero Type is an unused entry

	// Recovered says that ReadGPT found the primary table damaged and read
	// the backup; Write repairs it.
	Recovered bool

	// Where ReadGPT found the entries of the valid headers, in sectors, 0 for
	// none: Write leaves those alone.
	primary, backup uint64
	protected       bool // ReadGPT found a protective MBR, whatever size of disk it tells
}

// sectors returns the number of sectors of the disk.
func (g *GPT) sectors() uint64 { return uint64(g.Size) / SectorSize }

// LastUsable returns the last sector that a partition may hold. The first place
// of the backup's entries follows it, as firmware that repairs a table expects.
func (g *GPT) LastUsable() uint64 { return g.sectors() - tailSectors - 1 }

// places returns where the entries of the primary and the backup header go
// next: where those of the valid headers are not.
func (g *GPT) places() (primary, backup uint64) {
	primary, backup = primaryA, g.LastUsable()+1
	if g.primary == primary {
		primary = primaryB
	}
	if g.backup == backup {
		backup += entrySectors
	}
	return primary, backup
}

// MinSize returns the smallest disk in bytes that holds partitions of the given
// sizes, each aligned, and both tables.
func MinSize(sizes ...int64) int64 {
	n := int64(Align)
	for _, s := range sizes {
		n += roundUp(s, Align)
	}
	return n + Align
}

// Add appends a partition of size bytes, rounded up to Align, after the last
// one; a size of 0 takes all aligned space that is left. It fails when the disk
// is too small, naming what is missing.
func (g *GPT) Add(p Partition, size int64) (Partition, error) {
	if len(g.Partitions) >= entryCount {
		return p, fmt.Errorf("partition %q: the table is full", p.Name)
	}
	p.First = alignSectors
	for _, q := range g.Partitions {
		if q.Type != (GUID{}) {
			p.First = max(p.First, uint64(roundUp(int64(q.Last)+1, alignSectors)))
		}
	}
	end := (g.LastUsable() + 1) / alignSectors * alignSectors // first sector that is too much
	if g.Size < MinSize() || p.First >= end {
		return p, fmt.Errorf("partition %q: no space left on a disk of %d bytes", p.Name, g.Size)
	}
	want := uint64(roundUp(size, Align)) / SectorSize
	if size == 0 {
		want = end - p.First
	}
	if want > end-p.First {
		return p, fmt.Errorf("partition %q of %d bytes: the disk of %d bytes has %d left",
			p.Name, size, g.Size, (end-p.First)*SectorSize)
	}
	p.Last = p.First + want - 1
	if err := g.checkPartition(p); err != nil {
		return p, err
	}
	g.Partitions = append(g.Partitions, p)
	return p, nil
}

// Grow tells the table that the disk has become larger: the backup moves to
// the new end when the table is written. Partitions stay as they are.
func (g *GPT) Grow(size int64) error {
	if size < g.Size || size%SectorSize != 0 {
		return fmt.Errorf("growing a disk of %d bytes to %d", g.Size, size)
	}
	g.Size = size
	return nil
}

// Find returns the partition of that name.
func (g *GPT) Find(name string) (Partition, bool) {
	for _, p := range g.Partitions {
		if p.Name == name && p.Type != (GUID{}) {
			return p, true
		}
	}
	return Partition{}, false
}

func (g *GPT) checkPartition(p Partition) error {
	switch {
	case p.Type == GUID{} || p.GUID == GUID{}:
		return fmt.Errorf("partition %q has no type or no GUID", p.Name)
	case len(utf16.Encode([]rune(p.Name))) > maxNameUnits:
		return fmt.Errorf("partition name %q is longer than %d UTF-16 units", p.Name, maxNameUnits)
	case p.First > p.Last || p.First < primaryB+entrySectors || p.Last > g.LastUsable():
		return fmt.Errorf("partition %q: sectors %d to %d are not on the disk", p.Name, p.First, p.Last)
	}
	for _, q := range g.Partitions {
		if q.Type != (GUID{}) && p.First <= q.Last && q.First <= p.Last {
			return fmt.Errorf("partitions %q and %q overlap", p.Name, q.Name)
		}
	}
	return nil
}

// check verifies the whole table.
func (g *GPT) check() error {
	if g.Size < MinSize() || g.Size%SectorSize != 0 {
		return fmt.Errorf("disk of %d bytes: too small, or no multiple of %d", g.Size, SectorSize)
	}
	if len(g.Partitions) > entryCount {
		return errors.New("too many partitions")
	}
	seen := &GPT{Size: g.Size}
	for _, p := range g.Partitions {
		if p.Type == (GUID{}) {
			continue
		}
		if err := seen.checkPartition(p); err != nil {
			return err
		}
		seen.Partitions = append(seen.Partitions, p)
	}
	return nil
}

func roundUp(n, a int64) int64 { return (n + a - 1) / a * a }
