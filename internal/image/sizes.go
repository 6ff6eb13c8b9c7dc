package image

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/tree"
	"github.com/instar-os/instar/internal/uki"
)

// Budget holds largest sizes in bytes; zero is no limit.
type Budget struct {
	Slot  int64 // used in a boot slot
	Store int64 // content of the store
	Total int64 // both
}

// Part is one part of a disk and its size in bytes.
type Part struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
}

// Sizes says what a disk's space is used for, in bytes. Blocks of zeros in the
// empty data file system take no space and do not count.
type Sizes struct {
	Slot       []Part `json:"slot"`    // of the boot slot: kernel, init and modules, …
	Store      []Part `json:"store"`   // objects, images, systems
	Largest    []Part `json:"largest"` // the largest files of the store
	SlotUsed   int64  `json:"slotUsed"`
	StoreUsed  int64  `json:"storeUsed"`
	Partitions []Part `json:"partitions"`
	Disk       int64  `json:"disk"`
}

// Used returns what slot and store hold together.
func (s *Sizes) Used() int64 { return s.SlotUsed + s.StoreUsed }

// largestCount is how many of the largest files a report names.
const largestCount = 5

func (p *Plan) measure() Sizes {
	k := p.Manifest.Kernel
	s := Sizes{Disk: p.Table.Size}
	for _, f := range p.slot {
		s.SlotUsed += f.Size
	}
	s.Slot = []Part{{"kernel", k.Image.Size}, {"init and modules", p.initrd()}, {"boot loader", k.Loader.Size}}
	rest := s.SlotUsed
	for _, part := range s.Slot {
		rest -= part.Bytes
	}
	s.Slot = append(s.Slot, Part{"UEFI stub and headers", rest})
	for _, dir := range []string{"objects", "images", "systems"} {
		part := Part{Name: dir}
		for _, f := range p.files {
			if strings.HasPrefix(f.name, dir+"/") {
				part.Bytes += f.data
			}
		}
		s.Store = append(s.Store, part)
		s.StoreUsed += part.Bytes
	}
	for _, q := range p.Table.Partitions {
		s.Partitions = append(s.Partitions, Part{q.Name, q.Size()})
	}
	s.Largest = p.largest()
	return s
}

// initrd is what init and modules take in the slot: packed in an image, plain on
// a board.
func (p *Plan) initrd() int64 {
	for _, f := range p.slot {
		if image, err := uki.Open(io.NewSectionReader(f.Data, 0, f.Size)); err == nil {
			return image.Packed
		}
	}
	return p.Manifest.Kernel.Initrd.Size
}

// largest names the largest files of the store by their paths in containers.
func (p *Plan) largest() []Part {
	files := slices.Clone(p.files)
	slices.SortStableFunc(files, func(a, b storeFile) int { return cmp.Compare(b.data, a.data) })
	files = files[:min(len(files), largestCount)]
	names := p.names(files)
	var parts []Part
	for _, f := range files {
		parts = append(parts, Part{cmp.Or(names[f.digest], f.name), f.data})
	}
	return parts
}

// names finds what the files are: images, and files within them.
func (p *Plan) names(files []storeFile) map[digest.Digest]string {
	names := map[digest.Digest]string{
		p.Manifest.Boot.DataFS.Digest: "empty data file system",
	}
	want := map[digest.Digest]bool{}
	for _, f := range files {
		want[f.digest] = names[f.digest] == ""
	}
	for _, c := range p.Manifest.Configurations {
		for _, ct := range c.Containers {
			names[ct.Image.Digest] = "image of " + ct.Name
			t, err := p.store.Image(ct.Image.Digest)
			if err != nil {
				continue // the digest stands for itself
			}
			for at, e := range t.All() {
				if e.Kind == tree.File && want[e.Digest] && names[e.Digest] == "" {
					names[e.Digest] = ct.Name + ":/" + at
				}
			}
		}
	}
	return names
}

func (p *Plan) checkBudget(b Budget) error {
	s := p.Sizes
	for _, row := range []struct {
		what      string
		have, may int64
		parts     []Part
	}{
		{"the boot slot's content", s.SlotUsed, b.Slot, s.Slot},
		{"the store", s.StoreUsed, b.Store, s.Largest},
		{"slot and store together", s.Used(), b.Total, slices.Concat(s.Slot, s.Largest)},
	} {
		if row.may != 0 && row.have > row.may {
			return fmt.Errorf("%s of %d bytes exceeds its budget of %d; the largest parts: %s",
				row.what, row.have, row.may, describe(row.parts))
		}
	}
	return nil
}

func describe(parts []Part) string {
	parts = slices.Clone(parts)
	slices.SortStableFunc(parts, func(a, b Part) int { return cmp.Compare(b.Bytes, a.Bytes) })
	var words []string
	for _, p := range parts[:min(len(parts), 3)] {
		words = append(words, fmt.Sprintf("%s (%d)", p.Name, p.Bytes))
	}
	return strings.Join(words, ", ")
}
