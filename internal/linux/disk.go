package linux

import (
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Disk is an open block device, or a file that stands for one, that can be
// read past the kernel's cache. Large pieces that are aligned are written past
// it as well.
type Disk struct {
	*os.File
	direct *os.File // nil: its file system has no direct reads
}

// OpenDisk opens a disk or a partition for reading and writing.
func OpenDisk(path string) (*Disk, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	d := &Disk{File: f}
	if direct, err := os.OpenFile(path, os.O_RDWR|unix.O_DIRECT, 0); err == nil {
		d.direct = direct
	}
	return d, nil
}

// Close closes it.
func (d *Disk) Close() error {
	if d.direct == nil {
		return d.File.Close()
	}
	return errors.Join(d.direct.Close(), d.File.Close())
}

// directAlign is what addresses, offsets and lengths of direct reads and writes
// are multiples of, in bytes: the largest logical block of a disk. What is
// smaller than directWrite is left to the cache.
const (
	directAlign = 4096
	directWrite = 256 << 10
)

// isDirect says whether bytes can be read to, or written from, where they are.
func isDirect(p []byte, off int64) bool {
	return len(p) > 0 && len(p)%directAlign == 0 && off%directAlign == 0 && uintptr(unsafe.Pointer(&p[0]))%directAlign == 0
}

// WriteAt implements io.WriterAt. As ever, only Sync makes it last.
func (d *Disk) WriteAt(p []byte, off int64) (int, error) {
	if d.direct != nil && len(p) >= directWrite && isDirect(p, off) {
		if n, err := d.direct.WriteAt(p, off); err == nil {
			return n, nil
		}
	}
	return d.File.WriteAt(p, off)
}

// ReadBack reads from the medium what was written and synced before.
func (d *Disk) ReadBack(p []byte, off int64) (int, error) {
	if d.direct == nil {
		if err := unix.Fadvise(int(d.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
			return 0, fmt.Errorf("dropping what is cached of %s: %w", d.Name(), err)
		}
		return d.ReadAt(p, off)
	}
	if isDirect(p, off) {
		return d.direct.ReadAt(p, off)
	}
	first := off / directAlign * directAlign
	size := (off + int64(len(p)) - first + directAlign - 1) / directAlign * directAlign
	b := aligned(int(size))
	n, err := d.direct.ReadAt(b, first)
	if have := int64(n) - (off - first); have < int64(len(p)) {
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		return 0, fmt.Errorf("reading %d bytes of %s at %d back: %w", len(p), d.Name(), off, err)
	}
	return copy(p, b[off-first:]), nil
}

// aligned returns memory that begins on a multiple of directAlign.
func aligned(size int) []byte {
	b := make([]byte, size+directAlign)
	skip := directAlign - int(uintptr(unsafe.Pointer(&b[0]))%directAlign)
	return b[skip : skip+size]
}
