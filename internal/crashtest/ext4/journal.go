package ext4

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

var be = binary.BigEndian

// Numbers of the journal (Documentation/filesystems/ext4/journal.rst).
const (
	journalMagic = 0xc03b3998

	kindDescriptor, kindCommit, kindSuper, kindRevoke = 1, 2, 4, 5

	journal64     = 0x2
	journalCsum2  = 0x8
	journalCsum3  = 0x10
	journalKnown  = 0x1 | journal64 | journalCsum2 | journalCsum3
	tagEscaped    = 1
	tagSameUUID   = 2
	tagLast       = 8
	maxJournal    = 1 << 20 // blocks
	commitSumAt   = 0x10
	journalHeader = 12
)

type journal struct {
	f        *FS
	file     *File
	features uint32
	first    uint32 // block of the log
	length   uint32 // of the journal, blocks
	seed     uint32 // of checksums
}

// castagnoli is CRC32C without the final inversion, as the kernel chains it.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func crc32c(seed uint32, p []byte) uint32 { return ^crc32.Update(^seed, castagnoli, p) }

// replay reads the committed transactions of the journal.
func (f *FS) replay(n uint32) error {
	i, err := f.inode(n)
	if err != nil {
		return err
	}
	x, err := f.extents(i)
	if err != nil {
		return err
	}
	j := &journal{f: f, file: &File{f: f, Size: i.size, Extents: x}}
	sb, err := j.block(0)
	if err != nil {
		return err
	}
	if be.Uint32(sb) != journalMagic || be.Uint32(sb[4:]) != kindSuper {
		return errors.New("no superblock of version 2")
	}
	j.features, j.first, j.length = be.Uint32(sb[0x28:]), be.Uint32(sb[0x14:]), be.Uint32(sb[0x10:])
	j.seed = crc32c(^uint32(0), sb[0x30:0x40])
	if j.features&^uint32(journalKnown) != 0 {
		return fmt.Errorf("features %#x are not read here", j.features)
	}
	if int64(be.Uint32(sb[0xc:])) != f.blockSize || j.length > maxJournal || j.first == 0 || j.first >= j.length {
		return errors.New("absurd values")
	}
	start, sequence := be.Uint32(sb[0x1c:]), be.Uint32(sb[0x18:])
	if start == 0 {
		return nil // nothing in it
	}
	if start >= j.length {
		return errors.New("it begins behind its end")
	}
	all, err := j.scan(start, sequence)
	if err != nil {
		return err
	}
	return j.apply(all)
}

func (j *journal) block(n uint32) ([]byte, error) {
	b := make([]byte, j.f.blockSize)
	_, err := j.file.ReadAt(b, int64(n)*j.f.blockSize)
	return b, err
}

// next returns the block of the ring behind n.
func (j *journal) next(n, by uint32) uint32 {
	n += by
	if n >= j.length {
		n -= j.length - j.first
	}
	return n
}

// tag says that a block of the journal is the content of another.
type tag struct {
	block   uint64
	at      uint32 // in the journal
	escaped bool
}

// transaction is what one commit made last.
type transaction struct {
	tags    []tag
	revoked []uint64
}

// scan returns the transactions that were committed, in order.
func (j *journal) scan(at, sequence uint32) ([]transaction, error) {
	var all []transaction
	var now transaction
	for used := uint32(0); used < j.length; {
		b, err := j.block(at)
		if err != nil {
			return nil, err
		}
		if be.Uint32(b) != journalMagic || be.Uint32(b[8:]) != sequence {
			break
		}
		step := uint32(1)
		switch be.Uint32(b[4:]) {
		case kindDescriptor:
			if !j.tailHolds(b) {
				return all, nil
			}
			tags := j.tags(b, at)
			now.tags = append(now.tags, tags...)
			step += uint32(len(tags))
		case kindRevoke:
			if !j.tailHolds(b) {
				return all, nil
			}
			now.revoked = append(now.revoked, j.revoked(b)...)
		case kindCommit:
			if !j.commitHolds(b) {
				return all, nil
			}
			all = append(all, now)
			now = transaction{}
			sequence++
		default:
			return all, nil
		}
		at = j.next(at, step)
		used += step
	}
	return all, nil
}

func (j *journal) sums() bool { return j.features&(journalCsum2|journalCsum3) != 0 }

// tailHolds checks the checksum at the end of a descriptor or revocation block.
func (j *journal) tailHolds(b []byte) bool {
	if !j.sums() {
		return true
	}
	end := len(b) - 4
	return be.Uint32(b[end:]) == crc32c(j.seed, append(bytes.Clone(b[:end]), 0, 0, 0, 0))
}

func (j *journal) commitHolds(b []byte) bool {
	if !j.sums() {
		return true
	}
	c := bytes.Clone(b)
	clear(c[commitSumAt : commitSumAt+4])
	return be.Uint32(b[commitSumAt:]) == crc32c(j.seed, c)
}

// tags reads a descriptor block, which is at a place of the journal.
func (j *journal) tags(b []byte, at uint32) []tag {
	size := 8
	switch {
	case j.features&journalCsum3 != 0:
		size = 16
	case j.features&journal64 != 0:
		size = 12
	}
	end := len(b)
	if j.sums() {
		end -= 4
	}
	var all []tag
	for p := journalHeader; p+size <= end; {
		t, flags := tag{block: uint64(be.Uint32(b[p:]))}, uint32(be.Uint16(b[p+6:]))
		if size == 16 {
			flags = be.Uint32(b[p+4:])
		}
		if size > 8 && j.features&journal64 != 0 {
			t.block |= uint64(be.Uint32(b[p+8:])) << 32
		}
		at = j.next(at, 1)
		t.at, t.escaped = at, flags&tagEscaped != 0
		all = append(all, t)
		p += size
		if flags&tagSameUUID == 0 {
			p += 16
		}
		if flags&tagLast != 0 {
			break
		}
	}
	return all
}

func (j *journal) revoked(b []byte) []uint64 {
	size := 4
	if j.features&journal64 != 0 {
		size = 8
	}
	var all []uint64
	for p, end := journalHeader+4, min(int(be.Uint32(b[journalHeader:])), len(b)); p+size <= end; p += size {
		if size == 8 {
			all = append(all, be.Uint64(b[p:]))
		} else {
			all = append(all, uint64(be.Uint32(b[p:])))
		}
	}
	return all
}

// apply fills the file system's replayed blocks. A revocation holds for the
// transactions up to its own.
func (j *journal) apply(all []transaction) error {
	revoked := map[uint64]int{}
	for i, t := range all {
		for _, b := range t.revoked {
			revoked[b] = i
		}
	}
	content := map[uint64][]byte{}
	for i, t := range all {
		for _, g := range t.tags {
			if last, ok := revoked[g.block]; ok && i <= last {
				continue
			}
			b, err := j.block(g.at)
			if err != nil {
				return err
			}
			if g.escaped {
				be.PutUint32(b, journalMagic)
			}
			content[g.block] = b
		}
	}
	// Only now: the journal itself is read as it is on the disk.
	j.f.replayed, j.f.Replayed = content, len(all)
	return nil
}
