package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/erofs"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/tree"
)

// MaxInline is the largest file, in bytes, whose content stands in the image;
// larger ones are objects. mkcomposefs draws the same line.
const MaxInline = 64

// maxImage is the largest image that is read, in bytes.
const maxImage = 1 << 30

// PutImage stores the image of a tree and returns its name. The store must hold
// the content of all files of the tree. As an object, it lasts after Commit.
func (s *Store) PutImage(ctx context.Context, t *tree.Tree) (system.Object, error) {
	if s.readOnly {
		return system.Object{}, s.errReadOnly("putting an image")
	}
	root, err := s.nodes(ctx, t)
	if err != nil {
		return system.Object{}, fmt.Errorf("putting an image: %w", err)
	}
	b, err := erofs.Append(nil, root)
	if err != nil {
		return system.Object{}, err
	}
	o := system.Object{Digest: digest.Of(b), Size: int64(len(b))}
	if info, err := os.Stat(s.ImagePath(o.Digest)); err == nil && info.Size() == o.Size {
		return o, nil
	}
	if err := s.stage("image-"+o.Digest.String(), s.ImagePath(o.Digest), 0o444, b); err != nil {
		return o, fmt.Errorf("putting image %s: %w", o.Digest.Short(), err)
	}
	return o, nil
}

// nodes turns a tree into what package erofs writes.
func (s *Store) nodes(ctx context.Context, t *tree.Tree) (*erofs.Node, error) {
	byPath := make(map[string]*erofs.Node, t.Len())
	var links []string
	var missing []error
	for p, e := range t.All() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if e.Kind == tree.Hardlink {
			links = append(links, p)
			continue
		}
		n, err := s.node(e)
		if errors.Is(err, ErrMissing) && len(missing) < 10 {
			missing = append(missing, fmt.Errorf("/%s: %w", p, err))
			n = &erofs.Node{}
		} else if err != nil {
			return nil, fmt.Errorf("/%s: %w", p, err)
		}
		byPath[p] = n
		if p != tree.Root {
			up := byPath[tree.Parent(p)]
			up.Children = append(up.Children, erofs.Child{Name: path.Base(p), Node: n})
		}
	}
	if len(missing) > 0 {
		return nil, errors.Join(missing...)
	}
	for _, p := range links {
		e, _ := t.Get(p)
		n, up := byPath[e.Target], byPath[tree.Parent(p)]
		if n == nil || n.Type() != erofs.TypeFile {
			return nil, fmt.Errorf("/%s: hard link to %q, which is no file of the tree", p, e.Target)
		}
		up.Children = append(up.Children, erofs.Child{Name: path.Base(p), Node: n})
	}
	return byPath[tree.Root], nil
}

// nodeTypes are the types of tree entries in an image.
var nodeTypes = map[tree.Kind]uint32{
	tree.File: erofs.TypeFile, tree.Dir: erofs.TypeDir, tree.Symlink: erofs.TypeSymlink,
	tree.CharDevice: erofs.TypeChar, tree.BlockDevice: erofs.TypeBlock,
	tree.Fifo: erofs.TypeFifo, tree.Socket: erofs.TypeSocket,
}

func (s *Store) node(e tree.Entry) (*erofs.Node, error) {
	n := &erofs.Node{
		Mode: nodeTypes[e.Kind] | uint32(e.Mode), UID: e.UID, GID: e.GID, MTime: e.MTime, Xattrs: e.Xattrs,
	}
	switch e.Kind {
	case tree.Symlink:
		n.Target = e.Target
	case tree.CharDevice, tree.BlockDevice:
		if e.Major >= 1<<12 || e.Minor >= 1<<20 {
			return nil, fmt.Errorf("device %d:%d; an image holds majors below 4096 and minors below 1048576", e.Major, e.Minor)
		}
		n.Rdev = erofs.Rdev(e.Major, e.Minor)
	case tree.File:
		return n, s.content(n, e)
	}
	return n, nil
}

// content gives a file's node its data or the digest of its object.
func (s *Store) content(n *erofs.Node, e tree.Entry) error {
	n.Size = e.Size
	if e.Size == 0 {
		return nil
	}
	if e.Size > MaxInline {
		n.Digest = e.Digest
		if !s.has(e.Digest, e.Size) {
			return fmt.Errorf("object %s of %d bytes: %w", e.Digest, e.Size, ErrMissing)
		}
		return nil
	}
	s.mu.Lock()
	data, ok := s.small[e.Digest]
	s.mu.Unlock()
	if !ok {
		var err error
		if data, err = s.Bytes(e.Digest, MaxInline); err != nil {
			return err
		}
		s.mu.Lock()
		s.small[e.Digest] = data
		s.mu.Unlock()
	}
	if int64(len(data)) != e.Size {
		return fmt.Errorf("object %s has %d bytes, want %d", e.Digest, len(data), e.Size)
	}
	n.Data = data
	return nil
}

// Image reads an image back into a tree. Files whose content stands in the
// image have the digest of that content, although there may be no such object.
// Of several names of one file, the first in the tree's order carries it.
func (s *Store) Image(d digest.Digest) (*tree.Tree, error) {
	root, _, err := s.imageNodes(d)
	if err != nil {
		return nil, err
	}
	t, err := treeOf(root)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", d.Short(), err)
	}
	return t, nil
}

// imageNodes returns an image's nodes and its length in bytes.
func (s *Store) imageNodes(d digest.Digest) (*erofs.Node, int64, error) {
	file := s.ImagePath(d)
	if p, ok := s.staging.path("image-" + d.String()); ok {
		file = p
	}
	b, err := s.read(file, d, maxImage)
	if err != nil {
		return nil, 0, fmt.Errorf("image %s: %w", d.Short(), err)
	}
	root, err := erofs.Read(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return nil, 0, fmt.Errorf("image %s: %w", d.Short(), err)
	}
	return root, int64(len(b)), nil
}

// treeOf turns an image's nodes into a tree.
func treeOf(root *erofs.Node) (*tree.Tree, error) {
	t := tree.New()
	first := map[*erofs.Node]string{}
	var walk func(p string, n *erofs.Node) error
	walk = func(p string, n *erofs.Node) error {
		e := entryOf(n)
		if at, ok := first[n]; ok {
			e = tree.Entry{Kind: tree.Hardlink, Target: at}
		} else {
			first[n] = p
		}
		if err := t.Put(p, e); err != nil {
			return err
		}
		for _, c := range n.Children {
			if err := walk(path.Join(p, c.Name), c.Node); err != nil {
				return err
			}
		}
		return nil
	}
	return t, walk(tree.Root, root)
}

func entryOf(n *erofs.Node) tree.Entry {
	e := tree.Entry{
		Mode: uint16(n.Mode & 0o7777), UID: n.UID, GID: n.GID, MTime: n.MTime,
		Target: n.Target, Xattrs: maps.Clone(n.Xattrs),
	}
	for kind, typ := range nodeTypes {
		if typ == n.Type() {
			e.Kind = kind
		}
	}
	switch e.Kind {
	case tree.CharDevice, tree.BlockDevice:
		e.Major, e.Minor = erofs.Device(n.Rdev)
	case tree.File:
		e.Size, e.Digest = n.Size, n.Digest
		if n.Data != nil {
			e.Digest = digest.Of(n.Data)
		}
	}
	return e
}
