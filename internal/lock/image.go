package lock

import (
	"fmt"
	"slices"
	"strings"
)

// Image returns the pinned image of a tree on an architecture.
func (l *Lock) Image(tree, arch string) (Image, bool) {
	for _, i := range l.Images {
		if i.Tree == tree && i.Arch == arch {
			return i, true
		}
	}
	return Image{}, false
}

// Blobs returns everything that the image is made of.
func (i Image) Blobs() []Blob {
	all := append([]Blob{i.Config}, i.Layers...)
	if i.Manifest.SHA256 != "" {
		all = append([]Blob{i.Manifest}, all...)
	}
	return all
}

func (i Image) key() string { return i.Tree + "\x00" + i.Arch }

// images writes an image on several lines, a layer on each, so that a
// difference shows which layers are new.
func (w *writer) images(images []Image) {
	if len(images) == 0 {
		return
	}
	images = slices.Clone(images)
	slices.SortFunc(images, func(a, b Image) int { return strings.Compare(a.key(), b.key()) })
	w.line(0, "images:")
	for _, i := range images {
		w.line(1, "- tree: %s", scalar(i.Tree))
		w.line(2, "arch: %s", scalar(i.Arch))
		w.line(2, "image: %s", scalar(i.Name))
		if i.Index != "" {
			w.line(2, "index: %s", scalar(i.Index))
		}
		if i.Manifest.SHA256 != "" {
			w.line(2, "manifest: %s", i.Manifest.text())
		}
		w.line(2, "config: %s", i.Config.text())
		w.head(2, "layers", len(i.Layers), "[]")
		for _, l := range i.Layers {
			w.line(3, "- %s", l.text())
		}
	}
}

func (b Blob) text() string { return fmt.Sprintf("{sha256: %s, size: %d}", scalar(b.SHA256), b.Size) }

func (b Blob) check(what string) error {
	if b.Size < 0 {
		return fmt.Errorf("%s: size: %d is no size", what, b.Size)
	}
	return want(hashForm, what+": sha256", b.SHA256)
}

func (l *Lock) checkImages() error {
	seen := map[string]bool{}
	for _, i := range l.Images {
		what := "image of tree " + i.Tree
		if err := first(want(nameForm, what, i.Tree), want(archForm, what+": arch", i.Arch)); err != nil {
			return err
		}
		if i.Index != "" {
			if err := want(hashForm, what+": index", i.Index); err != nil {
				return err
			}
		}
		for _, b := range i.Blobs() {
			if err := b.check(what); err != nil {
				return err
			}
		}
		if i.Name == "" || strings.ContainsAny(i.Name, "\x00\n") {
			return fmt.Errorf("%s: image: %q is no name", what, i.Name)
		}
		if seen[i.key()] {
			return fmt.Errorf("%s: stands twice", what)
		}
		seen[i.key()] = true
	}
	return nil
}

// An ImageChange is an image that is new, gone or has other content.
type ImageChange struct {
	Tree, Arch string
	Name       string
	What       string // new, gone, changed
	Old, New   string // SHA-256 of the manifest, or of the configuration where there is none
	Size       int64  // bytes of what the old image does not have
}

// identity names the image's content.
func (i Image) identity() string {
	if i.Manifest.SHA256 != "" {
		return i.Manifest.SHA256
	}
	return i.Config.SHA256
}

func imageChanges(old, new []Image) []ImageChange {
	before, after := map[string]Image{}, map[string]Image{}
	for _, i := range old {
		before[i.key()] = i
	}
	for _, i := range new {
		after[i.key()] = i
	}
	var all []ImageChange
	for _, k := range sorted(after) {
		i, was := after[k], before[k]
		c := ImageChange{Tree: i.Tree, Arch: i.Arch, Name: i.Name, What: "new", Old: was.identity(), New: i.identity(), Size: newBlobs(was, i)}
		if c.Old == c.New {
			continue
		}
		if c.Old != "" {
			c.What = "changed"
		}
		all = append(all, c)
	}
	for _, k := range sorted(before) {
		if _, ok := after[k]; !ok {
			i := before[k]
			all = append(all, ImageChange{Tree: i.Tree, Arch: i.Arch, Name: i.Name, What: "gone", Old: i.identity()})
		}
	}
	return all
}

// newBlobs sums the sizes of what the old image does not have.
func newBlobs(old, new Image) int64 {
	sum := int64(0)
	for _, b := range new.Blobs() {
		if !slices.Contains(old.Blobs(), b) {
			sum += b.Size
		}
	}
	return sum
}

func (c ImageChange) String() string {
	switch c.What {
	case "changed":
		return fmt.Sprintf("image of tree %s (%s): %.12s -> %.12s%s", c.Tree, c.Arch, c.Old, c.New, sized(c.Size))
	case "gone":
		return fmt.Sprintf("image of tree %s (%s): gone, was %.12s", c.Tree, c.Arch, c.Old)
	}
	return fmt.Sprintf("image of tree %s (%s): new, %s %.12s%s", c.Tree, c.Arch, c.Name, c.New, sized(c.Size))
}
