package delta

import (
	"compress/flate"
	"errors"
	"fmt"
	"io"
)

// Base gives the content that an entry's Base names, for Bytes, or the listing
// of that image. The content is closed by Decode when it is a Closer.
type Base func(e Entry, form Form) (io.ReaderAt, int64, error)

// Sink takes a content. It must read r to its end, which Decode limits to the
// entry's size for Bytes and to MaxListing for Listing; whether the content is
// the right one only its digest says.
type Sink func(e Entry, r io.Reader) error

// MaxListing is the largest listing of an image, in bytes.
const MaxListing = 64 << 20

// Decode turns a stream into its contents, one after the other. Memory is that
// of the decompressor, at most 4 MiB.
func (u *Update) Decode(s Stream, body io.ReaderAt, base Base, sink Sink) error {
	raw := &counted{r: decompress(s.Coding, io.NewSectionReader(body, s.Offset, s.Stored)), left: s.Raw}
	for _, e := range u.Contents(s) {
		if err := u.content(s, e, raw, base, sink); err != nil {
			return fmt.Errorf("%s %s: %w", e.Kind, e.Digest, err)
		}
	}
	return raw.end()
}

func (u *Update) content(s Stream, e Entry, raw *counted, base Base, sink Sink) error {
	size := e.Size
	if s.Form == Listing {
		size = min(s.Raw, MaxListing)
	}
	switch s.Method {
	case Whole:
		return drained(sink, e, io.LimitReader(raw, size))
	case Patch:
		old, oldSize, err := base(e, s.Form)
		if err != nil {
			return fmt.Errorf("its base %s: %w", e.Base.Short(), err)
		}
		if c, ok := old.(io.Closer); ok {
			defer c.Close()
		}
		limit := e.Size
		if s.Form == Listing {
			limit = MaxListing
		}
		return drained(sink, e, newPatch(raw, old, oldSize, limit, s.Form == Bytes))
	}
	return fmt.Errorf("unknown method %d", s.Method)
}

// drained calls the sink and takes what it left.
func drained(sink Sink, e Entry, r io.Reader) error {
	if err := sink(e, r); err != nil {
		return err
	}
	if n, err := io.Copy(io.Discard, r); err != nil || n > 0 {
		return errors.Join(err, fmt.Errorf("%d bytes too many", n))
	}
	return nil
}

func decompress(c Coding, r io.Reader) io.Reader {
	if c == Deflate {
		return flate.NewReader(r)
	}
	return r
}

// counted is a decompressed stream that has exactly so many bytes.
type counted struct {
	r    io.Reader
	left int64
	one  [1]byte
}

// Read implements io.Reader. An end before its time is an error.
func (c *counted) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	if errors.Is(err, io.EOF) && c.left > 0 {
		err = fmt.Errorf("the stream ends %d bytes too early: %w", c.left, io.ErrUnexpectedEOF)
	}
	return n, err
}

// ReadByte implements io.ByteReader.
func (c *counted) ReadByte() (byte, error) {
	_, err := io.ReadFull(c, c.one[:])
	return c.one[0], err
}

// end finds what is left over, on either side of the announced size.
func (c *counted) end() error {
	if c.left > 0 {
		return fmt.Errorf("the stream has %d bytes too many", c.left)
	}
	if n, err := io.ReadFull(c.r, c.one[:]); n > 0 {
		return errors.New("the stream is longer than it says")
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}
