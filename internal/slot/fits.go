package slot

import (
	"fmt"

	"github.com/instar-os/instar/internal/disk"
)

// Fits says whether files fit into a slot, by their sizes and whatever they
// hold. Nothing is written.
func (d Disk) Fits(n int, files []disk.FATFile) error {
	g, slots, err := d.read()
	if err == nil {
		err = within(n, slots)
	}
	if err != nil {
		return err
	}
	p := g.Partitions[slots[n]]
	_, size := Span(p)
	sized := make([]disk.FATFile, len(files))
	for i, f := range files {
		sized[i] = disk.FATFile{Path: f.Path, Size: f.Size, Data: Zeros(f.Size)}
	}
	v := &disk.FAT{Size: size, Label: Label(n), Files: sized}
	if err := v.Write(nowhere{}); err != nil {
		return fmt.Errorf("slot %s: %w", p.Name, err)
	}
	return nil
}

// Zeros is a content of so many zeros, for one of which only the size is known.
type Zeros int64

// ReadAt implements io.ReaderAt.
func (z Zeros) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}

// Size returns the content's size in bytes.
func (z Zeros) Size() int64 { return int64(z) }
