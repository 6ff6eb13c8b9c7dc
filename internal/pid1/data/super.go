package data

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// Medium is a partition that holds an ext4.
type Medium interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
}

// The superblock of ext4 (Documentation/filesystems/ext4/super.rst): where it is,
// and of what it holds, what is looked at here.
const (
	superAt   = 1024
	superSize = 1024
	superSum  = superSize - 4 // CRC-32C of what stands before

	superBlocks    = 0x4
	superFirst     = 0x14 // first data block
	superBlockSize = 0x18 // as a power of two, of 1024
	superPerGroup  = 0x20 // blocks
	superMagic     = 0x38
	superIncompat  = 0x60
	superROCompat  = 0x64

	ext4Magic      = 0xef53
	incompatDirty  = 0x4     // its journal is to be replayed
	roSums         = 0x400   // metadata has checksums
	roOrphans      = 0x10000 // the file of orphans is not empty
	maxSuperExpand = 6       // blocks of 64 KiB
)

// constant are the parts of a superblock that nothing changes while the file
// system lives: block size and those behind it, magic, inode size, UUID.
var constant = [][2]int{{superFirst, 0x2c}, {superMagic, 0x3a}, {0x58, 0x5a}, {0x5c, superIncompat}, {0x68, 0x78}, {0xe0, 0xe4}}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Mend repairs a superblock of ext4 that a loss of power has torn, and returns
// whether it did. ext4 writes it in place, past its journal, and takes its two
// sectors for written at once; on a disk that gives one sector its new content
// and the other one its old, the file system does not mount any more, for its
// checksum is wrong. Each half is true of itself. So the checksum is made anew,
// when everything that never changes is as in the backup of the first other group
// that has one: rot is not taken for a tear.
//
// One sector is written, which cannot be torn. It may be cut and repeated.
func Mend(m Medium, size int64) (bool, error) {
	sb := make([]byte, superSize)
	if _, err := m.ReadAt(sb, superAt); err != nil {
		return false, fmt.Errorf("reading a superblock: %w", err)
	}
	le := binary.LittleEndian
	sum := ^crc32.Checksum(sb[:superSum], castagnoli)
	expand, perGroup := le.Uint32(sb[superBlockSize:]), int64(le.Uint32(sb[superPerGroup:]))
	switch {
	case le.Uint16(sb[superMagic:]) != ext4Magic:
		return false, errors.New("there is no superblock of ext4")
	case le.Uint32(sb[superROCompat:])&roSums == 0 || le.Uint32(sb[superSum:]) == sum:
		return false, nil // it is not torn
	case expand > maxSuperExpand || perGroup == 0:
		return false, errors.New("the superblock is damaged, not torn")
	}
	block := int64(1024) << expand
	first := int64(le.Uint32(sb[superFirst:]))
	if int64(le.Uint32(sb[superBlocks:])) > first+perGroup { // group 1 has a backup, whatever sparse_super leaves out
		backup := make([]byte, superSize)
		at := (first + perGroup) * block
		if at > size-superSize {
			return false, errors.New("the superblock is damaged, not torn")
		}
		if _, err := m.ReadAt(backup, at); err != nil {
			return false, fmt.Errorf("reading the backup of a superblock: %w", err)
		}
		if !alike(sb, backup) {
			return false, errors.New("the superblock is not its backup: it is damaged, not torn")
		}
	}
	le.PutUint32(sb[superSum:], sum)
	if _, err := m.WriteAt(sb[superSize/2:], superAt+superSize/2); err != nil {
		return false, fmt.Errorf("mending a superblock: %w", err)
	}
	if err := m.Sync(); err != nil {
		return false, fmt.Errorf("mending a superblock: %w", err)
	}
	return true, nil
}

// alike compares what never changes.
func alike(a, b []byte) bool {
	for _, c := range constant {
		if !bytes.Equal(a[c[0]:c[1]], b[c[0]:c[1]]) {
			return false
		}
	}
	le := binary.LittleEndian
	return (le.Uint32(a[superIncompat:])^le.Uint32(b[superIncompat:]))&^incompatDirty == 0 &&
		(le.Uint32(a[superROCompat:])^le.Uint32(b[superROCompat:]))&^roOrphans == 0
}
