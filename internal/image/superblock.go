package image

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
)

// Fields of the ext4 superblock (Documentation/filesystems/ext4/super.rst).
const (
	superOffset   = 1024 // of the first superblock in its block group, in bytes
	superSize     = 1024
	superMagic    = 0x38
	superGroup    = 0x5a // s_block_group_nr
	superFlags    = 0x160
	superChecksum = 0x3fc
	signedHash    = 1
	unsignedHash  = 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// setSignedHash makes every superblock say that directory hashes take bytes
// as signed. mke2fs notes there how the build host's compiler sees char, which
// differs between amd64 and arm64; for the names of a store, which are ASCII,
// both hashes are the same.
func setSignedHash(f *os.File, offset, size int64) error {
	for group := int64(0); group*groupBlocks*blockSize < size; group++ {
		if !hasSuperblock(group) {
			continue
		}
		at := offset + group*groupBlocks*blockSize
		if group == 0 {
			at += superOffset
		}
		b := make([]byte, superSize)
		if _, err := f.ReadAt(b, at); err != nil {
			return fmt.Errorf("superblock of group %d: %w", group, err)
		}
		le := binary.LittleEndian
		if le.Uint16(b[superMagic:]) != 0xef53 || int64(le.Uint16(b[superGroup:])) != group {
			return fmt.Errorf("no superblock in group %d", group)
		}
		le.PutUint32(b[superFlags:], le.Uint32(b[superFlags:])&^unsignedHash|signedHash)
		le.PutUint32(b[superChecksum:], ^crc32.Checksum(b[:superChecksum], castagnoli))
		if _, err := f.WriteAt(b, at); err != nil {
			return fmt.Errorf("superblock of group %d: %w", group, err)
		}
	}
	return nil
}

// hasSuperblock reports whether a group holds a superblock with sparse_super:
// groups 0, 1 and powers of 3, 5 and 7.
func hasSuperblock(group int64) bool {
	if group <= 1 {
		return true
	}
	for _, base := range []int64{3, 5, 7} {
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
