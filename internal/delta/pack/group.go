package pack

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"path"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/instar-os/instar/internal/bindiff"
	"github.com/instar-os/instar/internal/delta"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/tree"
)

// defaultSolid is how many bytes of contents without a base one stream holds:
// what a cut transfer makes again at most, unless a single content is larger.
// With bases, of which less travels, it is sixteen times as much.
const defaultSolid = 16 << 20

// job is one stream: its contents, and what each is made of.
type job struct {
	form  delta.Form
	list  []content
	bases []content // zero: none
}

func (j *job) bytes() int64 {
	var n int64
	for _, c := range j.list {
		n += c.Size
	}
	return n
}

// class returns what all objects of a job are.
func (j *job) class() delta.Class {
	for _, c := range j.list {
		if c.Kind != delta.Object || c.class != j.list[0].class {
			return 0
		}
	}
	return delta.Class(j.list[0].class) + 1
}

// jobs groups the contents: the manifest alone, then files of a kind together,
// those with a base apart from those without, then boot parts, then images.
func (p *packer) jobs() ([]*job, error) {
	bases, err := p.findBases()
	if err != nil {
		return nil, err
	}
	var jobs []*job
	var open *job
	var size int64
	last := group{}
	for i, c := range p.need.list {
		g, err := p.groupOf(c, bases[i])
		if err != nil {
			return nil, err
		}
		limit := p.solid
		if g.based {
			limit *= 16
		}
		if open == nil || g != last || size+c.Size > limit {
			open, size = &job{form: g.form}, 0
			jobs = append(jobs, open)
		}
		open.list, open.bases = append(open.list, c), append(open.bases, bases[i])
		size, last = size+c.Size, g
	}
	return merged(jobs), nil
}

// group says which contents one stream may hold.
type group struct {
	kind  delta.Kind
	form  delta.Form
	class bindiff.Class
	based bool
}

func (p *packer) groupOf(c, base content) (group, error) {
	g := group{kind: c.Kind, form: delta.Bytes, based: !base.Digest.IsZero()}
	switch c.Kind {
	case delta.Object:
		g.class = c.class
	case delta.Image:
		text, err := p.listing(c.Digest)
		if err != nil {
			return g, err
		}
		if p.rebuilds(text, c.Digest) {
			g.form, g.based = delta.Listing, true
		}
	}
	return g, nil
}

// few is how many bytes of contents make no stream of their own beside others
// of the same kind: what every stream has to learn costs more.
const few = 256 << 10

// merged joins small streams of one kind with the one before.
func merged(jobs []*job) []*job {
	out := jobs[:0]
	for _, j := range jobs {
		if n := len(out) - 1; n >= 0 && out[n].list[0].Kind == delta.Object && j.list[0].Kind == delta.Object && (j.bytes() < few || out[n].bytes() < few) {
			out[n].list, out[n].bases = append(out[n].list, j.list...), append(out[n].bases, j.bases...)
			continue
		}
		out = append(out, j)
	}
	return out
}

// rebuilds reports whether a listing gives the image that it was made of.
func (p *packer) rebuilds(text []byte, want digest.Digest) bool {
	t, err := tree.Parse(text)
	if err != nil {
		return false
	}
	o, err := p.st.PutImage(context.Background(), t)
	return err == nil && o.Digest == want
}

// findBases chooses what each content is compared with, and sorts the contents
// such that those that help each other are near.
func (p *packer) findBases() ([]content, error) {
	for i := range p.need.list {
		if c := &p.need.list[i]; c.Kind == delta.Object {
			head, err := p.head(*c)
			if err != nil {
				return nil, err
			}
			c.class = bindiff.Classify(head)
		}
	}
	var old []content
	for _, c := range p.need.bases {
		old = append(old, c)
	}
	slices.SortFunc(old, byPlace)
	var files []bindiff.Candidate
	var of []int
	for i, c := range old {
		if c.Kind == delta.Object && c.Size > store.MaxInline { // smaller ones a device has in images only
			files = append(files, bindiff.Candidate{Path: c.path, Size: c.Size})
			of = append(of, i)
		}
	}
	list := p.need.list
	var want []bindiff.Candidate
	for _, c := range list {
		want = append(want, bindiff.Candidate{Path: c.path, Size: c.Size})
	}
	type based struct{ c, base content }
	both := make([]based, len(list))
	chosen := bindiff.Bases(files, want)
	if err := p.findAlike(old, of, chosen); err != nil {
		return nil, err
	}
	for i, n := range chosen {
		both[i].c = list[i]
		switch {
		case list[i].Kind != delta.Object:
			both[i].base = nearest(old, list[i])
		case n >= 0:
			both[i].base = old[of[n]]
		}
	}
	slices.SortStableFunc(both, func(a, b based) int {
		if v := cmp.Or(cmp.Compare(rank[a.c.Kind], rank[b.c.Kind]), cmp.Compare(a.c.class, b.c.class)); v != 0 || a.c.Kind != delta.Object {
			return v
		}
		x, y := a.base.Digest.IsZero(), b.base.Digest.IsZero()
		if x == y {
			return 0
		} else if y {
			return -1
		}
		return 1
	})
	bases := make([]content, len(both))
	for i, b := range both {
		list[i], bases[i] = b.c, b.base
	}
	return bases, nil
}

// leastSketched is the smallest content, in bytes, whose base is looked for by
// content where names say nothing.
const leastSketched = 4 << 10

// findAlike chooses by content for objects that have no base by name. of are the
// places in old that chosen speaks of.
func (p *packer) findAlike(old []content, of, chosen []int) error {
	var lonely []int
	for i, c := range p.need.list {
		if c.Kind == delta.Object && chosen[i] < 0 && c.Size >= leastSketched && c.Size <= maxCompared {
			lonely = append(lonely, i)
		}
	}
	if len(lonely) == 0 || len(of) == 0 {
		return nil
	}
	known, err := p.sketches(len(of), func(i int) content { return old[of[i]] })
	if err != nil {
		return err
	}
	wanted, err := p.sketches(len(lonely), func(i int) content { return p.need.list[lonely[i]] })
	if err != nil {
		return err
	}
	for i, n := range bindiff.Alike(known, wanted) {
		chosen[lonely[i]] = n
	}
	return nil
}

func (p *packer) sketches(n int, at func(int) content) ([]bindiff.Sketch, error) {
	all := make([]bindiff.Sketch, n)
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range all {
		c := at(i)
		if c.Size < leastSketched || c.Size > maxCompared {
			continue
		}
		g.Go(func() error {
			b, err := p.content(c)
			all[i] = bindiff.NewSketch(b)
			return err
		})
	}
	return all, g.Wait()
}

// head returns the first bytes of a content.
func (p *packer) head(c content) ([]byte, error) {
	f, err := p.st.Open(c.Digest)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, min(c.Size, 4096))
	_, err = io.ReadFull(f, b)
	return b, err
}

// nearest finds among contents that are no files the one of the same kind that
// is most likely an earlier version: of the same name, nearest in size.
func nearest(old []content, c content) (best content) {
	other := func(b content) bool { return path.Base(b.path) != path.Base(c.path) }
	for _, b := range old {
		if b.Kind != c.Kind {
			continue
		}
		if best.Digest.IsZero() || !other(b) && other(best) || other(b) == other(best) &&
			cmp.Or(cmp.Compare(distance(b, c), distance(best, c)), bytes.Compare(b.Digest[:], best.Digest[:])) < 0 {
			best = b
		}
	}
	return best
}

func distance(a, b content) int64 { return max(a.Size-b.Size, b.Size-a.Size) }
