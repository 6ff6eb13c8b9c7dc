package pack

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/bindiff"
	"github.com/instar-os/instar/internal/delta"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/tree"
)

// A content of a system: where it is found, for its place among others and for
// the base that resembles it.
type content struct {
	delta.Entry
	path  string // "/usr/lib/…" of a file; a name for others
	class bindiff.Class
}

// contents are all that a device with a system has, by kind and digest.
type contents map[key]content

type key struct {
	kind delta.Kind
	d    digest.Digest
}

func (c contents) add(kind delta.Kind, o system.Object, path string) {
	k := key{kind, o.Digest}
	if old, ok := c[k]; !ok || path < old.path {
		c[k] = content{Entry: delta.Entry{Kind: kind, Digest: o.Digest, Size: o.Size}, path: path}
	}
}

// contentsOf lists what a device has of a system, with files that stand in
// images. Init comes within the initrd.
func contentsOf(st *store.Store, sys digest.Digest) (contents, *system.Manifest, error) {
	m, err := st.System(sys)
	if err != nil {
		return nil, nil, err
	}
	encoded, err := m.Encode()
	if err != nil {
		return nil, nil, err
	}
	c := contents{}
	c.add(delta.System, system.Object{Digest: sys, Size: int64(len(encoded))}, "manifest")
	k := m.Kernel
	c.kernel(k)
	c.add(delta.Part, k.Initrd, "initrd")
	if k.Loader != (system.Object{}) {
		c.add(delta.Part, k.Loader, "loader")
	}
	for _, o := range m.Objects() {
		if o != k.Image && o != k.Initrd && o != k.Loader && o != k.Init && !slices.Contains(k.Parts(), o) {
			c.add(delta.Object, o, "")
		}
	}
	for _, name := range containerImages(m) {
		c.add(delta.Image, name.image, name.container)
		t, err := st.Image(name.image.Digest)
		if err != nil {
			return nil, nil, err
		}
		for p, e := range t.All() {
			if e.Kind == tree.File && e.Size > 0 {
				c.add(delta.Object, system.Object{Digest: e.Digest, Size: e.Size}, path.Join("/", p))
			}
		}
	}
	return c, m, nil
}

// kernel adds the kernel's image, and what it is packed of: a device with one has
// the other.
func (c contents) kernel(k system.Kernel) {
	c.add(delta.Part, k.Image, "kernel")
	if k.Payload != nil {
		c.add(delta.Part, k.Payload.Shell, "shell")
		c.add(delta.Part, k.Payload.Content, "kernel")
	}
}

// without leaves out of a target's kernel what need not travel: the image where
// every base has parts to compare with, else the parts, which are larger.
func (c contents) without(k system.Kernel, based bool) {
	if k.Payload == nil {
		return
	}
	drop := k.Parts()
	if based {
		drop = []system.Object{k.Image}
	}
	for _, o := range drop {
		delete(c, key{delta.Part, o.Digest})
	}
}

type namedImage struct {
	container string
	image     system.Object
}

func containerImages(m *system.Manifest) []namedImage {
	var all []namedImage
	for _, c := range m.Configurations {
		for _, ct := range c.Containers {
			all = append(all, namedImage{ct.Name, ct.Image})
		}
		if c.Host != nil {
			all = append(all, namedImage{"host " + c.Name, c.Host.Image})
		}
	}
	if !m.Boot.Files.Digest.IsZero() {
		all = append(all, namedImage{"boot slots", m.Boot.Files})
	}
	return all
}

// needed is what the target has and not every base.
type needed struct {
	head   delta.Head
	list   []content
	bases  contents // what every base has
	shared int
}

func compare(st *store.Store, target digest.Digest, bases []digest.Digest) (*needed, error) {
	all, m, err := contentsOf(st, target)
	if err != nil {
		return nil, err
	}
	based := len(bases) > 0
	n := &needed{head: delta.Head{Machine: m.Machine, Arch: m.Arch, Epoch: m.Epoch, Target: target}}
	for i, b := range bases {
		old, bm, err := contentsOf(st, b)
		switch {
		case err != nil:
			return nil, fmt.Errorf("base: %w", err)
		case b == target:
			return nil, fmt.Errorf("base %s is the target itself", b.Short())
		case bm.Machine != m.Machine || bm.Arch != m.Arch:
			return nil, fmt.Errorf("base %s is a system of %s for %s, the target of %s for %s", b.Short(), bm.Machine, bm.Arch, m.Machine, m.Arch)
		}
		if i == 0 {
			n.bases = old
		}
		based = based && bm.Kernel.Payload != nil
		for k := range n.bases {
			// Two manifests may both serve: which one a device has, it does not say.
			if _, ok := old[k]; !ok {
				delete(n.bases, k)
			}
		}
		n.head.Bases = append(n.head.Bases, b)
	}
	all.without(m.Kernel, based)
	for k, c := range all {
		if _, ok := n.bases[k]; ok {
			n.shared++
			continue
		}
		n.list = append(n.list, c)
	}
	slices.SortFunc(n.list, byPlace)
	return n, nil
}

// rank is the order of kinds in an update: the manifest tells what is to come,
// images need the files that are in them.
var rank = map[delta.Kind]int{delta.System: 0, delta.Object: 1, delta.Part: 2, delta.Image: 3}

// byPlace sorts by kind, then such that files that resemble each other are near.
func byPlace(a, b content) int {
	return cmp.Or(cmp.Compare(rank[a.Kind], rank[b.Kind]), strings.Compare(path.Ext(a.path), path.Ext(b.path)),
		strings.Compare(a.path, b.path), slices.Compare(a.Digest[:], b.Digest[:]))
}
