package delta

import (
	"bufio"
	"compress/flate"
	"errors"
	"fmt"
	"io"
)

// Base gives the content that an entry's Base names, for Bytes, or the listing
// of that image. The content is closed by Decode when it is a Closer, and mapped
// when it is an *os.File.
type Base func(e Entry, form Form) (io.ReaderAt, int64, error)

// Sink takes a content. It must read r to its end, which Decode limits to the
// entry's size for Bytes and to MaxListing for Listing; whether the content is
// the right one only its digest says.
type Sink func(e Entry, r io.Reader) error

// MaxListing is the largest listing of an image, in bytes.
const MaxListing = 64 << 20

// Decode turns a stream into its contents, one after the other. Memory is that
// of the method: 45 MiB for differences at most, beside bases that are mapped.
func (u *Update) Decode(s Stream, body io.ReaderAt, base Base, sink Sink) error {
	return u.decode(s, bufio.NewReader(io.NewSectionReader(body, s.Offset, s.Stored)), base, sink)
}

func (u *Update) decode(s Stream, stored *bufio.Reader, base Base, sink Sink) error {
	if s.Method == Difference {
		return u.difference(s, stored, base, sink)
	}
	raw := &counted{r: decompress(s.Coding, stored), left: s.Raw}
	for _, e := range u.Contents(s) {
		size := e.Size
		if s.Form == Listing {
			size = min(s.Raw, MaxListing)
		}
		if err := drained(sink, e, io.LimitReader(raw, size)); err != nil {
			return fmt.Errorf("%s %s: %w", e.Kind, e.Digest, err)
		}
	}
	return raw.end()
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
