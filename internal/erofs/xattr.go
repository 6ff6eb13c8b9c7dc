package erofs

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/digest"
)

// An xattr is one name and value, kept once for all the nodes that have it.
type xattr struct {
	key, value string
	index      byte   // of the prefix
	suffix     string // key without the prefix
	filter     uint32 // bit of the name filter
	size       int    // of the entry in bytes
	count      int    // nodes that have it
	offset     int64  // among the shared attributes
}

func newXattr(key, value string) *xattr {
	x := &xattr{key: key, value: value, suffix: key}
	for _, p := range xattrPrefixes {
		if s, ok := strings.CutPrefix(key, p.prefix); ok {
			x.index, x.suffix = p.index, s
			break
		}
	}
	x.filter = 1 << (xxh32(x.suffix, filterSeed+uint32(x.index)) & 31)
	x.size = roundUp(xattrEntrySize+len(x.suffix)+len(value), xattrEntrySize)
	return x
}

// append writes the entry: name length, prefix, value length, name, value.
func (x *xattr) append(b []byte) []byte {
	b = append(b, byte(len(x.suffix)), x.index, byte(len(x.value)), byte(len(x.value)>>8))
	b = append(b, x.suffix...)
	b = append(b, x.value...)
	return zeros(b, roundUp(len(b), xattrEntrySize)-len(b))
}

// shared reports whether more than one node has the attribute.
func (x *xattr) shared() bool { return x.count > 1 }

// An xattrTable keeps equal attributes once.
type xattrTable struct {
	byPair   map[[2]string]*xattr
	byObject map[digest.Digest][]*xattr
	shared   []*xattr // in canonical order: by key, length and value, descending
	size     int64    // of the shared ones in bytes
}

func (t *xattrTable) get(key, value string) *xattr {
	x, ok := t.byPair[[2]string{key, value}]
	if !ok {
		x = newXattr(key, value)
		t.byPair[[2]string{key, value}] = x
	}
	return x
}

// object returns the attributes that lead overlayfs to an object: its digest
// (a struct ovl_metacopy: version 0, length 36, no flags, SHA-256) and path.
func (t *xattrTable) object(d digest.Digest) []*xattr {
	pair, ok := t.byObject[d]
	if !ok {
		const verity = "\x00\x24\x00\x01"
		pair = []*xattr{newXattr(xattrMetacopy, verity+string(d[:])), newXattr(xattrRedirect, "/"+d.Path())}
		t.byObject[d] = pair
	}
	return pair
}

// sort makes the list of shared attributes and lays it out.
func (t *xattrTable) sort() {
	for _, x := range t.byPair {
		if x.shared() {
			t.shared = append(t.shared, x)
		}
	}
	for _, pair := range t.byObject {
		if pair[0].shared() {
			t.shared = append(t.shared, pair...)
		}
	}
	slices.SortFunc(t.shared, func(a, b *xattr) int {
		return cmp.Or(strings.Compare(b.key, a.key), cmp.Compare(len(b.value), len(a.value)),
			strings.Compare(b.value, a.value))
	})
	for _, x := range t.shared {
		x.offset = t.size
		t.size += int64(x.size)
	}
}

// attributes gives every inode its list of attributes.
func (w *writer) attributes() {
	for i := range w.inodes {
		ino := &w.inodes[i]
		set := w.attributeSet(i)
		switch {
		case set == nil && ino.isObject():
			ino.xattrs = w.xattrs.object(ino.Digest)
		case set != nil:
			for k, v := range set {
				ino.xattrs = append(ino.xattrs, w.xattrs.get(k, v))
			}
			if ino.isObject() {
				ino.xattrs = append(ino.xattrs, w.xattrs.object(ino.Digest)...)
			}
			slices.SortFunc(ino.xattrs, func(a, b *xattr) int { return strings.Compare(a.key, b.key) })
		}
		for _, x := range ino.xattrs {
			x.count++
			w.hasACL = w.hasACL || x.key == xattrACL || x.key == xattrACLPreset
		}
	}
	w.xattrs.sort()
}

// attributeSet returns a node's own attributes, those that mean something to
// overlayfs escaped, with the marks of whiteouts and of the root. The pair of
// an object is not among them. It returns nil for none.
func (w *writer) attributeSet(i int) map[string]string {
	ino := &w.inodes[i]
	disguised := ino.mode != ino.Mode
	marked := w.version > 0 && w.holdsWhiteout(ino)
	if len(ino.Xattrs) == 0 && !disguised && !marked && i != 0 {
		return nil
	}
	set := make(map[string]string, len(ino.Xattrs))
	for k, v := range ino.Xattrs {
		if rest, ok := strings.CutPrefix(k, overlayPrefix); ok {
			k = escapePrefix + rest
		}
		set[k] = v
	}
	if disguised {
		maps.Copy(set, whiteoutXattrs)
	}
	if marked {
		maps.Copy(set, whiteoutDirXattrs)
	}
	if i == 0 {
		set[xattrOpaque] = "y"
	}
	return set
}

func (w *writer) holdsWhiteout(dir *inode) bool {
	return slices.ContainsFunc(dir.entries, func(e entry) bool {
		c := &w.inodes[e.inode]
		return c.mode != c.Mode
	})
}
