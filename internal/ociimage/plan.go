// Package ociimage writes trees as OCI images: layer archives, configuration,
// manifest and index, in a layout directory, an archive or a registry.
//
// What belongs together (a package, an image that came in, the files of a
// definition) goes into one layer, so that the next version of the image shares
// every layer whose package did not change. The same tree gives the same bytes.
//
// Source: OCI image specification 1.1.
package ociimage

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"path"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/tree"
)

// Group is what belongs together.
type Group struct {
	Name string // of all versions of it, so that it keeps its place
	Uses int    // how many others have it as well: the more, the lower its layer
}

// Last is the group of what changes with every version: it stands on top.
var Last = Group{}

// Layer is a part of a tree.
type Layer struct {
	Groups []string `json:"groups"` // sorted
	Files  int      `json:"files"`
	Bytes  int64    `json:"bytes"` // of contents

	paths []string // in the tree's order, without directories but those that are empty or nobody's
}

// The bounds of layers. Registries and runtimes take 127 layers; more layers cost
// a mount and a request each.
const (
	DefaultLayers = 40
	MaxLayers     = 120
	smallGroup    = 128 << 10 // bytes below which a group does not get a layer
)

// Plan divides a tree. The groups with most uses, then the largest, get a layer
// each; the others share an eighth of the layers, each in the one that its name
// says, so that a new version of one changes that one; what has no group is on top.
func Plan(t *tree.Tree, group func(p string, e tree.Entry) Group, maxLayers int) ([]Layer, error) {
	if maxLayers == 0 {
		maxLayers = DefaultLayers
	}
	if maxLayers < 2 || maxLayers > MaxLayers {
		return nil, fmt.Errorf("%d layers: want 2 to %d", maxLayers, MaxLayers)
	}
	parts := map[string]*part{}
	at := func(g Group) *part {
		p := parts[g.Name]
		if p == nil {
			p = &part{Group: g, layer: Layer{Groups: []string{g.Name}}}
			parts[g.Name] = p
		}
		p.Uses = max(p.Uses, g.Uses)
		return p
	}
	for p, e := range t.All() {
		if strings.HasPrefix(path.Base(p), ".wh.") {
			return nil, fmt.Errorf("/%s: a layer cannot hold a file of this name, which would hide another", p)
		}
		g := Last
		switch e.Kind {
		case tree.Dir: // parents come with what they hold
		case tree.Hardlink:
			inode, _ := t.Get(e.Target)
			g = group(e.Target, inode)
		default:
			g = group(p, e)
		}
		at(g).add(p, e)
	}
	return arrange(parts, maxLayers), nil
}

type part struct {
	Group
	layer Layer
}

func (p *part) add(name string, e tree.Entry) {
	p.layer.paths = append(p.layer.paths, name)
	if e.Kind != tree.Dir {
		p.layer.Files++
	}
	p.layer.Bytes += e.Size
}

// arrange gives parts their layers, the lowest first.
func arrange(parts map[string]*part, maxLayers int) []Layer {
	last := parts[Last.Name]
	delete(parts, Last.Name)
	var all []*part
	for _, p := range parts {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *part) int {
		return cmp.Or(cmp.Compare(b.Uses, a.Uses), cmp.Compare(b.layer.Bytes, a.layer.Bytes), strings.Compare(a.Name, b.Name))
	})
	shared := max(1, maxLayers/8)
	var out []Layer
	buckets := make([]Layer, shared)
	for _, p := range all {
		if p.layer.Bytes >= smallGroup && len(out) < maxLayers-1-shared {
			out = append(out, p.layer)
			continue
		}
		h := fnv.New32a()
		h.Write([]byte(p.Name))
		b := &buckets[h.Sum32()%uint32(shared)]
		b.Groups = append(b.Groups, p.Name)
		b.paths = append(b.paths, p.layer.paths...)
		b.Files += p.layer.Files
		b.Bytes += p.layer.Bytes
	}
	for _, b := range buckets {
		if len(b.paths) > 0 {
			slices.Sort(b.Groups)
			slices.SortFunc(b.paths, tree.ComparePaths)
			out = append(out, b)
		}
	}
	if last != nil {
		last.layer.Groups = []string{}
		out = append(out, last.layer)
	}
	return out
}
