package slot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/instar-os/instar/internal/disk"
)

// stage writes a slot's file system so that it is one only when it is whole:
// its boot sector is destroyed first and written last, after everything else
// was read back.
//
// write (zeros over the boot sectors), sync, write (tables, directories, files),
// sync, read back, write (boot sectors), sync, read back.
func (d Disk) stage(g *disk.GPT, slots []int, n int, files []disk.FATFile) error {
	p := g.Partitions[slots[n]]
	if d.Booted != (disk.GUID{}) && p.GUID == d.Booted {
		return fmt.Errorf("slot %s is the one that the machine runs from", p.Name)
	}
	offset, size := Span(p)
	id := disk.SeedGUID(g.Disk[:], p.Name+" volume")
	v := &disk.FAT{Size: size, Label: Label(n), ID: binary.LittleEndian.Uint32(id[:]), Files: files}
	// What does not fit must not cost the slot its old content.
	if err := v.Write(nowhere{}); err != nil {
		return err
	}
	if err := d.fill(v, offset); err != nil {
		return fmt.Errorf("slot %s: %w", p.Name, err)
	}
	return nil
}

func (d Disk) fill(v *disk.FAT, offset int64) error {
	if _, err := d.Device.WriteAt(make([]byte, bootArea), offset); err != nil {
		return fmt.Errorf("destroying what it held: %w", err)
	}
	if err := d.Device.Sync(); err != nil {
		return fmt.Errorf("destroying what it held: %w", err)
	}
	w := newPump(d.Device)
	b := &body{to: w, offset: offset}
	err := v.Write(b)
	spans, end := w.close()
	if err := errors.Join(err, end); err != nil {
		return err
	}
	if err := d.Device.Sync(); err != nil {
		return fmt.Errorf("syncing it: %w", err)
	}
	if err := prove(d.Device, spans); err != nil {
		return fmt.Errorf("reading it back: %w", err)
	}
	if _, err := d.Device.WriteAt(b.boot, offset); err != nil {
		return err
	}
	if err := d.Device.Sync(); err != nil {
		return fmt.Errorf("syncing its boot sectors: %w", err)
	}
	if _, err := (reader{d.Device}).WriteAt(b.boot, offset); err != nil {
		return fmt.Errorf("reading its boot sectors back: %w", err)
	}
	return nil
}

// bootArea is how much of a slot is destroyed first, in bytes: boot sector,
// FSInfo and their copies are in it.
const bootArea = 16 << 10

// body passes on what is written to a file system but for its boot sectors,
// which are one write at offset 0.
type body struct {
	to     io.WriterAt
	offset int64 // of the file system
	boot   []byte
}

// WriteAt implements io.WriterAt.
func (b *body) WriteAt(p []byte, off int64) (int, error) {
	if off == 0 {
		b.boot = bytes.Clone(p)
		return len(p), nil
	}
	return b.to.WriteAt(p, b.offset+off)
}

// reader compares what is written with what the medium holds.
type reader struct{ dev Device }

// WriteAt implements io.WriterAt.
func (r reader) WriteAt(p []byte, off int64) (int, error) {
	back := make([]byte, len(p))
	if n, err := r.dev.ReadBack(back, off); err != nil {
		return n, err
	}
	if !bytes.Equal(back, p) {
		return 0, fmt.Errorf("the %d bytes at %d of the disk are not what was written", len(p), off)
	}
	return len(p), nil
}

// nowhere is an io.WriterAt that writes nothing.
type nowhere struct{}

// WriteAt implements io.WriterAt.
func (nowhere) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
