package erofs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/instar-os/instar/internal/digest"
)

// maxImage is the largest image that Read takes, in bytes.
const maxImage = 1 << 30

// errCut says that something in the image points outside it, or that parts of
// it are used twice.
var errCut = errors.New("the image is cut short or its parts overlap")

// Read reads an image of the given size in bytes back into a tree: what Write
// was given, with children sorted by name. Everything that Write adds (the
// attributes for overlayfs, escapes, whiteouts) is taken away again.
//
// Nothing but what Write makes is accepted: the tree is written again and
// compared. So an image has one tree, and hidden content has no place.
func Read(r io.ReaderAt, size int64) (*Node, error) {
	if size < metaStart || size > maxImage || size%blockSize != 0 {
		return nil, fmt.Errorf("reading an image of %d bytes: want a multiple of %d, at most %d", size, blockSize, maxImage)
	}
	b := make([]byte, size)
	if _, err := r.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading an image: %w", err)
	}
	p := &parser{b: b, budget: size, nodes: map[uint64]*Node{}, shared: map[uint32][2]string{}}
	root, err := p.parse()
	if err != nil {
		return nil, fmt.Errorf("reading an image: %w", err)
	}
	again, err := Append(make([]byte, 0, size), root)
	if err != nil || !bytes.Equal(again, b) {
		return nil, errors.New("reading an image: it is not in canonical form")
	}
	return root, nil
}

type parser struct {
	b      []byte
	budget int64 // bytes that inodes may still take; without overlaps all fit
	nodes  map[uint64]*Node
	queue  []queued // directories whose entries are to be read
	shared map[uint32][2]string
	time   int64  // of compact inodes
	xattrs int64  // offset of the shared attributes' block
	hidden bool   // the tree holds whiteouts
	limit  uint64 // nids are below it
}

// A queued directory has its content in one piece per block.
type queued struct {
	node   *Node
	blocks [][]byte
	marked bool // as a directory of whiteouts
	root   bool
}

func (p *parser) parse() (*Node, error) {
	le := binary.LittleEndian
	s := p.b[superOffset:metaStart]
	switch version := le.Uint32(p.b[12:]); {
	case le.Uint32(p.b) != composefsMagic || le.Uint32(s) != superMagic:
		return nil, errors.New("no composefs image")
	case le.Uint32(p.b[4:]) != composefsVersion || version > 1:
		return nil, fmt.Errorf("composefs version %d.%d is unknown", le.Uint32(p.b[4:]), version)
	case s[12] != blockBits || le.Uint32(s[80:]) != 0:
		return nil, errors.New("an EROFS image with other features than composefs has")
	default:
		p.hidden = version == 1
	}
	p.time = int64(le.Uint64(s[24:]))
	p.xattrs = int64(le.Uint32(s[44:])) * blockSize
	p.limit = uint64(len(p.b) / slotSize)
	root, err := p.inode(uint64(le.Uint16(s[14:])))
	if err != nil {
		return nil, err
	}
	if root.Type() != TypeDir {
		return nil, errors.New("its root is no directory")
	}
	if root.Xattrs[xattrOpaque] != "y" {
		return nil, errors.New("its root is not opaque")
	}
	delete(root.Xattrs, xattrOpaque)
	for i := 0; i < len(p.queue); i++ {
		if err := p.directory(p.queue[i]); err != nil {
			return nil, err
		}
	}
	for _, n := range p.nodes {
		if err := unescape(n); err != nil {
			return nil, err
		}
	}
	return root, nil
}

// take returns a part of the image that nothing else may use.
func (p *parser) take(offset, n int64) ([]byte, error) {
	if offset < 0 || n < 0 || n > p.budget || offset > int64(len(p.b))-n {
		return nil, errCut
	}
	p.budget -= n
	return p.b[offset : offset+n], nil
}

// inode reads an inode, its attributes and its data. Directories are queued.
func (p *parser) inode(nid uint64) (*Node, error) {
	if nid >= p.limit {
		return nil, errCut
	}
	le, at := binary.LittleEndian, int64(nid)*slotSize
	h, err := p.take(at, compactSize)
	if err != nil {
		return nil, err
	}
	format := le.Uint16(h)
	n := &Node{Mode: uint32(le.Uint16(h[4:])), MTime: p.time}
	if format&1 == 0 {
		n.Size = int64(le.Uint32(h[8:]))
		n.UID, n.GID = uint32(le.Uint16(h[24:])), uint32(le.Uint16(h[26:]))
		at += compactSize
	} else {
		more, err := p.take(at+compactSize, extendedSize-compactSize)
		if err != nil {
			return nil, err
		}
		n.Size = int64(le.Uint64(h[8:]))
		n.UID, n.GID = le.Uint32(h[24:]), le.Uint32(h[28:])
		n.MTime = int64(le.Uint64(more))
		at += extendedSize
	}
	if n.Xattrs, at, err = p.attributes(at, int(le.Uint16(h[2:]))); err != nil {
		return nil, err
	}
	p.nodes[nid] = n
	return n, p.content(n, at, int(format>>1), le.Uint32(h[16:]))
}

// content reads what follows an inode, or stands in the data area.
func (p *parser) content(n *Node, tailAt int64, layout int, union uint32) error {
	switch n.Type() {
	case TypeChar, TypeBlock:
		n.Rdev = union
	case TypeFile:
		if layout == layoutChunk {
			_, err := p.take(tailAt, 4)
			return errors.Join(err, objectDigest(n))
		}
	}
	if n.Size == 0 {
		return nil
	}
	full, tail := n.Size, int64(0)
	if layout == layoutInline {
		full, tail = n.Size/blockSize*blockSize, n.Size%blockSize
	}
	data, err := p.take(int64(union)*blockSize*min(full, 1), full)
	if err != nil {
		return err
	}
	rest, err := p.take(tailAt, tail)
	if err != nil {
		return err
	}
	switch n.Type() {
	case TypeFile:
		n.Data = append(bytes.Clone(data), rest...)
	case TypeSymlink:
		n.Target, n.Size = string(data)+string(rest), 0
	case TypeDir:
		q := queued{node: n, marked: p.hidden && isMarked(n, whiteoutDirXattrs), root: len(p.queue) == 0}
		for len(data) > 0 {
			k := min(blockSize, len(data))
			q.blocks = append(q.blocks, data[:k])
			data = data[k:]
		}
		n.Size, q.blocks = 0, append(q.blocks, rest)
		p.queue = append(p.queue, q)
	}
	return nil
}

// objectDigest takes the pair of attributes that leads to an object off n.
func objectDigest(n *Node) error {
	v := n.Xattrs[xattrMetacopy]
	if len(v) != 4+digest.Size {
		return errors.New("a file without inline content has no digest")
	}
	n.Digest = digest.Digest([]byte(v[4:]))
	delete(n.Xattrs, xattrMetacopy)
	delete(n.Xattrs, xattrRedirect)
	return nil
}

// directory reads the entries of a directory and the inodes that are new.
func (p *parser) directory(q queued) error {
	le := binary.LittleEndian
	for _, b := range q.blocks {
		if len(b) == 0 {
			continue
		}
		if len(b) < direntSize {
			return errCut
		}
		count := int(le.Uint16(b[8:])) / direntSize
		if count == 0 || count*direntSize > len(b) {
			return errCut
		}
		for i := range count {
			from, to := int(le.Uint16(b[i*direntSize+8:])), len(b)
			if i+1 < count {
				to = int(le.Uint16(b[(i+1)*direntSize+8:]))
			}
			if from > to || to > len(b) {
				return errCut
			}
			name := strings.TrimRight(string(b[from:to]), "\x00")
			if name == "." || name == ".." {
				continue
			}
			if err := p.child(q, name, le.Uint64(b[i*direntSize:])); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *parser) child(dir queued, name string, nid uint64) error {
	n, ok := p.nodes[nid]
	switch {
	case ok && n.Type() != TypeFile:
		return fmt.Errorf("%q stands in two places and is no regular file", name)
	case !ok:
		var err error
		if n, err = p.inode(nid); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
		if dir.root && n.isWhiteout() && isObjectDir(name) {
			return nil // Write adds it again
		}
		if dir.marked && n.Type() == TypeFile && n.Size == 0 && isMarked(n, whiteoutXattrs) {
			n.Mode = TypeChar | n.Mode&^TypeMask
			unmark(n, whiteoutXattrs)
			unmark(dir.node, whiteoutDirXattrs)
		}
	}
	dir.node.Children = append(dir.node.Children, Child{name, n})
	return nil
}
