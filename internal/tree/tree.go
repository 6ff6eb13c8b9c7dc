// Package tree holds file trees as values: paths, kinds, modes, owners, times,
// extended attributes and the digests of contents. A Tree knows nothing of
// disks; package store turns one into an image.
package tree

import (
	"fmt"
	"iter"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/digest"
)

// Kind is the type of an Entry.
type Kind uint8

// The kinds of entries. Hardlink is a further name of a regular file of the
// same tree; its Target is the path of the entry that carries the inode.
const (
	File Kind = iota + 1
	Dir
	Symlink
	Hardlink
	CharDevice
	BlockDevice
	Fifo
	Socket
)

var kindNames = map[Kind]string{
	File: "file", Dir: "dir", Symlink: "symlink", Hardlink: "hardlink",
	CharDevice: "char", BlockDevice: "block", Fifo: "fifo", Socket: "socket",
}

// String returns the kind's name in a listing.
func (k Kind) String() string {
	if s, ok := kindNames[k]; ok {
		return s
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Root is the path of a tree's root directory.
const Root = "."

// Limits of a path, as Linux has them (PATH_MAX without its NUL, NAME_MAX).
const (
	MaxPath = 4095
	MaxName = 255
)

// Entry is one name of a tree.
type Entry struct {
	Kind   Kind
	Mode   uint16 // permission bits with setuid, setgid and sticky: 07777
	UID    uint32
	GID    uint32
	MTime  int64         // seconds since 1970
	Size   int64         // bytes; of files only
	Digest digest.Digest // content of a file; zero when Size is 0
	Target string        // what a symlink says, or the path a hardlink shares
	Major  uint32        // of devices
	Minor  uint32
	Xattrs map[string]string // nil for none

	// Owner says who brought the entry ("mosquitto 2.0.21-1 amd64", "files in
	// ./conf"). It serves errors and reports and is no part of an image.
	Owner string
}

// Equal reports whether two entries give the same inode; Owner is not compared.
func (e Entry) Equal(o Entry) bool {
	return maps.Equal(e.Xattrs, o.Xattrs) && e.Kind == o.Kind && e.Mode == o.Mode && e.UID == o.UID && e.GID == o.GID &&
		e.MTime == o.MTime && e.Size == o.Size && e.Digest == o.Digest && e.Target == o.Target &&
		e.Major == o.Major && e.Minor == o.Minor
}

// sameContent compares what a reader of the path would see, leaving times out.
func (e Entry) sameContent(o Entry) bool {
	e.MTime = o.MTime
	return e.Equal(o)
}

// Tree maps clean, relative, slash-separated paths to entries. The root is ".".
// The zero value is not usable; call New. A Tree is not safe for concurrent writes.
type Tree struct {
	entries map[string]Entry
}

// New returns a tree with nothing but a root directory of mode 0755, owner 0:0.
func New() *Tree {
	return &Tree{entries: map[string]Entry{Root: {Kind: Dir, Mode: 0o755}}}
}

// Clean turns a path as archives write it ("./usr/bin/", "/usr/bin") into a
// tree's form ("usr/bin"). Paths that leave the root, contain NUL, or exceed
// Linux' limits are errors.
func Clean(name string) (string, error) {
	if strings.IndexByte(name, 0) >= 0 {
		return "", fmt.Errorf("path %q contains a NUL byte", name)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", fmt.Errorf("path %q contains \"..\"", name)
		}
		if len(part) > MaxName {
			return "", fmt.Errorf("path %.40q…: a name of %d bytes, more than %d", name, len(part), MaxName)
		}
	}
	p := strings.TrimPrefix(path.Clean("/"+name), "/")
	if p == "" {
		return Root, nil
	}
	if len(p) > MaxPath {
		return "", fmt.Errorf("path %.40q… has %d bytes, more than %d", name, len(p), MaxPath)
	}
	return p, nil
}

// Parent returns the path of the directory that holds p. The root's is "".
func Parent(p string) string {
	if p == Root {
		return ""
	}
	return path.Dir(p)
}

// Len returns the number of entries, the root included.
func (t *Tree) Len() int { return len(t.entries) }

// Get returns the entry at a path in the tree's form.
func (t *Tree) Get(p string) (Entry, bool) {
	e, ok := t.entries[p]
	return e, ok
}

// Put sets the entry at p, creating parent directories (0755, 0:0, the entry's
// time and owner) that are missing. It fails when p is not in the tree's form
// or a parent is not a directory. A directory replaced by something else loses
// its content.
func (t *Tree) Put(p string, e Entry) error {
	if c, err := Clean(p); err != nil {
		return err
	} else if c != p {
		return fmt.Errorf("path %q is not clean; want %q", p, c)
	}
	if p == Root && e.Kind != Dir {
		return fmt.Errorf("the root must be a directory, not a %v", e.Kind)
	}
	if err := t.makeParents(p, e); err != nil {
		return err
	}
	if old, ok := t.entries[p]; ok && old.Kind == Dir && e.Kind != Dir {
		t.Remove(p)
	}
	t.entries[p] = e
	return nil
}

func (t *Tree) makeParents(p string, e Entry) error {
	var missing []string
	for dir := Parent(p); dir != "" && dir != Root; dir = Parent(dir) {
		up, ok := t.entries[dir]
		if ok && up.Kind != Dir {
			return fmt.Errorf("%s: its parent %s is a %v (of %s), not a directory", p, dir, up.Kind, up.Owner)
		}
		if ok {
			break
		}
		missing = append(missing, dir)
	}
	for _, dir := range missing {
		t.entries[dir] = Entry{Kind: Dir, Mode: 0o755, MTime: e.MTime, Owner: e.Owner}
	}
	return nil
}

// Remove deletes p and, when it is a directory, all below it. A hard link whose
// inode goes away with p takes the inode over. Removing what is not there does
// nothing; the root stays, emptied.
func (t *Tree) Remove(p string) {
	e, ok := t.entries[p]
	if !ok {
		return
	}
	gone := map[string]Entry{}
	if e.Kind == Dir {
		prefix := p + "/"
		for q, c := range t.entries {
			if q != Root && (p == Root || strings.HasPrefix(q, prefix)) {
				gone[q] = c
			}
		}
	}
	if p != Root {
		gone[p] = e
	}
	for q := range gone {
		delete(t.entries, q)
	}
	t.promote(gone)
}

// promote gives each inode in gone to the first remaining hard link of it.
func (t *Tree) promote(gone map[string]Entry) {
	files := false
	for _, e := range gone {
		files = files || e.Kind == File
	}
	if !files {
		return
	}
	heir := map[string]string{}
	for _, p := range t.Paths() {
		e := t.entries[p]
		if e.Kind != Hardlink {
			continue
		}
		inode, ok := gone[e.Target]
		if !ok {
			continue
		}
		if h, ok := heir[e.Target]; ok {
			e.Target = h
			t.entries[p] = e
			continue
		}
		heir[e.Target] = p
		inode.Owner = e.Owner
		t.entries[p] = inode
	}
}

// Paths returns all paths in byte order of their components, so that each
// directory stands right before what it contains.
func (t *Tree) Paths() []string {
	return slices.SortedFunc(maps.Keys(t.entries), ComparePaths)
}

// ComparePaths orders paths component by component; the root comes first.
func ComparePaths(a, b string) int {
	switch {
	case a == b:
		return 0
	case a == Root:
		return -1
	case b == Root:
		return 1
	}
	for i := 0; i < len(a) && i < len(b); i++ {
		x, y := a[i], b[i]
		if x == y {
			continue
		}
		if x == '/' {
			return -1
		}
		if y == '/' {
			return 1
		}
		return int(x) - int(y)
	}
	return len(a) - len(b)
}

// All yields the entries in the order of Paths.
func (t *Tree) All() iter.Seq2[string, Entry] {
	return func(yield func(string, Entry) bool) {
		for _, p := range t.Paths() {
			if !yield(p, t.entries[p]) {
				return
			}
		}
	}
}

// Children returns the sorted names within the directory at p. It looks at
// every entry; callers that walk use All.
func (t *Tree) Children(p string) []string {
	var names []string
	for q := range t.entries {
		if q != Root && Parent(q) == p {
			names = append(names, path.Base(q))
		}
	}
	slices.Sort(names)
	return names
}

// Clone returns a copy that shares the entries' attribute maps, which nobody
// changes in place.
func (t *Tree) Clone() *Tree { return &Tree{entries: maps.Clone(t.entries)} }

// Inode returns the entry that carries the inode of p: p's own, or the one its
// hard link names. Symlinks are not followed.
func (t *Tree) Inode(p string) (Entry, bool) {
	e, ok := t.entries[p]
	if ok && e.Kind == Hardlink {
		e, ok = t.entries[e.Target]
	}
	return e, ok
}

// maxLinks is how many symlinks one resolution follows, as Linux (MAXSYMLINKS).
const maxLinks = 40

// Resolve follows symlinks in every component of p, within the tree, and
// returns the path it arrives at and whether something is there. Links that
// lead above the root stay at the root, as in a chroot.
func (t *Tree) Resolve(p string) (string, bool) { return t.resolve(p, func(string) {}) }

// Way returns every entry that stands on the way to p: directories, symlinks,
// and what is at its end. It is what must be there for p to be opened.
func (t *Tree) Way(p string) []string {
	var way []string
	t.resolve(p, func(at string) { way = append(way, at) })
	return way
}

// resolve is Resolve, and tells pass of each entry on the way.
func (t *Tree) resolve(p string, pass func(at string)) (string, bool) {
	rest := strings.Split(strings.Trim(p, "/"), "/")
	at, links := Root, 0
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if at = path.Dir(at); at == "/" {
				at = Root
			}
			continue
		}
		next := path.Join(at, part)
		e, ok := t.entries[next]
		if !ok {
			return path.Join(append([]string{next}, rest...)...), false
		}
		pass(next)
		if e.Kind != Symlink {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return next, false
		}
		if strings.HasPrefix(e.Target, "/") {
			at = Root
		}
		rest = append(strings.Split(e.Target, "/"), rest...)
	}
	return at, true
}

// Stat returns the inode at the end of p with symlinks followed.
func (t *Tree) Stat(p string) (Entry, bool) {
	at, ok := t.Resolve(p)
	if !ok {
		return Entry{}, false
	}
	return t.Inode(at)
}

// Check reports what would make the tree no file system: parents that are
// missing or no directories, hard links to nothing or to no regular file.
// Decoders of foreign trees call it; Put and Remove keep it true.
func (t *Tree) Check() error {
	for p, e := range t.All() {
		if _, ok := kindNames[e.Kind]; !ok {
			return fmt.Errorf("%s: unknown kind %d", p, e.Kind)
		}
		if up := Parent(p); up != "" && t.entries[up].Kind != Dir {
			return fmt.Errorf("%s: its parent %s is not a directory", p, up)
		}
		if e.Kind == Hardlink && t.entries[e.Target].Kind != File {
			return fmt.Errorf("%s: hard link to %q, which is not a file of the tree", p, e.Target)
		}
	}
	return nil
}

// Bytes returns the sum of the sizes of the files, each hard-linked one once.
func (t *Tree) Bytes() int64 {
	var n int64
	for _, e := range t.entries {
		if e.Kind == File {
			n += e.Size
		}
	}
	return n
}
