package erofs

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// An inode is a node on its way into the image.
type inode struct {
	*Node
	mode    uint32 // Node.Mode, or a regular file's for a whiteout
	links   uint32
	entries []entry // of a directory: sorted, with "." and ".."
	xattrs  []*xattr
	parent  int32 // where the node was first met, for messages
	name    string

	compact   bool
	xattrSize int
	tail      int   // bytes that follow the inode
	blocks    int   // whole blocks in the data area
	at        int64 // offset of the inode in the image
	block     int64 // number of the first data block
}

// An entry is a line of a directory.
type entry struct {
	name  string
	inode int32 // index in writer.inodes
}

type writer struct {
	inodes   []inode // breadth first, each directory in order of names
	seen     map[*Node]int32
	minTime  int64
	version  uint32 // 1 when the tree holds whiteouts
	hasACL   bool
	xattrs   xattrTable
	metaEnd  int64 // end of the inodes, start of shared attributes
	dataFrom int64 // end of the shared attributes, a multiple of the block
	size     int64 // of the image in bytes
}

// collect puts the nodes in canonical order: breadth first, by name.
func (w *writer) collect(root *Node) error {
	if root == nil || root.Type() != TypeDir {
		return errors.New("the root must be a directory")
	}
	w.minTime = root.MTime
	w.seen[root] = 0
	w.inodes = append(w.inodes, inode{Node: root, mode: root.Mode})
	for i := 0; i < len(w.inodes); i++ {
		n := w.inodes[i].Node
		if err := check(n); err != nil {
			return fmt.Errorf("%s: %w", w.path(int32(i)), err)
		}
		w.minTime = min(w.minTime, n.MTime)
		if n.isWhiteout() && !w.synthetic(i) {
			w.version = 1
			w.inodes[i].mode = TypeFile | n.Mode&^TypeMask
		}
		if n.Type() != TypeDir {
			continue
		}
		if err := w.directory(int32(i)); err != nil {
			return fmt.Errorf("%s: %w", w.path(int32(i)), err)
		}
	}
	return nil
}

// synthetic reports whether the inode is one of the whiteouts that the image
// itself needs. They hide the directories of the object store.
func (w *writer) synthetic(i int) bool { return w.seen[w.inodes[i].Node] == hidden }

// hidden marks synthetic whiteouts in writer.seen.
const hidden = -1

// directory appends the children of a directory that were not met yet.
func (w *writer) directory(dir int32) error {
	n := w.inodes[dir].Node
	children := slices.Clone(n.Children)
	if dir == 0 {
		children = append(children, w.whiteouts(n)...)
	}
	slices.SortFunc(children, func(a, b Child) int { return strings.Compare(a.Name, b.Name) })
	entries := make([]entry, 0, len(children)+2)
	self := []entry{{".", dir}, {"..", w.inodes[dir].parent}}
	links := uint32(2)
	for k, c := range children {
		if err := checkName(c); err != nil {
			return err
		}
		if k > 0 && children[k-1].Name == c.Name {
			return fmt.Errorf("two entries named %q", c.Name)
		}
		for len(self) > 0 && self[0].name < c.Name {
			entries, self = append(entries, self[0]), self[1:]
		}
		i, err := w.place(dir, c)
		if err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
		if c.Node.Type() == TypeDir {
			links++
		}
		entries = append(entries, entry{c.Name, i})
	}
	w.inodes[dir].entries = append(entries, self...)
	w.inodes[dir].links = links
	return nil
}

// place returns the index of a child's inode, a new one unless the child is a
// further name of a file.
func (w *writer) place(dir int32, c Child) (int32, error) {
	i, ok := w.seen[c.Node]
	if ok && i != hidden {
		if c.Node.Type() != TypeFile {
			return 0, errors.New("stands in two places and is no regular file")
		}
		w.inodes[i].links++
		return i, nil
	}
	if len(w.inodes) == maxInodes {
		return 0, fmt.Errorf("more than %d nodes", maxInodes)
	}
	i = int32(len(w.inodes))
	if !ok {
		w.seen[c.Node] = i
	}
	w.inodes = append(w.inodes, inode{Node: c.Node, mode: c.Node.Mode, links: 1, parent: dir, name: c.Name})
	return i, nil
}

// whiteouts returns an entry 00 to ff for each directory of the object store
// that the root does not cover itself, so that the store never shows through.
func (w *writer) whiteouts(root *Node) []Child {
	taken := map[string]bool{}
	for _, c := range root.Children {
		if len(c.Name) == 2 {
			taken[c.Name] = true
		}
	}
	const digits = "0123456789abcdef"
	var out []Child
	for b := range 256 {
		name := string([]byte{digits[b>>4], digits[b&15]})
		if taken[name] {
			continue
		}
		n := &Node{Mode: TypeChar | 0o644, UID: root.UID, GID: root.GID, MTime: root.MTime}
		if label, ok := root.Xattrs[xattrSELinux]; ok {
			n.Xattrs = map[string]string{xattrSELinux: label}
		}
		w.seen[n] = hidden
		out = append(out, Child{name, n})
	}
	return out
}

// path returns where an inode was first met, for messages.
func (w *writer) path(i int32) string {
	if i == 0 {
		return "/"
	}
	dir := w.path(w.inodes[i].parent)
	return strings.TrimSuffix(dir, "/") + "/" + w.inodes[i].name
}

func checkName(c Child) error {
	switch {
	case c.Node == nil:
		return fmt.Errorf("entry %q has no node", c.Name)
	case c.Name == "" || c.Name == "." || c.Name == ".." || strings.ContainsAny(c.Name, "/\x00"):
		return fmt.Errorf("%q is no name of a file", c.Name)
	case len(c.Name) > maxName:
		return fmt.Errorf("the name %.20q… has %d bytes, more than %d", c.Name, len(c.Name), maxName)
	}
	return nil
}

// check refuses nodes that no file system can hold, or not this one.
func check(n *Node) error {
	switch typ := n.Type(); {
	case n.Mode>>16 != 0 || dirTypes[typ] == 0:
		return fmt.Errorf("mode %#o has no known type", n.Mode)
	case typ != TypeDir && len(n.Children) > 0:
		return errors.New("has entries and is no directory")
	case typ == TypeSymlink && (n.Target == "" || len(n.Target) > MaxTarget || strings.Contains(n.Target, "\x00")):
		return fmt.Errorf("symlink to %.20q of %d bytes; want 1 to %d without NUL", n.Target, len(n.Target), MaxTarget)
	case typ != TypeFile:
	case n.Size < 0 || n.Size > MaxSize:
		return fmt.Errorf("size %d is not within 0 to %d", n.Size, int64(MaxSize))
	case len(n.Data) > MaxInline:
		return fmt.Errorf("%d bytes of data; an image keeps at most %d", len(n.Data), MaxInline)
	case n.Data != nil && int64(len(n.Data)) != n.Size:
		return fmt.Errorf("%d bytes of data and a size of %d", len(n.Data), n.Size)
	case n.isObject() && n.Digest.IsZero():
		return fmt.Errorf("file of %d bytes without a digest", n.Size)
	}
	return checkXattrs(n.Xattrs)
}

func checkXattrs(m map[string]string) error {
	total := xattrHeaderSize
	for k, v := range m {
		if k == "" || len(k) > maxName || strings.Contains(k, "\x00") {
			return fmt.Errorf("extended attribute name %.20q of %d bytes; want 1 to %d without NUL", k, len(k), maxName)
		}
		total += 2*xattrEntrySize - 1 + len(k) + len(v)
	}
	if len(m) > 0 && total > maxXattrs {
		return fmt.Errorf("%d bytes of extended attributes, more than %d", total, maxXattrs)
	}
	return nil
}
