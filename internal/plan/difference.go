package plan

import (
	"fmt"
	"maps"
	"path"
	"slices"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/tree"
)

// Difference is what differs between two systems, of one machine or of two:
// looked at as they are, not as what becomes of a machine.
type Difference struct {
	A              Side           `json:"a"`
	B              Side           `json:"b"`
	Shared         int64          `json:"shared"`         // bytes of what both have
	Packages       []Package      `json:"packages"`       // that differ, by name
	Configurations []Named        `json:"configurations"` // that come or go
	Containers     []Container    `json:"containers"`     // of all configurations
	Images         []ImageBytes   `json:"images"`         // of containers, by name
	Kernel         []string       `json:"kernel"`         // what differs of what boots
	Modules        []Named        `json:"modules"`        // that come or go
	Files          []ChangedEntry `json:"files"`          // that differ
}

// Side is one of the systems.
type Side struct {
	System   digest.Digest `json:"system"`
	Machine  string        `json:"machine"`
	Arch     string        `json:"arch"`
	Packages int           `json:"packages"`
	Bytes    int64         `json:"bytes"` // of all that it needs of a store
	Alone    int64         `json:"alone"` // of these, what the other does not have
}

// Named is something that comes or goes.
type Named struct {
	Name string `json:"name"`
	Act  Act    `json:"act"`
}

// ImageBytes are the bytes of a container's files by what becomes of them.
type ImageBytes struct {
	Container string `json:"container"`
	Kept      int64  `json:"kept"`
	Changed   int64  `json:"changed"` // as they are in B
	Added     int64  `json:"added"`
	Removed   int64  `json:"removed"`
}

// ChangedEntry is a file, link, directory or device that differs.
type ChangedEntry struct {
	Container string   `json:"container"`
	Path      string   `json:"path"`
	Act       Act      `json:"act"`
	What      []string `json:"what,omitempty"` // of a changed one: kind, content, mode, owner, target, device, attributes
	From      string   `json:"from,omitempty"` // of a changed one, what was, where it can be written
	To        string   `json:"to,omitempty"`
	SizeFrom  int64    `json:"sizeFrom"` // bytes; 0 of what is no file
	SizeTo    int64    `json:"sizeTo"`
}

// Differ compares two systems of a store in every part.
func Differ(st *store.Store, a, b digest.Digest) (*Difference, error) {
	d, err := differ(st, a, b)
	if err != nil {
		return nil, fmt.Errorf("comparing systems %s and %s: %w", a.Short(), b.Short(), err)
	}
	return d, nil
}

func differ(st *store.Store, a, b digest.Digest) (*Difference, error) {
	x, err := st.System(a)
	if err != nil {
		return nil, err
	}
	y, err := st.System(b)
	if err != nil {
		return nil, err
	}
	d := &Difference{Packages: packages(x.Packages, y.Packages), Containers: containers(x, y), Images: []ImageBytes{}, Files: []ChangedEntry{},
		A: Side{System: a, Machine: x.Machine, Arch: x.Arch, Packages: len(x.Packages)},
		B: Side{System: b, Machine: y.Machine, Arch: y.Arch, Packages: len(y.Packages)},
	}
	d.Kernel = kernels(x, y)
	d.Modules = named(x.Kernel.Modules, y.Kernel.Modules)
	d.Configurations = named(configurationNames(x), configurationNames(y))
	if err := d.bytes(st); err != nil {
		return nil, err
	}
	old, now := images(x), images(y)
	for name := range union(old, now) {
		if err := d.image(st, name, old[name], now[name]); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func configurationNames(m *system.Manifest) (names []string) {
	for _, c := range m.Configurations {
		names = append(names, c.Name)
	}
	return names
}

// named lists what only one of the lists has.
func named(a, b []string) []Named {
	out := []Named{}
	for _, s := range without(b, a) {
		out = append(out, Named{s, Added})
	}
	for _, s := range without(a, b) {
		out = append(out, Named{s, Removed})
	}
	slices.SortFunc(out, func(x, y Named) int { return slices.Compare([]string{x.Name}, []string{y.Name}) })
	return out
}

// kernels names the parts of what boots that differ.
func kernels(a, b *system.Manifest) []string {
	k, l := a.Kernel, b.Kernel
	out := []string{}
	if k.Release != l.Release {
		out = append(out, "release "+k.Release+" -> "+l.Release)
	}
	for _, part := range []struct {
		name string
		same bool
	}{
		{"image", k.Image == l.Image}, {"initrd", k.Initrd == l.Initrd}, {"init", k.Init == l.Init}, {"stub", k.Stub == l.Stub},
		{"loader", k.Loader == l.Loader}, {"command line", slices.Equal(k.Command, l.Command)},
	} {
		if !part.same {
			out = append(out, part.name)
		}
	}
	return out
}

// bytes sums what each system needs, and what both do.
func (d *Difference) bytes(st *store.Store) error {
	sides := [2]map[digest.Digest]int64{}
	for i, side := range []*Side{&d.A, &d.B} {
		c, err := st.Closure(side.System)
		if err != nil {
			return err
		}
		sides[i] = map[digest.Digest]int64{}
		for _, o := range slices.Concat(c.Systems, c.Images, c.Objects) {
			sides[i][o.Digest] = o.Size
		}
		side.Bytes = c.Bytes()
	}
	for o, size := range sides[0] {
		if _, both := sides[1][o]; both {
			d.Shared += size
		}
	}
	d.A.Alone, d.B.Alone = d.A.Bytes-d.Shared, d.B.Bytes-d.Shared
	return nil
}

// image compares the trees of a container, directories included.
func (d *Difference) image(st *store.Store, name string, a, b system.Object) error {
	old, err := entries(st, a)
	if err != nil {
		return err
	}
	now, err := entries(st, b)
	if err != nil {
		return err
	}
	sum := ImageBytes{Container: name}
	for p := range union(old, now) {
		o, n := old[p], now[p]
		switch act, _ := change(old, now, p); act {
		case Kept:
			sum.Kept += n.Size
		case Added:
			sum.Added += n.Size
			d.Files = append(d.Files, ChangedEntry{Container: name, Path: path.Join("/", p), Act: Added, SizeTo: n.Size})
		case Removed:
			sum.Removed += o.Size
			d.Files = append(d.Files, ChangedEntry{Container: name, Path: path.Join("/", p), Act: Removed, SizeFrom: o.Size})
		case Changed:
			if o.Kind == tree.File && n.Kind == tree.File && o.Digest == n.Digest && o.Size == n.Size {
				sum.Kept += n.Size
			} else {
				sum.Changed += n.Size
			}
			e := ChangedEntry{Container: name, Path: path.Join("/", p), Act: Changed, SizeFrom: o.Size, SizeTo: n.Size}
			e.compare(o, n)
			d.Files = append(d.Files, e)
		}
	}
	d.Images = append(d.Images, sum)
	return nil
}

// compare says in what two entries of a path differ.
func (e *ChangedEntry) compare(o, n tree.Entry) {
	add := func(what, from, to string) {
		if e.What = append(e.What, what); from != "" {
			e.From, e.To = join(append(nonEmpty(e.From), from)), join(append(nonEmpty(e.To), to))
		}
	}
	if o.Kind != n.Kind {
		add("kind", o.Kind.String(), n.Kind.String())
	}
	if o.Kind == n.Kind && o.Kind == tree.File && (o.Digest != n.Digest || o.Size != n.Size) {
		add("content", "", "")
	}
	if o.Mode != n.Mode {
		add("mode", fmt.Sprintf("%04o", o.Mode), fmt.Sprintf("%04o", n.Mode))
	}
	if o.UID != n.UID || o.GID != n.GID {
		add("owner", fmt.Sprintf("%d:%d", o.UID, o.GID), fmt.Sprintf("%d:%d", n.UID, n.GID))
	}
	if o.Kind == n.Kind && o.Target != n.Target {
		add("target", o.Target, n.Target)
	}
	if o.Major != n.Major || o.Minor != n.Minor {
		add("device", fmt.Sprintf("%d:%d", o.Major, o.Minor), fmt.Sprintf("%d:%d", n.Major, n.Minor))
	}
	if !maps.Equal(o.Xattrs, n.Xattrs) {
		add("attributes", "", "")
	}
}

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// entries are all entries of an image; none of none.
func entries(st *store.Store, image system.Object) (map[string]tree.Entry, error) {
	if image.Digest.IsZero() {
		return nil, nil
	}
	t, err := st.Image(image.Digest)
	if err != nil {
		return nil, err
	}
	return maps.Collect(t.All()), nil
}

// Same tells whether nothing differs.
func (d *Difference) Same() bool { return d.A.System == d.B.System }
