package image

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/disk"
	"github.com/instar-os/instar/internal/kernel"
	"github.com/instar-os/instar/internal/pe"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/uki"
)

// maxBoot is the largest object of a boot slot in bytes.
const maxBoot = 1 << 30

// Objects gives the verified content of an object of at most limit bytes.
type Objects interface {
	Bytes(d digest.Digest, limit int64) ([]byte, error)
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

// slotFiles are the files of a boot slot.
func slotFiles(objects Objects, m *system.Manifest, sys digest.Digest) ([]disk.FATFile, error) {
	loaderPath, ok := uki.LoaderPaths[m.Arch]
	if !ok {
		return nil, fmt.Errorf("no UEFI boot path is known for architecture %q", m.Arch)
	}
	loader, err := objects.Bytes(m.Kernel.Loader.Digest, maxBoot)
	if err != nil {
		return nil, fmt.Errorf("boot loader: %w", err)
	}
	image, err := uki.Build(verified(objects, m), m, sys)
	if err != nil {
		return nil, err
	}
	conf := "default " + uki.Name(sys) + "@" + m.Default + "\ntimeout 0\neditor no\nauto-entries no\nauto-firmware no\n"
	var files []disk.FATFile
	for _, f := range []struct {
		path string
		data pe.Content
	}{{loaderPath, bytes.NewReader(loader)}, {uki.Dir + "/" + uki.Name(sys), image}, {"loader/loader.conf", strings.NewReader(conf)}} {
		files = append(files, disk.FATFile{Path: f.path, Size: f.data.Size(), Data: f.data})
	}
	return files, nil
}

// checkSlot writes the first slot to nowhere, to learn whether it fits.
func (p *Plan) checkSlot() error {
	v := &disk.FAT{Size: p.Manifest.Boot.SlotSize, Label: "INSTAR-A", Files: p.slot}
	if err := v.Write(discard{}); err != nil {
		return fmt.Errorf("boot slot: %w; kernel %d, initrd %d bytes", err, p.Manifest.Kernel.Image.Size, p.Manifest.Kernel.Initrd.Size)
	}
	return nil
}

// discard is an io.WriterAt that writes nothing.
type discard struct{}

func (discard) WriteAt(b []byte, _ int64) (int, error) { return len(b), nil }

// writeSlot formats slot i. The first holds the system, the others wait for
// updates with empty file systems.
func (p *Plan) writeSlot(w io.WriterAt, i int) error {
	name := slotName + string(rune('a'+i))
	part, _ := p.Table.Find(name)
	id := disk.SeedGUID(p.seed(), name+" volume")
	v := &disk.FAT{
		Size: part.Size(), Label: "INSTAR-" + string(rune('A'+i)), ID: binary.LittleEndian.Uint32(id[:]), Time: p.Manifest.Epoch,
	}
	if i == 0 {
		v.Files = p.slot
	}
	if err := v.Write(io.NewOffsetWriter(w, part.Offset())); err != nil {
		return fmt.Errorf("slot %s: %w", name, err)
	}
	return nil
}
