package main

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/instar-os/instar/internal/assemble"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/tree"
)

// chains are the images: what each is built upon, from the bottom.
var chains = [][]string{
	{"base", "python"}, {"base", "python", "numpy"}, {"base", "python", "web"}, {"base", "nginx"}, {"base", "haproxy"}, {"base", "redis"},
	{"base", "mosquitto"}, {"base", "postgres"}, {"base", "mariadb"}, {"base", "perl"}, {"base", "ruby"}, {"base", "php"}, {"base", "node"},
	{"base", "git"}, {"base", "ssh"},
}

// set is what bench-dedup writes, in bytes.
type set struct {
	Images       int   `json:"images"`
	Uncompressed int64 `json:"uncompressed"` // every image's layers, as tar
	SharedLayers int64 `json:"sharedLayers"` // every layer once, as tar
	SharedFiles  int64 `json:"sharedFiles"`  // our store: objects and the images' metadata
	Objects      int64 `json:"objects"`      // of that: contents
	Metadata     int64 `json:"metadata"`     // of that: images

	LayerContents int64 `json:"layerContents"` // of the shared layers: contents without tar
	TarOverhead   int64 `json:"tarOverhead"`   // of the shared layers: headers and padding

	Saving  map[string]float64 `json:"saving"` // of 1
	Largest []string           `json:"largest"`
}

// layer is what one step of a chain adds.
type layer struct{ contents, overhead int64 }

func (l layer) tar() int64 { return l.contents + l.overhead }

// dedup measures the services, and the services with an image for developers that
// has many of the same tools, as people have.
func dedup(ctx context.Context, b *assemble.Builder) (map[string]*set, error) {
	services, err := measure(ctx, b, chains)
	if err != nil {
		return nil, err
	}
	all, err := measure(ctx, b, append(slices.Clone(chains), []string{"base", "large"}))
	return map[string]*set{"services": services, "services and one for developers": all}, err
}

func measure(ctx context.Context, b *assemble.Builder, chains [][]string) (*set, error) {
	var names []string
	for _, c := range chains {
		names = append(names, c...)
	}
	slices.Sort(names)
	all, _, err := trees(ctx, b, slices.Compact(names))
	if err != nil {
		return nil, err
	}
	out := &set{Images: len(chains), Saving: map[string]float64{}}
	layers := map[string]layer{} // by the chain up to it: equal chains are equal layers
	objects := map[digest.Digest]int64{}
	for _, chain := range chains {
		var below *tree.Tree
		key := ""
		for _, name := range chain {
			key += "/" + name
			l, ok := layers[key]
			if !ok {
				l = difference(below, all[name])
				layers[key] = l
				out.SharedLayers += l.tar()
				out.LayerContents += l.contents
				out.TarOverhead += l.overhead
			}
			out.Uncompressed += l.tar()
			below = all[name]
		}
		image, err := b.Store.PutImage(ctx, below)
		if err != nil {
			return nil, err
		}
		out.Metadata += image.Size
		for _, e := range below.All() {
			if e.Kind == tree.File && e.Size > store.MaxInline {
				objects[e.Digest] = e.Size
			}
		}
	}
	for _, size := range objects {
		out.Objects += size
	}
	out.SharedFiles = out.Objects + out.Metadata
	out.savings()
	for key, l := range layers {
		out.Largest = append(out.Largest, fmt.Sprintf("%6.1f MiB %s", float64(l.tar())/(1<<20), key))
	}
	slices.Sort(out.Largest)
	slices.Reverse(out.Largest)
	return out, b.Store.Commit()
}

func (s *set) savings() {
	part := func(a, b int64) float64 { return math.Round(10000*(1-float64(a)/float64(b))) / 10000 }
	s.Saving["layers against uncompressed"] = part(s.SharedLayers, s.Uncompressed)
	s.Saving["files against uncompressed"] = part(s.SharedFiles, s.Uncompressed)
	s.Saving["files against layers"] = part(s.SharedFiles, s.SharedLayers)
	s.Saving["files against layers, of that tar"] = math.Round(10000*float64(s.TarOverhead)/float64(s.SharedLayers)) / 10000
	s.Saving["files against layers, contents alone"] = part(s.Objects, s.LayerContents)
}

// tarBlock is the unit of tar: a header is one, contents are padded to one.
const tarBlock = 512

// difference is what a tree adds to the one below: as a tool that writes layers
// sees it, an entry that is new or another. The times of parents are left out,
// which tools repeat: this flatters the peer.
func difference(below, t *tree.Tree) layer {
	l := layer{overhead: 2 * tarBlock}
	for p, e := range t.All() {
		if below != nil {
			if old, ok := below.Get(p); ok && old.Equal(e) {
				continue
			}
		}
		l.overhead += tarBlock
		if e.Kind == tree.File {
			l.contents += e.Size
			l.overhead += (tarBlock - e.Size%tarBlock) % tarBlock
		}
	}
	return l
}
