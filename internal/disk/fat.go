package disk

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"time"
)

// FAT describes a FAT file system with all its files: FAT32 where it has
// enough clusters, FAT16 below (about 32 MiB).
//
// Source: Microsoft, "FAT: General Overview of On-Disk Format", 1.03.
type FAT struct {
	Size  int64  // of the partition in bytes
	Label string // up to 11 upper-case letters, digits, spaces
	ID    uint32 // serial number of the volume
	Time  int64  // seconds since 1970, UTC; times before 1980 become 1980
	Files []FATFile
}

// FATFile is one file of a FAT file system.
type FATFile struct {
	Path string // slash-separated, without a slash in front; case is kept, but not distinguished
	Size int64  // bytes
	Data io.ReaderAt
}

const (
	dirEntrySize   = 32
	fat16RootSlots = 512
	fatCopies      = 2
	fat32MinCount  = 65525 // clusters: fewer are FAT16
	fat16MinCount  = 4085  // fewer are FAT12
	countMargin    = 16    // the specification's advice to stay away from the borders
	firstCluster   = 2

	attrVolume  = 0x08
	attrDir     = 0x10
	attrArchive = 0x20
	attrLFN     = 0x0f
)

// geometry is where the parts of a FAT file system are.
type geometry struct {
	bits       int // 16 or 32
	perCluster int64
	reserved   int64 // sectors before the first FAT
	fatSectors int64 // of one copy
	rootSlots  int64 // of FAT16
	clusters   int64
	sectors    int64
}

func (g geometry) clusterSize() int64 { return g.perCluster * SectorSize }

// dataStart returns the first sector of cluster 2.
func (g geometry) dataStart() int64 {
	return g.reserved + fatCopies*g.fatSectors + g.rootSlots*dirEntrySize/SectorSize
}

// offset returns where a cluster begins, in bytes.
func (g geometry) offset(cluster uint32) int64 {
	return (g.dataStart() + int64(cluster-firstCluster)*g.perCluster) * SectorSize
}

// layout chooses the largest clusters up to 4 KiB that make a FAT32, or else
// the smallest that make a FAT16.
func layout(size int64) (geometry, error) {
	for _, per := range []int64{8, 4, 2, 1} {
		if g := newGeometry(32, per, size/SectorSize); g.clusters >= fat32MinCount+countMargin {
			return g, nil
		}
	}
	for _, per := range []int64{1, 2, 4, 8} {
		g := newGeometry(16, per, size/SectorSize)
		if g.clusters >= fat16MinCount+countMargin && g.clusters < fat32MinCount-countMargin {
			return g, nil
		}
	}
	return geometry{}, fmt.Errorf("%d bytes are too small for a FAT16 file system", size)
}

func newGeometry(bits int, per, sectors int64) geometry {
	g := geometry{bits: bits, perCluster: per, sectors: sectors, reserved: 32}
	if bits == 16 {
		g.reserved, g.rootSlots = 1, fat16RootSlots
	}
	// As many entries as if the tables took no space: a few sectors too many.
	g.fatSectors = ((sectors/per+firstCluster)*int64(bits/8) + SectorSize - 1) / SectorSize
	// Clusters begin on 4 KiB boundaries of the partition.
	if off := g.dataStart() % 8; off != 0 {
		g.reserved += 8 - off
	}
	g.clusters = max(0, (sectors-g.dataStart())/per)
	return g
}

// Write writes the whole file system to w, from 0 to at most Size: tables and
// directories with all their zeros, and the clusters in use. Free clusters are
// not written. The error for files that do not fit says how much is missing
// and which file is the largest.
func (f *FAT) Write(w io.WriterAt) error {
	if err := f.write(w); err != nil {
		return fmt.Errorf("making FAT file system %s: %w", f.Label, err)
	}
	return nil
}

func (f *FAT) write(w io.WriterAt) error {
	g, err := layout(f.Size)
	if err != nil {
		return err
	}
	label, err := fatLabel(f.Label)
	if err != nil {
		return err
	}
	root, err := f.tree()
	if err != nil {
		return err
	}
	used := root.allocate(g)
	if used > g.clusters {
		return f.tooLarge(g, used)
	}
	if err := f.writeBoot(w, g, label, used); err != nil {
		return err
	}
	table := make([]byte, g.fatSectors*SectorSize)
	g.put(table, 0, 0x0ffffff8)
	g.put(table, 1, 0x0fffffff)
	root.chain(g, table)
	for i := range int64(fatCopies) {
		if _, err := w.WriteAt(table, (g.reserved+i*g.fatSectors)*SectorSize); err != nil {
			return err
		}
	}
	return root.write(w, g, label, f.Time)
}

func (f *FAT) tooLarge(g geometry, used int64) error {
	largest := FATFile{}
	for _, file := range f.Files {
		if file.Size > largest.Size {
			largest = file
		}
	}
	return fmt.Errorf("%d files need %d bytes, the partition of %d bytes has %d; the largest is %s with %d bytes",
		len(f.Files), used*g.clusterSize(), f.Size, g.clusters*g.clusterSize(), largest.Path, largest.Size)
}

// put sets entry i of a table.
func (g geometry) put(table []byte, i int64, v uint32) {
	if g.bits == 16 {
		binary.LittleEndian.PutUint16(table[2*i:], uint16(v))
		return
	}
	binary.LittleEndian.PutUint32(table[4*i:], v)
}

func fatLabel(s string) ([11]byte, error) {
	var l [11]byte
	if s == "" || len(s) > len(l) || strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == ' ' || r == '-' || r == '_')
	}) {
		return l, fmt.Errorf("volume label %q: want 1 to 11 upper-case letters, digits, spaces, dashes", s)
	}
	copy(l[:], s+strings.Repeat(" ", len(l)-len(s)))
	return l, nil
}

// writeBoot writes the reserved sectors: boot sector, and for FAT32 the FSInfo
// sector and copies of both at sector 6.
func (f *FAT) writeBoot(w io.WriterAt, g geometry, label [11]byte, used int64) error {
	area := make([]byte, g.reserved*SectorSize)
	boot := area[:SectorSize]
	f.encodeBoot(boot, g, label)
	if g.bits == 32 {
		info := area[SectorSize : 2*SectorSize]
		le := binary.LittleEndian
		le.PutUint32(info, 0x41615252)
		le.PutUint32(info[484:], 0x61417272)
		le.PutUint32(info[488:], uint32(g.clusters-used))
		le.PutUint32(info[492:], uint32(firstCluster+used))
		le.PutUint32(info[508:], 0xaa550000)
		copy(area[6*SectorSize:], area[:2*SectorSize])
	}
	_, err := w.WriteAt(area, 0)
	return err
}

func (f *FAT) encodeBoot(b []byte, g geometry, label [11]byte) {
	le := binary.LittleEndian
	copy(b, "\xeb\x58\x90instar  ")
	le.PutUint16(b[11:], SectorSize)
	b[13] = byte(g.perCluster)
	le.PutUint16(b[14:], uint16(g.reserved))
	b[16] = fatCopies
	le.PutUint16(b[17:], uint16(g.rootSlots))
	b[21] = 0xf8
	le.PutUint16(b[24:], 32) // sectors a track and heads, for form's sake
	le.PutUint16(b[26:], 64)
	if g.bits == 16 && g.sectors < 1<<16 {
		le.PutUint16(b[19:], uint16(g.sectors))
	} else {
		le.PutUint32(b[32:], uint32(g.sectors))
	}
	ext, kind := b[36:], "FAT16   "
	if g.bits == 16 {
		b[1] = 0x3c
		le.PutUint16(b[22:], uint16(g.fatSectors))
	} else {
		le.PutUint32(b[36:], uint32(g.fatSectors))
		le.PutUint32(b[44:], firstCluster)
		le.PutUint16(b[48:], 1)
		le.PutUint16(b[50:], 6)
		ext, kind = b[64:], "FAT32   "
	}
	ext[0], ext[2] = 0x80, 0x29
	le.PutUint32(ext[3:], f.ID)
	copy(ext[7:], label[:])
	copy(ext[18:], kind)
	b[510], b[511] = 0x55, 0xaa
}

// fatTime returns date and time as directory entries hold them, in steps of 2 s.
func fatTime(sec int64) (date, clock uint16) {
	t := time.Unix(sec, 0).UTC()
	if t.Year() < 1980 {
		t = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	if t.Year() > 2107 {
		t = time.Date(2107, 12, 31, 23, 59, 58, 0, time.UTC)
	}
	date = uint16(t.Year()-1980)<<9 | uint16(t.Month())<<5 | uint16(t.Day())
	clock = uint16(t.Hour())<<11 | uint16(t.Minute())<<5 | uint16(t.Second()/2)
	return date, clock
}
