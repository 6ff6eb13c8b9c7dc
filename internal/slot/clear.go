package slot

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/disk"
	"github.com/instar-os/instar/internal/uki"
)

// Systems returns the systems that the files of a slot start: of unified kernel
// images, or of what a board's loader reads. What cannot be read is none.
func Systems(files []disk.FATFile) []digest.Digest {
	var all []digest.Digest
	for _, f := range files {
		sys := textSystem(f)
		if path.Ext(f.Path) == ".efi" {
			if image, err := uki.Open(io.NewSectionReader(f.Data, 0, f.Size)); err == nil {
				sys = image.System
			}
		}
		if !sys.IsZero() && !slices.Contains(all, sys) {
			all = append(all, sys)
		}
	}
	return all
}

// maxText is the largest file of a loader that is text, in bytes.
const maxText = 64 << 10

// textSystem finds the system that a file of text names as a kernel argument.
func textSystem(f disk.FATFile) (sys digest.Digest) {
	if f.Size > maxText {
		return sys
	}
	b := make([]byte, f.Size)
	if _, err := f.Data.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return sys
	}
	for _, word := range bytes.Fields(b) {
		if v, ok := bytes.CutPrefix(word, []byte(uki.SystemKey+"=")); ok {
			sys, _ = digest.Parse(string(v))
		}
	}
	return sys
}

// Clear destroys the file system of a slot that nobody needs. It refuses the
// slot in force and the one that the machine was booted from, and a table that
// does not tell which one is in force. It may be cut and repeated.
//
// write (zeros over the boot sectors), sync.
func Clear(m Method, d Disk, n int) error {
	if err := clearSlot(m, d, n); err != nil {
		return fmt.Errorf("clearing slot %s: %w", Name(n), err)
	}
	return nil
}

func clearSlot(m Method, d Disk, n int) error {
	now, err := m.Current()
	if err != nil {
		return err
	}
	g, slots, err := d.read()
	if err == nil {
		err = within(n, slots)
	}
	if err != nil {
		return err
	}
	p := g.Partitions[slots[n]]
	if n == now || d.Booted != (disk.GUID{}) && p.GUID == d.Booted {
		return errors.New("the machine boots from it")
	}
	offset, _ := Span(p)
	if _, err := d.Device.WriteAt(make([]byte, bootArea), offset); err != nil {
		return err
	}
	return d.Device.Sync()
}
