package disk

import (
	"encoding/binary"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"unicode/utf16"
)

// node is a file or directory of a FAT file system that is being made.
type node struct {
	name     string
	short    [11]byte
	long     []uint16 // name as UTF-16 when the short name does not say it
	file     *FATFile // nil for a directory
	up       *node    // nil for the root
	children []*node  // sorted by name
	first    uint32   // first cluster; 0 for none
	clusters int64
}

// tree makes the nodes of all files and their directories.
func (f *FAT) tree() (*node, error) {
	root := &node{}
	dirs := map[string]*node{".": root}
	files := slices.Clone(f.Files)
	slices.SortFunc(files, func(a, b FATFile) int { return strings.Compare(a.Path, b.Path) })
	for i := range files {
		file := &files[i]
		if file.Path != path.Clean(file.Path) || path.IsAbs(file.Path) || strings.HasPrefix(file.Path, "..") || file.Path == "." {
			return nil, fmt.Errorf("file %q: not a clean relative path", file.Path)
		}
		if file.Size < 0 || file.Size > 1<<32-1 {
			return nil, fmt.Errorf("file %s of %d bytes: FAT holds up to 4 GiB", file.Path, file.Size)
		}
		up := makeDirs(dirs, path.Dir(file.Path))
		up.children = append(up.children, &node{name: path.Base(file.Path), file: file, up: up})
	}
	for _, d := range dirs {
		if err := d.nameChildren(); err != nil {
			return nil, err
		}
	}
	return root, nil
}

func makeDirs(dirs map[string]*node, p string) *node {
	if d, ok := dirs[p]; ok {
		return d
	}
	up := makeDirs(dirs, path.Dir(p))
	d := &node{name: path.Base(p), up: up}
	up.children = append(up.children, d)
	dirs[p] = d
	return d
}

// nameChildren sorts the children and gives each its short name: names that
// are short names themselves first, so that made-up ones avoid them.
func (n *node) nameChildren() error {
	slices.SortFunc(n.children, func(a, b *node) int { return strings.Compare(a.name, b.name) })
	taken, seen := map[[11]byte]bool{}, map[string]string{}
	for _, c := range n.children {
		key := strings.ToUpper(c.name)
		if other, ok := seen[key]; ok {
			return fmt.Errorf("%q and %q are one name on FAT", other, c.name)
		}
		seen[key] = c.name
		if err := checkLongName(c.name); err != nil {
			return err
		}
		if s, ok := exactShort(c.name); ok {
			c.short = s
			taken[s] = true
		}
	}
	for _, c := range n.children {
		if c.short != ([11]byte{}) {
			continue
		}
		c.long = utf16.Encode([]rune(c.name))
		c.short = makeShort(c.name, taken)
		taken[c.short] = true
	}
	return nil
}

// size returns the bytes of a directory's entries or a file's content.
func (n *node) size() int64 {
	if n.file != nil {
		return n.file.Size
	}
	slots := int64(2) // "." and "..", or the label and one spare in the root
	for _, c := range n.children {
		slots += c.slots()
	}
	return slots * dirEntrySize
}

// slots returns the number of entries a name takes: 13 units a long entry.
func (n *node) slots() int64 { return int64(len(n.long)+12)/13 + 1 }

// allocate gives clusters in depth-first order and returns how many are used
// (more than there are, when it does not fit).
func (n *node) allocate(g geometry) int64 {
	used := int64(0)
	var visit func(*node)
	visit = func(n *node) {
		n.clusters = (n.size() + g.clusterSize() - 1) / g.clusterSize()
		if n.up == nil && g.bits == 16 {
			n.clusters = 0
			if n.size() > g.rootSlots*dirEntrySize {
				used = g.clusters + 1 // the root's fixed space is exceeded
			}
		}
		if n.clusters > 0 {
			n.first = uint32(firstCluster + used)
			used += n.clusters
		}
		for _, c := range n.children {
			visit(c)
		}
	}
	visit(n)
	return used
}

// chain enters the clusters of n and all below into a table.
func (n *node) chain(g geometry, table []byte) {
	for i := range n.clusters {
		next := n.first + uint32(i) + 1
		if i == n.clusters-1 {
			next = 0x0fffffff
		}
		g.put(table, int64(n.first)+i, next)
	}
	for _, c := range n.children {
		c.chain(g, table)
	}
}

// write writes directory entries and contents of n and all below.
func (n *node) write(w io.WriterAt, g geometry, label [11]byte, sec int64) error {
	if n.file != nil {
		return n.writeFile(w, g)
	}
	b, off := make([]byte, 0, n.clusters*g.clusterSize()), int64(0)
	date, clock := fatTime(sec)
	if n.up == nil {
		b = appendEntry(b, label, attrVolume, 0, 0, date, clock)
	} else {
		up := n.up.first
		if n.up.up == nil {
			up = 0 // the root, whatever its cluster
		}
		b = appendEntry(b, dotName("."), attrDir, n.first, 0, date, clock)
		b = appendEntry(b, dotName(".."), attrDir, up, 0, date, clock)
	}
	for _, c := range n.children {
		attr, size := byte(attrDir), uint32(0)
		if c.file != nil {
			attr, size = attrArchive, uint32(c.file.Size)
		}
		b = appendLong(b, c.long, c.short)
		b = appendEntry(b, c.short, attr, c.first, size, date, clock)
	}
	room := n.clusters * g.clusterSize()
	if n.clusters == 0 {
		room, off = g.rootSlots*dirEntrySize, (g.reserved+fatCopies*g.fatSectors)*SectorSize
	} else {
		off = g.offset(n.first)
	}
	b = append(b, make([]byte, room-int64(len(b)))...)
	if _, err := w.WriteAt(b, off); err != nil {
		return err
	}
	for _, c := range n.children {
		if err := c.write(w, g, label, sec); err != nil {
			return err
		}
	}
	return nil
}

// writeFile copies the content and fills its last cluster with zeros.
func (n *node) writeFile(w io.WriterAt, g geometry) error {
	buf := make([]byte, 256<<10)
	for at, end := int64(0), n.clusters*g.clusterSize(); at < end; {
		p := buf[:min(int64(len(buf)), end-at)]
		data := max(0, min(int64(len(p)), n.file.Size-at))
		if err := readFull(n.file.Data, p[:data], at); err != nil {
			return fmt.Errorf("file %s: %w", n.file.Path, err)
		}
		clear(p[data:])
		if _, err := w.WriteAt(p, g.offset(n.first)+at); err != nil {
			return fmt.Errorf("file %s: %w", n.file.Path, err)
		}
		at += int64(len(p))
	}
	return nil
}

func dotName(s string) (short [11]byte) {
	copy(short[:], s+strings.Repeat(" ", 11-len(s)))
	return short
}

func appendEntry(b []byte, short [11]byte, attr byte, first, size uint32, date, clock uint16) []byte {
	var e [dirEntrySize]byte
	le := binary.LittleEndian
	copy(e[:], short[:])
	e[11] = attr
	le.PutUint16(e[14:], clock)
	le.PutUint16(e[16:], date)
	le.PutUint16(e[18:], date)
	le.PutUint16(e[20:], uint16(first>>16))
	le.PutUint16(e[22:], clock)
	le.PutUint16(e[24:], date)
	le.PutUint16(e[26:], uint16(first))
	le.PutUint32(e[28:], size)
	return append(b, e[:]...)
}
