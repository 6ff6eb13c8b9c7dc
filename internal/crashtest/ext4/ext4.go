// Package ext4 reads ext4 file systems as they are after a loss of power,
// without a kernel: it replays the journal in memory and reads files. Tests look
// at thousands of states of a disk with it.
//
// Read are file systems with extents and 32-byte or 64-byte group descriptors,
// meta_bg included, as mke2fs makes them for instar. Checksums of metadata
// outside of the journal are not compared.
//
// Source: Linux, Documentation/filesystems/ext4.
package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

var le = binary.LittleEndian

// FS is an open file system. Its methods may not be called concurrently.
type FS struct {
	r           io.ReaderAt
	blockSize   int64
	blocks      uint64
	perGroup    uint64 // blocks
	inodesPer   uint32 // a group
	inodes      uint32
	inodeSize   int64
	descSize    int64
	firstData   uint64
	firstMeta   uint64 // first descriptor block in its own group
	metaBG      bool
	sparseSuper bool
	replayed    map[uint64][]byte // blocks that the journal holds
	Replayed    int               // transactions in the journal
}

// Limits of what is read.
const (
	maxBlocks  = 1 << 32
	maxDirSize = 64 << 20
	maxLink    = 4096
)

const (
	superblockAt    = 1024
	superblockMagic = 0xef53
	rootInode       = 2

	incompatRecover = 0x4
	incompatMetaBG  = 0x10
	incompatExtents = 0x40
	incompat64      = 0x80
	// filetype, recover, meta_bg, extents, 64bit, flex_bg, csum_seed, largedir
	incompatKnown = 0x2 | incompatRecover | incompatMetaBG | incompatExtents | incompat64 | 0x200 | 0x2000 | 0x4000
)

// ErrTorn says that the superblock's checksum is wrong: the kernel refuses to
// mount it.
var ErrTorn = errors.New("superblock: wrong checksum")

// Open reads the superblock and replays the journal, which changes nothing in r.
func Open(r io.ReaderAt) (*FS, error) {
	sb := make([]byte, 1024)
	if _, err := r.ReadAt(sb, superblockAt); err != nil {
		return nil, fmt.Errorf("superblock: %w", err)
	}
	if le.Uint16(sb[0x38:]) != superblockMagic {
		return nil, errors.New("superblock: not an ext4 file system")
	}
	if sums := le.Uint32(sb[0x64:])&0x400 != 0; sums && le.Uint32(sb[1020:]) != crc32c(^uint32(0), sb[:1020]) {
		return nil, ErrTorn
	}
	incompat := le.Uint32(sb[0x60:])
	if unknown := incompat &^ incompatKnown; unknown != 0 || incompat&incompatExtents == 0 {
		return nil, fmt.Errorf("superblock: features %#x are not read here", incompat)
	}
	f := &FS{r: r,
		inodes: le.Uint32(sb), blocks: uint64(le.Uint32(sb[4:])), firstData: uint64(le.Uint32(sb[0x14:])),
		blockSize: 1024 << min(le.Uint32(sb[0x18:]), 20), perGroup: uint64(le.Uint32(sb[0x20:])), inodesPer: le.Uint32(sb[0x28:]),
		inodeSize: int64(le.Uint16(sb[0x58:])), descSize: 32, firstMeta: uint64(le.Uint32(sb[0x104:])),
		metaBG: incompat&incompatMetaBG != 0, sparseSuper: le.Uint32(sb[0x64:])&1 != 0,
		replayed: map[uint64][]byte{},
	}
	if incompat&incompat64 != 0 {
		f.descSize = int64(le.Uint16(sb[0xfe:]))
		f.blocks |= uint64(le.Uint32(sb[0x150:])) << 32
	}
	if f.blockSize > 64<<10 || f.perGroup == 0 || f.inodesPer == 0 || f.inodeSize < 128 || f.inodeSize > f.blockSize ||
		f.descSize < 32 || f.descSize > f.blockSize || f.blocks == 0 || f.blocks > maxBlocks {
		return nil, errors.New("superblock: absurd values")
	}
	if journal := le.Uint32(sb[0xe0:]); journal != 0 && incompat&incompatRecover != 0 {
		if err := f.replay(journal); err != nil {
			return nil, fmt.Errorf("journal: %w", err)
		}
	}
	return f, nil
}

// block returns the content of a block.
func (f *FS) block(n uint64) ([]byte, error) {
	if b, ok := f.replayed[n]; ok {
		return b, nil
	}
	if n >= f.blocks {
		return nil, fmt.Errorf("block %d is not in the file system", n)
	}
	b := make([]byte, f.blockSize)
	if _, err := f.r.ReadAt(b, int64(n)*f.blockSize); err != nil {
		return nil, fmt.Errorf("block %d: %w", n, err)
	}
	return b, nil
}

// hasSuper says whether a group begins with a copy of the superblock.
func (f *FS) hasSuper(group uint64) bool {
	if !f.sparseSuper || group < 2 {
		return true
	}
	for _, base := range []uint64{3, 5, 7} {
		n := base
		for n < group {
			n *= base
		}
		if n == group {
			return true
		}
	}
	return false
}

// descriptor returns the block and offset of a group's descriptor.
func (f *FS) descriptor(group uint64) (block uint64, off int64) {
	per := uint64(f.blockSize / f.descSize)
	meta := group / per
	off = int64(group%per) * f.descSize
	if !f.metaBG || meta < f.firstMeta {
		return f.firstData + 1 + meta, off
	}
	first := meta * per
	block = f.firstData + first*f.perGroup
	if f.hasSuper(first) {
		block++
	}
	return block, off
}

// inode is what is read of an inode.
type inode struct {
	mode  uint16
	size  int64
	flags uint32
	data  [60]byte // i_block
}

const (
	flagExtents = 0x80000
	flagInline  = 0x10000000
)

func (f *FS) inode(n uint32) (*inode, error) {
	if n == 0 || n > f.inodes {
		return nil, fmt.Errorf("inode %d is not in the file system", n)
	}
	group := uint64((n - 1) / f.inodesPer)
	block, off := f.descriptor(group)
	b, err := f.block(block)
	if err != nil {
		return nil, fmt.Errorf("group %d: %w", group, err)
	}
	table := uint64(le.Uint32(b[off+8:]))
	if f.descSize >= 64 {
		table |= uint64(le.Uint32(b[off+0x28:])) << 32
	}
	at := int64((n-1)%f.inodesPer) * f.inodeSize
	if b, err = f.block(table + uint64(at/f.blockSize)); err != nil {
		return nil, fmt.Errorf("inode %d: %w", n, err)
	}
	b = b[at%f.blockSize:]
	i := &inode{mode: le.Uint16(b), size: int64(le.Uint32(b[4:])) | int64(le.Uint32(b[0x6c:]))<<32, flags: le.Uint32(b[0x20:])}
	copy(i.data[:], b[0x28:])
	if i.size < 0 || i.flags&flagInline != 0 {
		return nil, fmt.Errorf("inode %d: of a kind that is not read here", n)
	}
	return i, nil
}

// fileMode returns an inode's mode as fs.FileMode has it.
func (i *inode) fileMode() fs.FileMode {
	m := fs.FileMode(i.mode & 0o777)
	switch i.mode & 0xf000 {
	case 0x8000:
		return m
	case 0x4000:
		return m | fs.ModeDir
	case 0xa000:
		return m | fs.ModeSymlink
	}
	return m | fs.ModeIrregular
}
