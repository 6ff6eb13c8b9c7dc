package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/disk"
)

// ErrOccupied says that a disk holds something.
var ErrOccupied = errors.New("already holds data")

// DiskSize returns the size in bytes of a block device or an image file.
func DiskSize(path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return f.Seek(0, io.SeekEnd)
}

// probeSize is how much of a disk's beginning must be zeros for it to count as
// empty: partition tables and the superblocks of file systems lie there.
const probeSize = 1 << 20

// CheckEmpty returns ErrOccupied when the beginning of a disk, or the sector of
// a backup partition table at its end, is not all zeros.
func CheckEmpty(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	for _, span := range [][2]int64{{0, min(probeSize, size)}, {max(0, size-disk.SectorSize), size}} {
		b := make([]byte, span[1]-span[0])
		if _, err := f.ReadAt(b, span[0]); err != nil {
			return fmt.Errorf("%s: reading what it holds: %w", path, err)
		}
		for _, c := range b {
			if c != 0 {
				return fmt.Errorf("%s %w", path, ErrOccupied)
			}
		}
	}
	return nil
}

// Install writes the planned disk onto a block device or an image file that is
// there, replacing what it held. The plan's Size must be the disk's. The old
// partition tables are destroyed first and the new one is written last, so
// that a disk on which this was cut does not boot; it may be run again.
//
// open (of a device with O_EXCL first, which fails while it is in use), zero both tables,
// fsync, slots, store, fsync, table, fsync.
func (p *Plan) Install(ctx context.Context, tool Tool, path string) error {
	if err := p.install(ctx, tool, path); err != nil {
		return fmt.Errorf("installing system %s on %s: %w", p.System.Short(), path, err)
	}
	return nil
}

func (p *Plan) install(ctx context.Context, tool Tool, path string) error {
	f, err := openDisk(path)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if size/disk.SectorSize*disk.SectorSize != p.Table.Size {
		return fmt.Errorf("it has %d bytes, the plan is for %d", size, p.Table.Size)
	}
	zeros := make([]byte, probeSize)
	for _, at := range []int64{0, p.Table.Size - disk.SectorSize} {
		if _, err := f.WriteAt(zeros[:min(probeSize, p.Table.Size-at)], at); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := p.writeParts(ctx, tool, f, f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return p.writeTable(f)
}

// openDisk opens the disk for writing. A device that is in use is refused: it
// is opened with O_EXCL for a moment, and not longer, because mke2fs does the
// same while it works.
func openDisk(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode()&os.ModeDevice != 0 {
		probe, err := os.OpenFile(path, os.O_RDWR|unix.O_EXCL, 0)
		if errors.Is(err, unix.EBUSY) {
			return nil, fmt.Errorf("it is in use, by a mounted file system for example: %w", err)
		}
		if err != nil {
			return nil, err
		}
		if err := probe.Close(); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(path, os.O_RDWR, 0)
}
