package bindiff

import (
	"bufio"
	"fmt"
	"io"

	"github.com/instar-os/instar/internal/bindiff/arith"
)

// Decoder makes new files. One goroutine at a time.
type Decoder struct {
	k   codec
	err error
}

// NewDecoder reads a stream that Encode wrote. It may read further than the
// stream's end unless r is an io.ByteReader.
func NewDecoder(r io.Reader) (*Decoder, error) { return newDecoder(r, tableBits) }

func newDecoder(r io.Reader, bits int) (*Decoder, error) {
	b, ok := r.(io.ByteReader)
	if !ok {
		b = bufio.NewReader(r)
	}
	v, err := b.ReadByte()
	if err != nil {
		return nil, fmt.Errorf("read the difference: %w", noEOF(err))
	}
	if v != Version {
		return nil, fmt.Errorf("the difference has version %d, want %d", v, Version)
	}
	c, err := arith.NewReader(b)
	if err != nil {
		return nil, fmt.Errorf("read the difference: %w", err)
	}
	return &Decoder{k: codec{models: newModels(bits), c: c}}, nil
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Next makes the next file of the stream, size bytes, out of old and writes it
// to w, never more than size bytes. old is read at random: a mapped file will
// do. After an error w has part of a file and the Decoder is of no more use;
// the error wraps ErrDamaged where it is the stream that is to blame, or old.
// A stream that is damaged but well formed makes wrong bytes: verify them.
func (d *Decoder) Next(old []byte, size int64, w io.Writer) error {
	if d.err != nil {
		return d.err
	}
	if size < 0 || size > MaxSize || len(old) > MaxSize {
		return fmt.Errorf("make a file of %d bytes from one of %d: at most %d are supported", size, len(old), MaxSize)
	}
	d.err = d.k.file(old, int(size), plan{}, nil, w)
	return d.err
}
