package erofs

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/instar-os/instar/internal/digest"
)

// Write writes the image of the tree below root. The bytes depend on the tree
// alone: not on the order of Children, nor on which name of a hard-linked file
// is seen as the first. The tree is not changed. A tree that no image can hold
// is an error that names the path, and nothing is written.
func Write(out io.Writer, root *Node) error {
	b, err := Append(nil, root)
	if err != nil {
		return err
	}
	_, err = out.Write(b)
	return err
}

// Append appends the image to b, as Write writes it.
func Append(b []byte, root *Node) ([]byte, error) {
	w := &writer{
		seen: map[*Node]int32{},
		xattrs: xattrTable{
			byPair:   map[[2]string]*xattr{},
			byObject: map[digest.Digest][]*xattr{},
		},
	}
	if err := w.collect(root); err != nil {
		return b, fmt.Errorf("making an image: %w", err)
	}
	w.attributes()
	w.layout()
	return w.emit(b), nil
}

// layout decides where everything stands.
func (w *writer) layout() {
	pos, blocks := int64(metaStart), int64(0)
	for i := range w.inodes {
		ino := &w.inodes[i]
		ino.measure()
		ino.compact = ino.MTime == w.minTime && ino.UID <= 0xffff && ino.GID <= 0xffff &&
			ino.links <= 0xffff && ino.size() <= 0xffffffff
		ino.xattrSize = xattrSize(ino.xattrs)
		pos = ino.fit(roundUp(pos, slotSize))
		ino.at = pos
		pos += int64(ino.headSize() + ino.tail)
		ino.block = blocks // relative until the data area's start is known
		blocks += int64(ino.blocks)
	}
	w.metaEnd = roundUp(pos, slotSize)
	w.dataFrom = roundUp(w.metaEnd+w.xattrs.size, blockSize)
	w.size = w.dataFrom + blocks*blockSize
}

// measure splits the inode's own data into blocks and a tail, which is never
// more than half a block.
func (ino *inode) measure() {
	switch ino.mode & TypeMask {
	case TypeDir:
		n := 0
		for _, e := range ino.entries {
			if n+direntSize+len(e.name) > blockSize {
				ino.blocks++
				n = 0
			}
			n += direntSize + len(e.name)
		}
		ino.tail = n
	case TypeSymlink:
		ino.tail = len(ino.Target)
		return
	case TypeFile:
		if ino.isObject() {
			ino.tail = 4 // one chunk address
			return
		}
		ino.tail = len(ino.Data)
	}
	if ino.tail > blockSize/2 {
		ino.blocks++
		ino.tail = 0
	}
}

// fit returns the offset, at or after pos, at which the inode's tail stays
// within a block. A symlink keeps its inode in that block too; one that fills
// a block by itself moves its target to the data area.
func (ino *inode) fit(pos int64) int64 {
	head := int64(ino.headSize())
	if ino.mode&TypeMask == TypeSymlink {
		total := head + int64(ino.tail)
		crosses := pos/blockSize != (pos+total-1)/blockSize
		if total >= blockSize {
			ino.blocks, ino.tail = 1, 0
		}
		if crosses {
			return roundUp(pos, blockSize)
		}
		return pos
	}
	if room := blockSize - (pos+head)%blockSize; room < int64(ino.tail) {
		return pos + roundUp(room, slotSize)
	}
	return pos
}

// headSize is the length of the inode with its attributes.
func (ino *inode) headSize() int {
	if ino.compact {
		return compactSize + ino.xattrSize
	}
	return extendedSize + ino.xattrSize
}

// size is what stat shows as st_size.
func (ino *inode) size() int64 {
	switch ino.mode & TypeMask {
	case TypeDir:
		return int64(ino.blocks)*blockSize + int64(ino.tail)
	case TypeSymlink:
		return int64(len(ino.Target))
	case TypeFile:
		return ino.Size
	}
	return 0
}

// emit writes the parts in order: composefs header, superblock, inodes with
// attributes and tails, shared attributes, blocks.
func (w *writer) emit(b []byte) []byte {
	base := len(b)
	if free := cap(b) - base; int64(free) < w.size {
		b = append(make([]byte, 0, int64(base)+w.size), b...)
	}
	to := func(offset int64) { b = zeros(b, base+int(offset)-len(b)) }
	b = w.appendHeader(b)
	to(superOffset)
	b = w.appendSuper(b)
	for i := range w.inodes {
		to(w.inodes[i].at)
		b = w.appendInode(b, &w.inodes[i], int32(i))
	}
	to(w.metaEnd)
	for _, x := range w.xattrs.shared {
		b = x.append(b)
	}
	to(w.dataFrom)
	for i := range w.inodes {
		if w.inodes[i].blocks > 0 {
			b = w.appendBlocks(b, &w.inodes[i])
		}
	}
	return b
}

func (w *writer) appendHeader(b []byte) []byte {
	flags := uint32(0)
	if w.hasACL {
		flags |= flagHasACL
	}
	for _, v := range []uint32{composefsMagic, composefsVersion, flags, w.version} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}

func (w *writer) appendSuper(b []byte) []byte {
	le := binary.LittleEndian
	var s [superSize]byte
	le.PutUint32(s[0:], superMagic)
	le.PutUint32(s[8:], compatMTime|compatXattrFilter)
	s[12] = blockBits
	le.PutUint16(s[14:], uint16(w.inodes[0].at/slotSize)) // root
	le.PutUint64(s[16:], uint64(len(w.inodes)))
	le.PutUint64(s[24:], uint64(w.minTime)) // the time of compact inodes
	le.PutUint32(s[36:], uint32(w.size/blockSize))
	le.PutUint32(s[40:], 0) // block of nid 0
	le.PutUint32(s[44:], uint32(w.metaEnd/blockSize))
	return append(b, s[:]...)
}

// zeros appends n zero bytes.
func zeros(b []byte, n int) []byte {
	for ; n >= len(zeroBlock); n -= len(zeroBlock) {
		b = append(b, zeroBlock[:]...)
	}
	return append(b, zeroBlock[:n]...)
}

var zeroBlock [64]byte
