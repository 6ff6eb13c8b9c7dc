package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"unicode/utf16"
)

// Limits of the file systems ReadFAT accepts.
const (
	maxFATClusters = 1 << 22
	maxFATNodes    = 1 << 16
	maxFATDepth    = 32
)

// ReadFAT reads a FAT16 or FAT32 file system of size bytes: its label, serial
// number and all files with their long names, in the order of the
// directories. The files' Data read from r. Time is not read. Chains that
// loop, leave the volume or share clusters are errors, as are tables that
// differ.
func ReadFAT(r io.ReaderAt, size int64) (*FAT, error) {
	f, err := readFAT(r, size)
	if err != nil {
		return nil, fmt.Errorf("reading a FAT file system: %w", err)
	}
	return f, nil
}

func readFAT(r io.ReaderAt, size int64) (*FAT, error) {
	boot := make([]byte, SectorSize)
	if err := readFull(r, boot, 0); err != nil {
		return nil, err
	}
	v, err := decodeBoot(boot, size)
	if err != nil {
		return nil, err
	}
	v.r = r
	v.f.Size = size
	if err := v.readTables(); err != nil {
		return nil, err
	}
	var root []byte
	if v.g.bits == 16 {
		root = make([]byte, v.g.rootSlots*dirEntrySize)
		err = readFull(r, root, (v.g.reserved+fatCopies*v.g.fatSectors)*SectorSize)
	} else {
		root, err = v.readDir(v.root)
	}
	if err != nil {
		return nil, fmt.Errorf("root directory: %w", err)
	}
	return &v.f, v.walk(".", root, 0)
}

// volume is the state of one ReadFAT.
type volume struct {
	r     io.ReaderAt
	g     geometry
	f     FAT
	root  uint32
	table []byte
	seen  []bool // clusters already part of a chain
	nodes int
}

func decodeBoot(b []byte, size int64) (*volume, error) {
	le := binary.LittleEndian
	per := int64(b[13])
	v := &volume{g: geometry{bits: 16, perCluster: per, reserved: int64(le.Uint16(b[14:])),
		rootSlots: int64(le.Uint16(b[17:])), fatSectors: int64(le.Uint16(b[22:])), sectors: int64(le.Uint16(b[19:]))}}
	g := &v.g
	if g.sectors == 0 {
		g.sectors = int64(le.Uint32(b[32:]))
	}
	ext := b[36:]
	if g.fatSectors == 0 {
		g.bits, g.fatSectors, v.root, ext = 32, int64(le.Uint32(b[36:])), le.Uint32(b[44:]), b[64:]
	}
	switch {
	case b[510] != 0x55 || b[511] != 0xaa:
		return nil, errors.New("no boot signature")
	case le.Uint16(b[11:]) != SectorSize || per == 0 || per&(per-1) != 0 || per > 128:
		return nil, fmt.Errorf("sectors of %d bytes, %d a cluster", le.Uint16(b[11:]), per)
	case g.reserved == 0 || b[16] != fatCopies || g.rootSlots%16 != 0 || (g.rootSlots == 0) != (g.bits == 32):
		return nil, errors.New("boot sector makes no sense")
	case g.sectors*SectorSize > size || g.dataStart() >= g.sectors:
		return nil, fmt.Errorf("%d sectors do not fit the partition of %d bytes", g.sectors, size)
	}
	g.clusters = (g.sectors - g.dataStart()) / per
	if g.bits == 16 && (g.clusters < fat16MinCount || g.clusters >= fat32MinCount) || g.clusters > maxFATClusters ||
		(g.clusters+firstCluster)*int64(g.bits/8) > g.fatSectors*SectorSize {
		return nil, fmt.Errorf("%d clusters do not fit a FAT%d", g.clusters, g.bits)
	}
	v.f.ID = le.Uint32(ext[3:])
	v.f.Label = strings.TrimRight(string(ext[7:18]), " ")
	return v, nil
}

func (v *volume) readTables() error {
	n := (v.g.clusters + firstCluster) * int64(v.g.bits/8)
	var copies [fatCopies][]byte
	for i := range copies {
		copies[i] = make([]byte, n)
		if err := readFull(v.r, copies[i], (v.g.reserved+int64(i)*v.g.fatSectors)*SectorSize); err != nil {
			return err
		}
	}
	if !bytes.Equal(copies[0], copies[1]) {
		return errors.New("the two allocation tables differ")
	}
	v.table, v.seen = copies[0], make([]bool, v.g.clusters+firstCluster)
	return nil
}

// next returns the entry of a cluster; end reports the end of the chain.
func (v *volume) next(c uint32) (n uint32, end bool) {
	if v.g.bits == 16 {
		n = uint32(binary.LittleEndian.Uint16(v.table[2*c:]))
		return n, n >= 0xfff8
	}
	n = binary.LittleEndian.Uint32(v.table[4*c:]) & 0x0fffffff
	return n, n >= 0x0ffffff8
}

// chain returns the clusters from first on and marks them as seen.
func (v *volume) chain(first uint32) ([]uint32, error) {
	var all []uint32
	for c, end := first, false; !end; c, end = v.next(c) {
		if c < firstCluster || int64(c) >= v.g.clusters+firstCluster {
			return nil, fmt.Errorf("cluster %d is not on the volume", c)
		}
		if v.seen[c] {
			return nil, fmt.Errorf("cluster %d is used twice", c)
		}
		v.seen[c] = true
		all = append(all, c)
	}
	return all, nil
}

func (v *volume) readDir(first uint32) ([]byte, error) {
	clusters, err := v.chain(first)
	if err != nil {
		return nil, err
	}
	size := int64(len(clusters)) * v.g.clusterSize()
	if size > maxFATNodes*dirEntrySize {
		return nil, fmt.Errorf("directory of %d bytes", size)
	}
	b := make([]byte, size)
	return b, readFull(clusterReader{v.r, v.g, clusters, size}, b, 0)
}

// walk collects the files of a directory and of those below.
func (v *volume) walk(dir string, b []byte, depth int) error {
	if depth > maxFATDepth {
		return fmt.Errorf("%s: more than %d directories deep", dir, maxFATDepth)
	}
	var long longName
	for ; len(b) >= dirEntrySize && b[0] != 0; b = b[dirEntrySize:] {
		e := b[:dirEntrySize]
		if e[0] == 0xe5 || e[11]&attrVolume != 0 {
			long.add(e)
			continue
		}
		name := long.take(e)
		if name == "." || name == ".." {
			continue
		}
		if v.nodes++; v.nodes > maxFATNodes {
			return fmt.Errorf("more than %d files and directories", maxFATNodes)
		}
		if strings.ContainsAny(name, "/\x00") || name == "" {
			return fmt.Errorf("%s: name %q", dir, name)
		}
		if err := v.entry(path.Join(dir, name), e, depth); err != nil {
			return fmt.Errorf("%s: %w", path.Join(dir, name), err)
		}
	}
	return nil
}

func (v *volume) entry(p string, e []byte, depth int) error {
	le := binary.LittleEndian
	first, size := uint32(le.Uint16(e[20:]))<<16|uint32(le.Uint16(e[26:])), int64(le.Uint32(e[28:]))
	if e[11]&attrDir != 0 {
		b, err := v.readDir(first)
		if err != nil {
			return err
		}
		return v.walk(p, b, depth+1)
	}
	var clusters []uint32
	if first != 0 {
		var err error
		if clusters, err = v.chain(first); err != nil {
			return err
		}
	}
	if want := (size + v.g.clusterSize() - 1) / v.g.clusterSize(); int64(len(clusters)) != want {
		return fmt.Errorf("%d bytes in %d clusters", size, len(clusters))
	}
	v.f.Files = append(v.f.Files, FATFile{p, size, clusterReader{v.r, v.g, clusters, size}})
	return nil
}

// longName collects the entries of one long name.
type longName struct {
	units []uint16
	sum   byte
	left  int // entries still to come; the last has number 1
}

func (l *longName) add(e []byte) {
	n := int(e[0] & 0x3f)
	switch {
	case e[0] == 0xe5 || e[11] != attrLFN || n == 0 || n > 20:
		*l = longName{}
		return
	case e[0]&0x40 != 0:
		*l = longName{sum: e[13], left: n}
	case l.left != n+1 || e[13] != l.sum:
		*l = longName{}
		return
	}
	l.left = n
	var part []uint16
	for _, off := range longOffsets {
		u := binary.LittleEndian.Uint16(e[off:])
		if u == 0 {
			break
		}
		part = append(part, u)
	}
	l.units = append(part, l.units...)
}

// take returns the name of a short entry: the long one if it belongs to it.
func (l *longName) take(e []byte) string {
	defer func() { *l = longName{} }()
	if l.left == 1 && l.sum == shortSum([11]byte(e[:11])) {
		return string(utf16.Decode(l.units))
	}
	base, ext := strings.TrimRight(string(e[:8]), " "), strings.TrimRight(string(e[8:11]), " ")
	if ext != "" {
		base += "." + ext
	}
	return strings.ToValidUTF8(base, "_")
}

// clusterReader reads a file by its clusters.
type clusterReader struct {
	r        io.ReaderAt
	g        geometry
	clusters []uint32
	size     int64
}

// ReadAt implements io.ReaderAt.
func (c clusterReader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("negative offset")
	}
	done := 0
	for done < len(p) && off < c.size {
		in := off % c.g.clusterSize()
		n := min(int64(len(p)-done), c.g.clusterSize()-in, c.size-off)
		at := c.g.offset(c.clusters[off/c.g.clusterSize()]) + in
		if err := readFull(c.r, p[done:int64(done)+n], at); err != nil {
			return done, err
		}
		done += int(n)
		off += n
	}
	if done < len(p) {
		return done, io.EOF
	}
	return done, nil
}

// FileOffset returns where the first cluster of a file that ReadFAT read lies in
// the file system, in bytes; false for an empty file or one of other origin.
func FileOffset(f FATFile) (int64, bool) {
	c, ok := f.Data.(clusterReader)
	if !ok || len(c.clusters) == 0 {
		return 0, false
	}
	return c.g.offset(c.clusters[0]), true
}
