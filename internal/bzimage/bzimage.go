// Package bzimage takes kernels of x86 apart and puts them together again, to
// the same bytes: the kernel itself, which differences see into, and the shell
// that unpacks it when it is booted.
//
// Package kernel makes such images of what distributions ship. How images are
// told from those stands in docs/format/kernel.md.
//
// Source: Documentation/arch/x86/boot.rst.
package bzimage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/instar-os/instar/internal/zstd"
)

// Places of the setup header, in bytes of the file.
const (
	SetupSectors  = 0x1f1 // of 512 bytes, without the first
	ProtectedSize = 0x1f4 // of what follows the setup code, in 16 bytes
	Magic         = 0x202 // HdrS
	PayloadOffset = 0x248 // behind the setup code
	PayloadLength = 0x24c
	InitSize      = 0x260 // memory that it needs
	Handover      = 0x264
	KernelInfo    = 0x268
	HeaderEnd     = 0x26c
)

// magic begins a shell, and follows the payload in an image that was joined.
const magic = "instark1"

const (
	shellHead = len(magic) + 8
	mark      = len(magic) + 4
	// MaxShell is the largest shell, in bytes.
	MaxShell = 16 << 20
	// MaxContent is the largest kernel, in bytes.
	MaxContent = 512 << 20
	// Align is what the distance between head and tail changes by a multiple of:
	// a page, in bytes.
	Align = 4096
)

var le = binary.LittleEndian

// Payload says where a bzImage has its payload, in bytes of the file. Length has
// the size of the content in its last four bytes.
func Payload(head []byte) (at, length int64, err error) {
	if len(head) < HeaderEnd || string(head[Magic:Magic+4]) != "HdrS" {
		return 0, 0, errors.New("not an x86 bzImage")
	}
	at = (int64(head[SetupSectors])+1)*512 + int64(le.Uint32(head[PayloadOffset:]))
	length = int64(le.Uint32(head[PayloadLength:]))
	if length < 8 {
		return 0, 0, errors.New("the bzImage has no payload")
	}
	return at, length, nil
}

// Room returns how many bytes follow a payload at least, up to the tail.
func Room() int64 { return int64(mark) }

// Shell is an image without its payload: of image[:at] and what stands from end
// on in the image to be.
func Shell(head, tail []byte, end int64) []byte {
	b := append([]byte(magic), make([]byte, 8)...)
	le.PutUint32(b[len(magic):], uint32(len(head)))
	le.PutUint32(b[len(magic)+4:], uint32(end))
	return append(append(b, head...), tail...)
}

// Join writes the image of a shell and a kernel, and returns its size. Content
// may be mapped: the memory is zstd.Compress's.
func Join(w io.Writer, shell, content []byte) (int64, error) {
	return assemble(w, shell, len(content), func(w io.Writer) error { return zstd.Compress(w, content) })
}

// Assemble is Join with a kernel of that size that is packed already.
func Assemble(w io.Writer, shell, frame []byte, size int) (int64, error) {
	return assemble(w, shell, size, func(w io.Writer) error {
		_, err := w.Write(frame)
		return err
	})
}

func assemble(w io.Writer, shell []byte, size int, packed func(io.Writer) error) (int64, error) {
	n, err := join(w, shell, size, packed)
	if err != nil {
		return n, fmt.Errorf("packing the kernel: %w", err)
	}
	return n, nil
}

func join(out io.Writer, shell []byte, size int, packed func(io.Writer) error) (int64, error) {
	if len(shell) < shellHead || len(shell) > MaxShell || string(shell[:len(magic)]) != magic || size > MaxContent {
		return 0, errors.New("its shell is none")
	}
	at, end := int(le.Uint32(shell[len(magic):])), int64(le.Uint32(shell[len(magic)+4:]))
	if at > len(shell)-shellHead {
		return 0, errors.New("its shell is cut")
	}
	head, tail := shell[shellHead:shellHead+at], shell[shellHead+at:]
	from, length, err := Payload(head)
	if err != nil || from != int64(at) {
		return 0, fmt.Errorf("its shell has no place for the payload: %w", err)
	}
	w := &counter{w: out}
	if _, err := w.Write(head); err != nil {
		return w.n, err
	}
	if err := packed(w); err != nil {
		return w.n, err
	}
	rest := append(le.AppendUint32(nil, uint32(size)), magic...)
	rest = le.AppendUint32(rest, uint32(end))
	if _, err := w.Write(rest); err != nil {
		return w.n, err
	}
	if have := w.n - from - int64(mark); have != length || w.n > end || end-w.n > 2*Align {
		return w.n, fmt.Errorf("a payload of %d bytes, its shell has room for %d", have, length)
	}
	if _, err := w.Write(make([]byte, end-w.n)); err != nil {
		return w.n, err
	}
	_, err = w.Write(tail)
	return w.n, err
}

type counter struct {
	w io.Writer
	n int64
}

// Write implements io.Writer.
func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

// Parts of an image that was joined.
type Parts struct {
	Shell []byte
	Size  int64 // of the kernel, in bytes
	frame *io.SectionReader
}

// Split takes an image apart; nil when it is not one that was joined. Nothing of
// it is verified.
func Split(image io.ReaderAt, size int64) (*Parts, error) {
	head := make([]byte, HeaderEnd)
	if _, err := image.ReadAt(head, 0); err != nil {
		return nil, nil
	}
	at, length, err := Payload(head)
	if err != nil || at+length+int64(mark) > size || at > MaxShell {
		return nil, nil
	}
	var m [mark]byte
	if _, err := image.ReadAt(m[:], at+length); err != nil || string(m[:len(magic)]) != magic {
		return nil, nil
	}
	end := int64(le.Uint32(m[len(magic):]))
	if end < at+length+int64(mark) || end > size || at+size-end > MaxShell-int64(shellHead) {
		return nil, nil
	}
	b := make([]byte, at+size-end)
	if _, err := image.ReadAt(b[:at], 0); err != nil {
		return nil, err
	}
	if n, err := image.ReadAt(b[at:], end); n < len(b)-int(at) {
		return nil, err
	}
	p := &Parts{Shell: Shell(b[:at], b[at:], end), frame: io.NewSectionReader(image, at, length-4)}
	var first [32]byte
	if _, err := p.frame.ReadAt(first[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	n, err := zstd.Size(first[:])
	if err != nil || n > MaxContent {
		return nil, nil
	}
	p.Size = int64(n)
	return p, nil
}

// Frame is the packed kernel, for zstd.Decompress.
func (p *Parts) Frame() *io.SectionReader { return p.frame }
