package store

import (
	"bytes"
	"slices"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/erofs"
	"github.com/instar-os/instar/internal/system"
)

// Closure is everything that some systems need of the store. Each list is
// sorted by digest and free of duplicates.
type Closure struct {
	Systems []system.Object `json:"systems"`
	Images  []system.Object `json:"images"`
	Objects []system.Object `json:"objects"`
}

// Bytes returns the sum of all sizes.
func (c *Closure) Bytes() int64 {
	var n int64
	for _, list := range [][]system.Object{c.Systems, c.Images, c.Objects} {
		n += sum(list)
	}
	return n
}

func sum(list []system.Object) int64 {
	var n int64
	for _, o := range list {
		n += o.Size
	}
	return n
}

// Closure returns what the systems need: their manifests, kernels and images,
// and the objects of all files of the images. Manifests and images are
// verified; whether the objects are there is not looked at.
func (s *Store) Closure(systems ...digest.Digest) (Closure, error) {
	sys, images, objects := set{}, set{}, set{}
	for _, d := range systems {
		m, size, err := s.system(d)
		if err != nil {
			return Closure{}, err
		}
		sys[d] = size
		for _, o := range m.Objects() {
			objects[o.Digest] = o.Size
		}
		for _, o := range m.Images() {
			if _, ok := images[o.Digest]; ok {
				continue
			}
			root, size, err := s.imageNodes(o.Digest)
			if err != nil {
				return Closure{}, err
			}
			images[o.Digest] = size
			eachObject(root, func(n *erofs.Node) { objects[n.Digest] = n.Size })
		}
	}
	return Closure{sys.sorted(), images.sorted(), objects.sorted()}, nil
}

// A set of files of the store with their sizes.
type set map[digest.Digest]int64

func (m set) sorted() []system.Object {
	out := make([]system.Object, 0, len(m))
	for d, size := range m {
		out = append(out, system.Object{Digest: d, Size: size})
	}
	slices.SortFunc(out, byDigest)
	return out
}

func byDigest(a, b system.Object) int { return bytes.Compare(a.Digest[:], b.Digest[:]) }

// eachObject calls f for every file below n whose content is an object, once
// for each of its names.
func eachObject(n *erofs.Node, f func(*erofs.Node)) {
	if n.Type() == erofs.TypeFile && n.Size > 0 && n.Data == nil {
		f(n)
	}
	for _, c := range n.Children {
		eachObject(c.Node, f)
	}
}
