package layer

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/source/untar"
	"github.com/instar-os/instar/internal/tree"
)

// Stack lays layers over each other. It works on nodes and inodes instead of a
// tree.Tree, because hiding a directory must cost what is in it, not what is
// in the image.
type Stack struct {
	root    *node
	layer   int // the one at hand, from 1
	limits  untar.Limits
	entries int
	bytes   int64
}

// A node is a name. Several share an inode when they are hard links.
type node struct {
	inode    *inode
	children map[string]*node
	touched  int // the last layer that brought it or something in it
}

type inode struct{ entry tree.Entry }

// NewStack returns a stack of no layers: an empty root. The limits bound all
// layers together.
func NewStack(limits untar.Limits) *Stack {
	return &Stack{root: &node{inode: &inode{tree.Entry{Kind: tree.Dir, Mode: 0o755}}}, limits: withDefaults(limits)}
}

// Apply lays a layer over those before it. A Stack that failed is of no use.
//
// A whiteout hides what the layers below have, never what its own layer
// brings, wherever in the archive it stands. Of several entries of one path the
// last one counts; a directory over a directory changes its attributes alone.
func (s *Stack) Apply(l *Layer) error {
	s.layer++
	s.entries += len(l.Ops)
	s.bytes += l.Bytes
	if s.entries > s.limits.Entries {
		return fmt.Errorf("more than %d entries in all layers", s.limits.Entries)
	}
	if s.bytes > s.limits.Bytes {
		return fmt.Errorf("the contents of all layers exceed %d bytes", s.limits.Bytes)
	}
	for _, op := range l.Ops {
		if err := s.apply(op); err != nil {
			return fmt.Errorf("/%s: %w", op.Path, err)
		}
	}
	return nil
}

func (s *Stack) apply(op Op) error {
	switch op.Kind {
	case Put:
		return s.put(op.Path, op.Entry)
	case Link:
		return s.link(op.Path, op.Entry)
	case Opaque:
		way, err := s.walk(op.Path, nil)
		if err != nil || way == nil {
			return err
		}
		s.hideBelow(way[len(way)-1])
		return nil
	case Whiteout:
		way, err := s.walk(path.Dir(op.Path), nil)
		if err != nil || way == nil {
			return err
		}
		s.hide(way[len(way)-1], path.Base(op.Path))
		return nil
	}
	return fmt.Errorf("unknown operation %d", op.Kind)
}

// maxLinks is how many symlinks one resolution follows, as Linux (MAXSYMLINKS).
const maxLinks = 40

// walk returns the directories from the root to p with symlinks followed,
// within the root. Missing ones are made with the attributes of a parent of
// made; without made nothing is made, and the way to what is not there is nil.
func (s *Stack) walk(p string, made *tree.Entry) ([]*node, error) {
	way, links := []*node{s.root}, 0
	rest := strings.Split(p, "/")
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		at := way[len(way)-1]
		switch part {
		case "", ".":
			continue
		case "..":
			way = way[:max(1, len(way)-1)]
			continue
		}
		next := at.children[part]
		switch {
		case next == nil && made == nil:
			return nil, nil
		case next == nil:
			next = &node{inode: &inode{tree.Entry{Kind: tree.Dir, Mode: 0o755, MTime: made.MTime, Owner: made.Owner}}}
			at.set(part, next)
		case next.inode.entry.Kind == tree.Symlink:
			if links++; links > maxLinks {
				return nil, fmt.Errorf("more than %d symlinks on the way to %s", maxLinks, p)
			}
			target := next.inode.entry.Target
			if strings.HasPrefix(target, "/") {
				way = way[:1]
			}
			rest = append(strings.Split(target, "/"), rest...)
			continue
		case next.inode.entry.Kind != tree.Dir && made == nil:
			return nil, nil
		case next.inode.entry.Kind != tree.Dir:
			return nil, fmt.Errorf("its parent %s is a %v, not a directory", part, next.inode.entry.Kind)
		}
		way = append(way, next)
	}
	return way, nil
}

func (n *node) set(name string, child *node) {
	if n.children == nil {
		n.children = map[string]*node{}
	}
	n.children[name] = child
}

// parent returns the directory that p goes into, marked as this layer's.
func (s *Stack) parent(p string, e tree.Entry) (*node, error) {
	way, err := s.walk(path.Dir(p), &e)
	if err != nil {
		return nil, err
	}
	for _, n := range way {
		n.touched = s.layer
	}
	return way[len(way)-1], nil
}

func (s *Stack) put(p string, e tree.Entry) error {
	if p == tree.Root {
		if e.Kind != tree.Dir {
			return fmt.Errorf("the root must be a directory, not a %v", e.Kind)
		}
		s.root.inode, s.root.touched = &inode{e}, s.layer
		return nil
	}
	up, err := s.parent(p, e)
	if err != nil {
		return err
	}
	n := &node{inode: &inode{e}, touched: s.layer}
	base := path.Base(p)
	if old := up.children[base]; old != nil && old.inode.entry.Kind == tree.Dir && e.Kind == tree.Dir {
		n.children = old.children
	}
	up.set(base, n)
	return nil
}

// link gives what is at the target, of this layer or one below, a further name.
// The attributes are the target's: a link is no change of what it leads to.
func (s *Stack) link(p string, e tree.Entry) error {
	way, err := s.walk(path.Dir(e.Target), nil)
	if err != nil {
		return err
	}
	var target *node
	if way != nil {
		target = way[len(way)-1].children[path.Base(e.Target)]
	}
	if target == nil || target.inode.entry.Kind == tree.Dir {
		return fmt.Errorf("hard link to %q, which is no file that this layer or one below brings", e.Target)
	}
	if p == tree.Root {
		return errors.New("the root must be a directory, not a hard link")
	}
	up, err := s.parent(p, e)
	if err != nil {
		return err
	}
	base := path.Base(p)
	if up.children[base] == target {
		return errors.New("hard link to itself")
	}
	up.set(base, &node{inode: target.inode, touched: s.layer})
	return nil
}

// hide removes a name that is not this layer's, or what is not this layer's below it.
func (s *Stack) hide(up *node, name string) {
	n := up.children[name]
	switch {
	case n == nil:
	case n.touched != s.layer:
		delete(up.children, name)
	default:
		s.hideBelow(n)
	}
}

func (s *Stack) hideBelow(n *node) {
	for name := range n.children {
		s.hide(n, name)
	}
}

// Tree returns what the layers give together. Of several names of one file the
// first carries it; further names of other things become things of their own.
func (s *Stack) Tree() (*tree.Tree, error) {
	t := tree.New()
	first := map[*inode]string{}
	var add func(p string, n *node) error
	add = func(p string, n *node) error {
		e := n.inode.entry
		if e.Kind == tree.File {
			if at, ok := first[n.inode]; ok {
				e = tree.Entry{Kind: tree.Hardlink, Target: at, Owner: e.Owner}
			} else {
				first[n.inode] = p
			}
		}
		if err := t.Put(p, e); err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(n.children)) {
			if err := add(path.Join(p, name), n.children[name]); err != nil {
				return err
			}
		}
		return nil
	}
	return t, add(tree.Root, s.root)
}
