package image

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/disk"
	"github.com/instar-os/instar/internal/kernel"
	"github.com/instar-os/instar/internal/pe"
	"github.com/instar-os/instar/internal/slot"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/uki"
)

// maxBoot is the largest object of a boot slot in bytes.
const maxBoot = 1 << 30

// Objects gives the verified content of an object of at most limit bytes, and
// of images.
type Objects interface {
	Bytes(d digest.Digest, limit int64) ([]byte, error)
	slot.Images
}

// verified gives the parts of a unified kernel image out of a store.
func verified(objects Objects, m *system.Manifest) uki.Parts {
	return func(o system.Object) (pe.Content, error) {
		b, err := objects.Bytes(o.Digest, maxBoot)
		if err != nil {
			return nil, err
		}
		if o == m.Kernel.Image {
			if r, err := kernel.Release(b); err == nil && r != m.Kernel.Release {
				return nil, fmt.Errorf("the kernel is %s, the manifest says %s", r, m.Kernel.Release)
			}
		}
		return bytes.NewReader(b), nil
	}
}

// SlotFiles are the files of a slot with a system of the store: confirmed with
// tries 0, else on trial, beside the image of the last good one.
//
// On a board, firmware counts tries and comes back to the slot of the good one.
func SlotFiles(objects Objects, m *system.Manifest, sys digest.Digest, tries int, good slot.Image) ([]disk.FATFile, error) {
	if slot.IsBoard(m.Boot) {
		return boardFiles(objects, m, sys)
	}
	loader, err := objects.Bytes(m.Kernel.Loader.Digest, maxBoot)
	if err != nil {
		return nil, fmt.Errorf("boot loader: %w", err)
	}
	image, err := uki.Build(verified(objects, m), m, sys)
	if err != nil {
		return nil, err
	}
	c := slot.Contents{Arch: m.Arch, Loader: bytes.NewReader(loader), New: slot.Image{System: sys, UKI: image}, Tries: tries, Good: good}
	return c.Files()
}

func boardFiles(objects Objects, m *system.Manifest, sys digest.Digest) ([]disk.FATFile, error) {
	b := slot.Board{System: sys, Manifest: m}
	parts := verified(objects, m)
	var err error
	if b.Kernel, err = parts(m.Kernel.Image); err != nil {
		return nil, fmt.Errorf("kernel: %w", err)
	}
	if b.Initrd, err = parts(m.Kernel.Initrd); err != nil {
		return nil, fmt.Errorf("initrd: %w", err)
	}
	if b.Further, err = slot.Further(objects, m.Boot); err != nil {
		return nil, err
	}
	return b.Files()
}

// checkSlot writes slots to nowhere, to learn whether what they must hold fits:
// the system now, and beside another one of its size during an update.
func (p *Plan) checkSlot() error {
	if slot.IsBoard(p.Manifest.Boot) {
		v := &disk.FAT{Size: p.Manifest.Boot.SlotSize, Label: slot.Label(0), Files: p.slot}
		if err := v.Write(discard{}); err != nil {
			return fmt.Errorf("a boot slot of %d bytes is too small for the system: %w", p.Manifest.Boot.SlotSize, err)
		}
		return nil
	}
	image := p.slot[1] // as slot.Contents orders them
	second := image
	second.Path += ".second"
	for _, try := range []struct {
		what  string
		files []disk.FATFile
	}{
		{"the system", p.slot},
		{"an update: two systems, the new and the last good one,", append(slices.Clone(p.slot), second)},
	} {
		v := &disk.FAT{Size: p.Manifest.Boot.SlotSize, Label: slot.Label(0), Files: try.files}
		if err := v.Write(discard{}); err != nil {
			return fmt.Errorf("a boot slot of %d bytes is too small for %s with %d bytes a system (kernel %d, initrd %d): %w",
				p.Manifest.Boot.SlotSize, try.what, image.Size, p.Manifest.Kernel.Image.Size, p.Manifest.Kernel.Initrd.Size, err)
		}
	}
	return nil
}

// discard is an io.WriterAt that writes nothing.
type discard struct{}

func (discard) WriteAt(b []byte, _ int64) (int, error) { return len(b), nil }

// writeSlot formats slot i. The first holds the system, the others wait for
// updates with empty file systems.
func (p *Plan) writeSlot(w io.WriterAt, i int) error {
	name := slot.Name(i)
	part, _ := p.Table.Find(name)
	offset, size := slot.Span(part)
	id := disk.SeedGUID(p.seed(), name+" volume")
	v := &disk.FAT{Size: size, Label: slot.Label(i), ID: binary.LittleEndian.Uint32(id[:]), Time: p.Manifest.Epoch}
	if i == 0 {
		v.Files = p.slot
	}
	if err := v.Write(io.NewOffsetWriter(w, offset)); err != nil {
		return fmt.Errorf("slot %s: %w", name, err)
	}
	return nil
}
