package erofs

import (
	"encoding/binary"
	"slices"
)

func (w *writer) appendInode(b []byte, ino *inode, number int32) []byte {
	le := binary.LittleEndian
	var h [extendedSize]byte
	icount := 0
	if ino.xattrSize > 0 {
		icount = (ino.xattrSize-xattrHeaderSize)/xattrEntrySize + 1
	}
	le.PutUint16(h[2:], uint16(icount))
	le.PutUint16(h[4:], uint16(ino.mode))
	if ino.compact {
		le.PutUint16(h[0:], uint16(ino.dataLayout()<<1))
		le.PutUint16(h[6:], uint16(ino.links))
		le.PutUint32(h[8:], uint32(ino.size()))
		le.PutUint32(h[16:], w.data(ino))
		le.PutUint32(h[20:], uint32(number))
		le.PutUint16(h[24:], uint16(ino.UID))
		le.PutUint16(h[26:], uint16(ino.GID))
		b = append(b, h[:compactSize]...)
	} else {
		le.PutUint16(h[0:], uint16(ino.dataLayout()<<1|1))
		le.PutUint64(h[8:], uint64(ino.size()))
		le.PutUint32(h[16:], w.data(ino))
		le.PutUint32(h[20:], uint32(number))
		le.PutUint32(h[24:], ino.UID)
		le.PutUint32(h[28:], ino.GID)
		le.PutUint64(h[32:], uint64(ino.MTime))
		le.PutUint32(h[44:], ino.links)
		b = append(b, h[:]...)
	}
	b = w.appendXattrs(b, ino)
	return w.appendTail(b, ino)
}

func (ino *inode) dataLayout() int {
	switch {
	case ino.isObject():
		return layoutChunk
	case ino.tail > 0:
		return layoutInline
	}
	return layoutPlain
}

// data returns the inode's union: chunk format, device or first data block.
func (w *writer) data(ino *inode) uint32 {
	switch typ := ino.mode & TypeMask; {
	case ino.isObject():
		return uint32(chunkBits(ino.Size) - blockBits)
	case typ == TypeChar || typ == TypeBlock:
		return ino.Rdev
	case ino.blocks > 0:
		return uint32(w.dataFrom/blockSize + ino.block)
	}
	return 0
}

// split returns which attributes an inode names by reference; the others
// stand in it.
func split(list []*xattr) (shared int, own int) {
	for _, x := range list {
		if x.shared() && shared < maxShared {
			shared++
		} else {
			own += x.size
		}
	}
	return shared, own
}

// xattrSize is the length of an inode's attribute area.
func xattrSize(list []*xattr) int {
	if len(list) == 0 {
		return 0
	}
	shared, own := split(list)
	return xattrHeaderSize + shared*xattrEntrySize + own
}

func (w *writer) appendXattrs(b []byte, ino *inode) []byte {
	if ino.xattrSize == 0 {
		return b
	}
	le := binary.LittleEndian
	filter := ^uint32(0) // a set bit says: no name with this hash
	for _, x := range ino.xattrs {
		filter &^= x.filter
	}
	shared, _ := split(ino.xattrs)
	b = le.AppendUint32(b, filter)
	b = append(b, byte(shared), 0, 0, 0, 0, 0, 0, 0)
	var own []*xattr
	for _, x := range ino.xattrs {
		if !x.shared() || shared == 0 {
			own = append(own, x)
			continue
		}
		shared--
		b = le.AppendUint32(b, uint32((w.metaEnd%blockSize+x.offset)/xattrEntrySize))
	}
	for _, x := range own {
		b = x.append(b)
	}
	return b
}

// appendTail writes what follows the inode in its own block.
func (w *writer) appendTail(b []byte, ino *inode) []byte {
	switch ino.mode & TypeMask {
	case TypeDir:
		_, rest := w.chunks(ino)
		return w.appendEntries(b, rest)
	case TypeSymlink:
		return append(b, ino.Target[:ino.tail]...)
	case TypeFile:
		if ino.isObject() {
			return binary.LittleEndian.AppendUint32(b, nullAddress)
		}
		return append(b, ino.Data[:ino.tail]...)
	}
	return b
}

// appendBlocks writes what an inode has in the data area.
func (w *writer) appendBlocks(b []byte, ino *inode) []byte {
	start := len(b)
	switch ino.mode & TypeMask {
	case TypeDir:
		full, _ := w.chunks(ino)
		for i, c := range full {
			b = w.appendEntries(b, c)
			b = zeros(b, start+(i+1)*blockSize-len(b))
		}
	case TypeSymlink:
		b = append(b, ino.Target...)
	case TypeFile:
		b = append(b, ino.Data...)
	}
	return zeros(b, start+ino.blocks*blockSize-len(b))
}

// chunks cuts a directory into its blocks and the tail.
func (w *writer) chunks(ino *inode) (full [][]entry, tail []entry) {
	n, first := 0, 0
	for i, e := range ino.entries {
		if n+direntSize+len(e.name) > blockSize {
			full = append(full, ino.entries[first:i])
			n, first = 0, i
		}
		n += direntSize + len(e.name)
	}
	tail = ino.entries[first:]
	if len(full) < ino.blocks {
		return append(full, tail), nil
	}
	return slices.Clip(full), tail
}

// appendEntries writes directory entries, then their names.
func (w *writer) appendEntries(b []byte, list []entry) []byte {
	le := binary.LittleEndian
	name := len(list) * direntSize
	for _, e := range list {
		child := &w.inodes[e.inode]
		b = le.AppendUint64(b, uint64(child.at/slotSize))
		b = le.AppendUint16(b, uint16(name))
		b = append(b, dirTypes[child.mode&TypeMask], 0)
		name += len(e.name)
	}
	for _, e := range list {
		b = append(b, e.name...)
	}
	return b
}
