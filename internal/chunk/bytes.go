package chunk

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
)

// Unpack returns the bytes of a chunk out of what a pack has of it, verified.
// into is used when it is large enough.
func (c Chunk) Unpack(stored, into []byte) ([]byte, error) {
	b := stored
	if c.Stored < c.Raw {
		b = append(into[:0], make([]byte, c.Raw)...)
		z := flate.NewReader(bytes.NewReader(stored))
		if _, err := io.ReadFull(z, b); err != nil {
			return nil, fmt.Errorf("chunk %x: %w", c.ID[:6], err)
		}
		if n, err := z.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("chunk %x: it is longer than it says", c.ID[:6])
		}
	}
	if int64(len(b)) != c.Raw || IDOf(b) != c.ID {
		return nil, fmt.Errorf("chunk %x is damaged", c.ID[:6])
	}
	return b, nil
}

// Each cuts what r holds and calls f for each chunk with its place. What it is
// given it may not keep.
func Each(r io.Reader, f func(at int64, b []byte) error) error {
	buf := make([]byte, 0, 4*MaxSize)
	var at int64
	for end := false; ; {
		for !end && len(buf) < MaxSize {
			n, err := r.Read(buf[len(buf):cap(buf)])
			buf = buf[:len(buf)+n]
			if end = errors.Is(err, io.EOF); err != nil && !end {
				return err
			}
		}
		if len(buf) == 0 {
			return nil
		}
		rest := buf
		for len(rest) > 0 && (end || len(rest) >= MaxSize) {
			n := Cut(rest)
			if err := f(at, rest[:n]); err != nil {
				return err
			}
			at, rest = at+int64(n), rest[n:]
		}
		buf = buf[:copy(buf[:cap(buf)], rest)]
	}
}

// Range is a part of a pack.
type Range struct {
	Pack   int   `json:"pack"`   // number in the index
	Offset int64 `json:"offset"` // bytes
	Length int64 `json:"length"` // bytes
}

// Ranges joins chunks that stand one behind the other.
func (x *Index) Ranges(chunks []int) []Range {
	var all []Range
	for _, i := range chunks {
		c := x.Chunks[i]
		if n := len(all) - 1; n >= 0 && all[n].Pack == c.Pack && all[n].Offset+all[n].Length == c.Offset {
			all[n].Length += c.Stored
			continue
		}
		all = append(all, Range{c.Pack, c.Offset, c.Stored})
	}
	return all
}
