package receive

import (
	"bytes"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/bzimage"
	"github.com/instar-os/instar/internal/pe"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/update"
	"github.com/instar-os/instar/internal/zstd"
)

// unpacked gives shell or content of a kernel's image in a slot, nil when it is
// another one's.
func (d *device) unpacked(image pe.Content, o system.Object) update.Content {
	p, err := bzimage.Split(image, image.Size())
	if err != nil || p == nil {
		return nil
	}
	if c := bytes.NewReader(p.Shell); c.Size() == o.Size && isContent(c, o.Digest) {
		return c
	}
	if p.Size != o.Size || d.store == nil {
		return nil
	}
	c, err := unpack(p, d.store.Incoming())
	if err != nil {
		return nil
	}
	if !isContent(c, o.Digest) {
		c.f.Close()
		return nil
	}
	return c
}

// scratch is a content in a file without a name, which is gone when the process
// is: bytes of the page cache, that are written where nothing has to last.
type scratch struct {
	f    *os.File
	size int64
}

// ReadAt implements io.ReaderAt.
func (s *scratch) ReadAt(b []byte, off int64) (int, error) { return s.f.ReadAt(b, off) }

// Size is in bytes.
func (s *scratch) Size() int64 { return s.size }

// Dup opens it once more.
func (s *scratch) Dup() (*os.File, error) {
	fd, err := unix.FcntlInt(s.f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	return os.NewFile(uintptr(fd), s.f.Name()), err
}

// unpack writes the kernel of an image to a file below dir. The packed one
// stands behind it while that is done, so that no memory but the page cache's
// holds either.
func unpack(p *bzimage.Parts, dir string) (*scratch, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(dir, "kernel-")
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.Remove(f.Name()), fill(f, p)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &scratch{f, p.Size}, nil
}

func fill(f *os.File, p *bzimage.Parts) error {
	frame := p.Frame()
	if _, err := io.Copy(io.NewOffsetWriter(f, p.Size), frame); err != nil {
		return err
	}
	all := p.Size + frame.Size()
	// Blocks are taken now: a full disk would be a fault in the mapping.
	if err := unix.Fallocate(int(f.Fd()), 0, 0, all); err != nil {
		return err
	}
	b, err := unix.Mmap(int(f.Fd()), 0, int(all), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	err = zstd.Decompress(b[:p.Size:p.Size], b[p.Size:])
	return errors.Join(err, unix.Munmap(b), f.Truncate(p.Size))
}
