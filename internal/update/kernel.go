package update

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/bzimage"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/system"
)

// inSlot reports whether a boot slot has a part of a system, or the image that
// is packed of it.
func (s *site) inSlot(m *system.Manifest, o system.Object) bool {
	if s.env.Part == nil {
		return false
	}
	if k := m.Kernel; k.Payload != nil && slices.Contains(k.Parts(), o) && s.env.Part(k.Image) != nil {
		return true
	}
	return s.env.Part(o) != nil
}

// scratch is how many bytes the kernel takes in the store while the slot is
// made: the image that is packed, and what was unpacked of the one before.
func (s *site) scratch(m *system.Manifest) int64 {
	k := m.Kernel
	if k.Payload == nil || s.env.Part != nil && s.env.Part(k.Image) != nil {
		return 0
	}
	return 2*onDisk(k.Image.Size) + onDisk(k.Payload.Content.Size)
}

// fileContent is a content in a file that others have as well.
type fileContent interface {
	Content
	Dup() (*os.File, error)
}

// mappable gives a content such that it is mapped, where it is in a file.
func mappable(c Content) (io.ReaderAt, int64, error) {
	if f, ok := c.(fileContent); ok {
		file, err := f.Dup()
		return file, c.Size(), err
	}
	return c, c.Size(), nil
}

// pack makes the kernel's image of its parts, once, beside them. The memory is
// bzimage.Join's.
func (r *Received) pack(k system.Kernel) (Content, error) {
	shell, err := r.bytes(k.Payload.Shell)
	if err != nil {
		return nil, err
	}
	defer shell.done()
	content, err := r.bytes(k.Payload.Content)
	if err != nil {
		return nil, err
	}
	defer content.done()
	f, err := r.site.env.FS.Create(r.site.dir, 0o600)
	if err != nil {
		return nil, err
	}
	h := digest.New()
	if _, err := bzimage.Join(io.MultiWriter(h, f), shell.b, content.b); err != nil {
		return nil, errors.Join(err, f.Abort())
	}
	if got := h.Sum(); got != k.Image.Digest {
		return nil, errors.Join(fmt.Errorf("the kernel is packed to an image of digest %s, its system has %s; it was made by another version of instar", got, k.Image.Digest), f.Abort())
	}
	if err := f.Commit(r.site.partPath(k.Image.Digest)); err != nil {
		return nil, err
	}
	return r.Part(k.Image)
}

// view is all bytes of a content until done.
type view struct {
	b    []byte
	done func()
}

// bytes maps a part, or reads a small one.
func (r *Received) bytes(o system.Object) (view, error) {
	c, err := r.Part(o)
	if err != nil {
		return view{}, err
	}
	if closer, ok := c.(io.Closer); ok {
		defer closer.Close()
	}
	var f *os.File
	switch c := c.(type) {
	case *file:
		f = c.File
	case fileContent:
		if f, err = c.Dup(); err != nil {
			return view{}, err
		}
		defer f.Close()
	}
	if f != nil && c.Size() > 0 {
		b, err := unix.Mmap(int(f.Fd()), 0, int(c.Size()), unix.PROT_READ, unix.MAP_SHARED)
		if err != nil {
			return view{}, fmt.Errorf("mapping boot part %s: %w", o.Digest.Short(), err)
		}
		return view{b, func() { _ = unix.Munmap(b) }}, nil
	}
	if c.Size() > bzimage.MaxShell {
		return view{}, fmt.Errorf("boot part %s of %d bytes cannot be held in memory", o.Digest.Short(), c.Size())
	}
	b := make([]byte, c.Size())
	_, err = io.ReadFull(io.NewSectionReader(c, 0, c.Size()), b)
	return view{b, func() {}}, err
}
