package delta

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"runtime/debug"

	"github.com/instar-os/instar/internal/bindiff"
)

// difference makes the contents of a stream of that method, each out of its
// base. Memory is that of a bindiff.Decoder.
func (u *Update) difference(s Stream, r *bufio.Reader, base Base, sink Sink) error {
	list := u.Contents(s)
	sizes := make([]int64, len(list))
	var sum int64
	for i, e := range list {
		sizes[i] = e.Size
		if s.Form == Listing {
			n, err := binary.ReadUvarint(r)
			if err != nil || n > MaxListing {
				return fmt.Errorf("the sizes of the listings: %w", orTooLarge(err))
			}
			sizes[i] = int64(n)
		}
		sum += sizes[i]
	}
	if sum != s.Raw {
		return fmt.Errorf("contents of %d bytes in a stream of %d", sum, s.Raw)
	}
	d, err := bindiff.NewDecoder(r)
	if err != nil {
		return err
	}
	for i, e := range list {
		if err := next(d, e, s.Form, sizes[i], base, sink); err != nil {
			return fmt.Errorf("%s %s: %w", e.Kind, e.Digest, err)
		}
	}
	if n, err := io.Copy(io.Discard, r); err != nil || n > 0 {
		return fmt.Errorf("%d bytes follow the difference: %w", n, orTooLarge(err))
	}
	return nil
}

func orTooLarge(err error) error {
	if err == nil {
		return fmt.Errorf("too large")
	}
	return unexpected(err)
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// next makes one content and gives it to the sink while it is made.
func next(d *bindiff.Decoder, e Entry, form Form, size int64, base Base, sink Sink) error {
	var old []byte
	if !e.Base.IsZero() {
		f, n, err := base(e, form)
		if err != nil {
			return fmt.Errorf("its base %s: %w", e.Base.Short(), err)
		}
		if c, ok := f.(io.Closer); ok {
			defer c.Close()
		}
		b, done, err := view(f, n)
		if err != nil {
			return fmt.Errorf("its base %s: %w", e.Base.Short(), err)
		}
		defer done()
		old = b
	}
	r, w := io.Pipe()
	made := make(chan struct{})
	go func() {
		defer close(made)
		w.CloseWithError(make1(d, old, size, w))
	}()
	err := drained(sink, e, r)
	r.CloseWithError(err) // has the other side stop
	<-made
	return err
}

// make1 makes a file. A mapped base that cannot be read is an error, as it is
// where it is read.
func make1(d *bindiff.Decoder, old []byte, size int64, w io.Writer) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(interface{ Addr() uintptr }); !ok {
				panic(p)
			}
			err = fmt.Errorf("its base cannot be read: %v", p)
		}
	}()
	return d.Next(old, size, w)
}
