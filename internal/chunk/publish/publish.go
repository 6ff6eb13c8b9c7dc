// Package publish writes systems as chunks in packs with a signed index, for
// devices that pull what they lack from any web server.
package publish

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/chunk"
	"github.com/instar-os/instar/internal/delta"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/durable"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/tree"
	"github.com/instar-os/instar/internal/trust"
)

// Extension of an index's file name.
const Extension = ".index"

// defaultPack is how large a pack grows, in bytes, before another begins.
const defaultPack = 64 << 20

// Options of Write. Keys must be given.
type Options struct {
	Keys     []trust.Private
	Pack     int64 // bytes; 0: 64 MiB
	Progress func(done, total int64)
}

// Report is what was written.
type Report struct {
	Index    string `json:"index"`    // file, beside it the packs
	Latest   string `json:"latest"`   // a copy of it, by the machine's name
	Contents int    `json:"contents"` // of the system
	Chunks   int    `json:"chunks"`
	Bytes    int64  `json:"bytes"`  // of the contents
	Size     int64  `json:"size"`   // of the index
	New      int    `json:"new"`    // chunks that no index in the directory had
	Stored   int64  `json:"stored"` // bytes of those in packs
}

// Write adds a system of a store to a directory of packs and indexes. Chunks
// that another index there has, one that the same keys signed, are not written
// again. The index appears when all that it names is durable; what a cut has left
// nothing names. It may run again.
func Write(ctx context.Context, st *store.Store, sys digest.Digest, dir string, o Options) (*Report, error) {
	r, err := write(ctx, st, sys, dir, o)
	if err != nil {
		return nil, fmt.Errorf("publishing system %s: %w", sys.Short(), err)
	}
	return r, nil
}

func write(ctx context.Context, st *store.Store, sys digest.Digest, dir string, o Options) (*Report, error) {
	if len(o.Keys) == 0 {
		return nil, errors.New("no key to sign it with")
	}
	if o.Pack == 0 {
		o.Pack = defaultPack
	}
	m, list, err := contents(st, sys)
	if err != nil {
		return nil, err
	}
	if err := durable.MkdirAll(filepath.Join(dir, "packs"), 0o755); err != nil {
		return nil, err
	}
	p := &packer{ctx: ctx, st: st, dir: dir, o: o, known: map[chunk.ID]place{},
		index: chunk.Index{Machine: m.Machine, Arch: m.Arch, Epoch: m.Epoch, Target: sys}}
	defer p.drop()
	if err := p.learn(); err != nil {
		return nil, err
	}
	for _, c := range list {
		p.total += c.Size
		p.index.Contents = append(p.index.Contents, c.Content)
	}
	for _, run := range runs(list) {
		if err := p.run(run); err != nil {
			return nil, err
		}
	}
	if err := p.close(); err != nil {
		return nil, err
	}
	return p.finish(m)
}

// finish writes the index under the system's name and the machine's.
func (p *packer) finish(m *system.Manifest) (*Report, error) {
	b, err := p.index.Encode(p.o.Keys)
	if err != nil {
		return nil, err
	}
	r := &Report{Index: filepath.Join(p.dir, p.index.Target.String()+Extension), Latest: filepath.Join(p.dir, m.Machine+"-"+m.Arch+Extension),
		Contents: len(p.index.Contents), Chunks: len(p.index.Chunks), Bytes: p.total, Size: int64(len(b)), New: p.fresh, Stored: p.stored}
	for _, name := range []string{r.Index, r.Latest} {
		if err := durable.WriteFile(name, 0o644, b); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// listed is a content and where it is.
type listed struct {
	chunk.Content
	path string // in a tree, for its place in the row
	open func() (io.ReadCloser, error)
}

// contents lists what a device has of a system: the manifest, objects such that
// like stands beside like, boot parts, images.
func contents(st *store.Store, sys digest.Digest) (*system.Manifest, []listed, error) {
	m, err := st.System(sys)
	if err != nil {
		return nil, nil, err
	}
	c, err := st.Closure(sys)
	if err != nil {
		return nil, nil, err
	}
	paths, err := pathsOf(st, m)
	if err != nil {
		return nil, nil, err
	}
	k := m.Kernel
	parts := []digest.Digest{k.Initrd.Digest, k.Loader.Digest}
	for _, o := range k.Parts() {
		parts = append(parts, o.Digest)
	}
	var all []listed
	add := func(kind delta.Kind, o system.Object, open func() (io.ReadCloser, error)) {
		all = append(all, listed{chunk.Content{Kind: kind, Digest: o.Digest, Size: o.Size}, paths[o.Digest], open})
	}
	file := func(name string) func() (io.ReadCloser, error) {
		return func() (io.ReadCloser, error) { return os.Open(name) }
	}
	for _, o := range c.Systems {
		add(delta.System, o, file(st.SystemPath(o.Digest)))
	}
	for _, o := range c.Images {
		add(delta.Image, o, file(st.ImagePath(o.Digest)))
	}
	for _, o := range c.Objects {
		switch {
		case slices.Contains(parts, o.Digest):
			add(delta.Part, o, file(st.ObjectPath(o.Digest)))
		case o.Digest != k.Init.Digest && o != k.Image: // they come within the initrd, and are packed of parts
			add(delta.Object, o, file(st.ObjectPath(o.Digest)))
		}
	}
	slices.SortFunc(all, byPlace)
	return m, all, nil
}

var rank = map[delta.Kind]int{delta.System: 0, delta.Object: 1, delta.Part: 2, delta.Image: 3}

// byPlace sorts by kind, small ones before large ones, then like beside like.
func byPlace(a, b listed) int {
	large := func(c listed) int { return map[bool]int{true: 1}[c.Size >= chunk.AvgSize] }
	return cmp.Or(cmp.Compare(rank[a.Kind], rank[b.Kind]), cmp.Compare(large(a), large(b)), strings.Compare(path.Ext(a.path), path.Ext(b.path)),
		strings.Compare(a.path, b.path), slices.Compare(a.Digest[:], b.Digest[:]))
}

// pathsOf says where in a tree an object is, the first place of several.
func pathsOf(st *store.Store, m *system.Manifest) (map[digest.Digest]string, error) {
	paths := map[digest.Digest]string{}
	for _, o := range m.Images() {
		t, err := st.Image(o.Digest)
		if err != nil {
			return nil, err
		}
		for p, e := range t.All() {
			if old, ok := paths[e.Digest]; e.Kind == tree.File && (!ok || p < old) {
				paths[e.Digest] = p
			}
		}
	}
	return paths, nil
}

// runs divides the row where chunks always end: around each large content and
// each that is no object, so that only small objects share chunks.
func runs(list []listed) [][]listed {
	var all [][]listed
	open := false
	for _, c := range list {
		small := c.Kind == delta.Object && c.Size < chunk.AvgSize
		if n := len(all) - 1; open && small {
			all[n] = append(all[n], c)
		} else {
			all = append(all, []listed{c})
		}
		open = small
	}
	return all
}
