package uki

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/instar-os/instar/internal/deflate"
	"github.com/instar-os/instar/internal/pe"
)

// An initrd is gzipped within an image: it is plain in stores and updates, which
// look into it, and less than half of it is written to boot slots. Kernels of
// all architectures unpack gzip (Documentation/driver-api/early-userspace).

// maxInitrd is the largest initrd that is packed or unpacked, in bytes.
const maxInitrd = 256 << 20

// maxRatio is how much larger than itself a DEFLATE stream can become.
const maxRatio = 1032

var gzipHead = []byte{0x1f, 0x8b, 8}

// pack gzips an initrd.
func pack(c pe.Content) (pe.Content, error) {
	if c.Size() > maxInitrd {
		return nil, fmt.Errorf("an initrd of %d bytes, more than %d", c.Size(), maxInitrd)
	}
	b := make([]byte, c.Size())
	if _, err := io.ReadFull(io.NewSectionReader(c, 0, c.Size()), b); err != nil {
		return nil, fmt.Errorf("reading the initrd: %w", err)
	}
	return bytes.NewReader(deflate.Gzip(nil, b)), nil
}

// unpack gives the initrd of an image, which images made before may have plain.
func unpack(c pe.Content) (pe.Content, error) {
	head, tail := make([]byte, len(gzipHead)), make([]byte, 4)
	if c.Size() < 18 {
		return c, nil
	}
	if _, err := c.ReadAt(head, 0); err != nil {
		return nil, err
	}
	if !bytes.Equal(head, gzipHead) {
		return c, nil
	}
	if n, err := c.ReadAt(tail, c.Size()-4); n < len(tail) {
		return nil, err
	}
	size := int64(binary.LittleEndian.Uint32(tail))
	if size > maxInitrd || size/maxRatio > c.Size() {
		return nil, fmt.Errorf("an initrd of %d bytes that became %d", size, c.Size())
	}
	return &unpacked{packed: c, size: size}, nil
}

// unpacked is an initrd that is unpacked, into memory, when it is first read.
type unpacked struct {
	packed pe.Content
	size   int64
	once   sync.Once
	data   []byte
	err    error
}

// Size is in bytes.
func (u *unpacked) Size() int64 { return u.size }

// ReadAt implements io.ReaderAt.
func (u *unpacked) ReadAt(b []byte, off int64) (int, error) {
	u.once.Do(func() {
		if u.data, u.err = inflate(u.packed, u.size); u.err != nil {
			u.err = fmt.Errorf("unpacking the initrd: %w", u.err)
		}
	})
	if u.err != nil {
		return 0, u.err
	}
	return bytes.NewReader(u.data).ReadAt(b, off)
}

func inflate(c pe.Content, size int64) ([]byte, error) {
	r, err := gzip.NewReader(io.NewSectionReader(c, 0, c.Size()))
	if err != nil {
		return nil, err
	}
	r.Multistream(false)
	b := make([]byte, size)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	if n, err := r.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) { // the end has the checksum
		return nil, fmt.Errorf("more than its %d bytes: %w", size, err)
	}
	return b, nil
}
