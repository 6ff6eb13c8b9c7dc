// Package data makes the data partition in the free space of the system's disk
// and lets it grow with the disk.
//
// The order of writes leaves a good state at each cut: the file system's
// template is on the disk before the partition table names the partition, and
// the table is written as package disk does it. What was cut is done again.
package data

import (
	"fmt"
	"io"

	"github.com/instar-os/instar/internal/disk"
)

// Name is the partition's name in the table.
const Name = "instar-data"

// Device is a whole disk.
type Device interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
	Zero(offset, size int64) error // makes a range read as zeros
}

// Template is the file system that the partition begins with.
type Template struct {
	Size int64 // bytes
	// Open returns a reader that fails at its end when the content is wrong.
	Open func() (io.ReadCloser, error)
}

// Place is where the partition is, in bytes.
type Place struct {
	Number      int
	Start, Size int64
	Made, Grown bool // now, by this call
}

// Ensure makes the partition when the table has none, and extends it when
// there is room behind it, on a disk of size bytes. It may be cut at any write
// and called again. The kernel is not told.
func Ensure(dev Device, size int64, t Template) (Place, error) {
	g, err := disk.ReadGPT(dev, size)
	if err != nil {
		return Place{}, err
	}
	for i, p := range g.Partitions {
		if p.Name == Name && p.Type != (disk.GUID{}) {
			return extend(dev, g, i)
		}
	}
	p, err := g.Add(disk.Partition{Type: disk.TypeLinux, GUID: disk.SeedGUID(g.Disk[:], Name), Name: Name}, 0)
	if err != nil {
		return Place{}, err
	}
	if p.Size() < t.Size {
		return Place{}, fmt.Errorf("partition %s: %d bytes are free on the disk, its file system needs %d", Name, p.Size(), t.Size)
	}
	if err := write(dev, p.Offset(), t); err != nil {
		return Place{}, fmt.Errorf("partition %s: writing its file system: %w", Name, err)
	}
	if err := g.Write(dev); err != nil {
		return Place{}, err
	}
	return Place{Number: len(g.Partitions), Start: p.Offset(), Size: p.Size(), Made: true}, nil
}

// extend lets partition i take the room behind it, and repairs a damaged
// table. Partitions begin and end on disk.Align.
func extend(dev Device, g *disk.GPT, i int) (Place, error) {
	p := &g.Partitions[i]
	end := g.LastUsable() + 1
	for _, q := range g.Partitions {
		if q.Type != (disk.GUID{}) && q.First > p.Last {
			end = min(end, q.First)
		}
	}
	const align = disk.Align / disk.SectorSize
	last := end/align*align - 1
	grown := last > p.Last && end >= align
	if grown {
		p.Last = last
	}
	if grown || g.Recovered {
		if err := g.Write(dev); err != nil {
			return Place{}, err
		}
	}
	return Place{Number: i + 1, Start: p.Offset(), Size: p.Size(), Grown: grown}, nil
}

// block is the granularity in which zeros are not written, in bytes.
const block = 64 << 10

// write puts the template at an offset and makes it last.
func write(dev Device, offset int64, t Template) error {
	if err := dev.Zero(offset, t.Size); err != nil {
		return err
	}
	r, err := t.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	buf, zeros := make([]byte, block), make([]byte, block)
	var done int64
	for {
		n, err := io.ReadFull(r, buf)
		if done+int64(n) > t.Size {
			return fmt.Errorf("its template is longer than %d bytes", t.Size)
		}
		if string(buf[:n]) != string(zeros[:n]) {
			if _, err := dev.WriteAt(buf[:n], offset+done); err != nil {
				return err
			}
		}
		done += int64(n)
		switch err {
		case nil:
			continue
		case io.EOF, io.ErrUnexpectedEOF:
		default:
			return err
		}
		break
	}
	if done != t.Size {
		return fmt.Errorf("its template has %d bytes instead of %d", done, t.Size)
	}
	return dev.Sync()
}

// Repair restores the primary partition table of a disk from the backup when
// it is damaged, as a cut while it was written can leave it; true when it did.
// A disk without a table is left alone.
func Repair(dev Device, size int64) bool {
	g, err := disk.ReadGPT(dev, size)
	return err == nil && g.Recovered && g.Write(dev) == nil
}
