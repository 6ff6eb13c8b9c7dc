package delta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// A patch makes a content of a base: in turn so many bytes of the stream, and
// so many of the base from a place that is said relative to the end of the
// copy before. With numbers as varints:
//
//	insert length, bytes, copy length, [signed distance, when the length is not 0]
//
// Where the content's size is known it ends with it; else with an insertion and
// a copy that are both empty.
type patch struct {
	raw   *counted
	old   io.ReaderAt
	size  int64 // of old
	left  int64 // that may still come
	exact bool  // left is the content's size

	insert, copy int64 // under way
	at           int64 // in old
	ended        bool
}

func newPatch(raw *counted, old io.ReaderAt, size, limit int64, exact bool) *patch {
	return &patch{raw: raw, old: old, size: size, left: limit, exact: exact}
}

// Read implements io.Reader.
func (p *patch) Read(b []byte) (int, error) {
	for p.insert == 0 && p.copy == 0 {
		if p.ended || p.exact && p.left == 0 {
			return 0, io.EOF
		}
		if err := p.next(); err != nil {
			return 0, err
		}
	}
	if p.insert > 0 {
		n, err := p.raw.Read(b[:min(int64(len(b)), p.insert)])
		p.insert -= int64(n)
		if p.insert == 0 && err == nil {
			err = p.place(false)
		}
		if n > 0 && err == io.EOF {
			err = nil
		}
		if n == 0 && err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return n, err
	}
	n, err := p.old.ReadAt(b[:min(int64(len(b)), p.copy)], p.at)
	p.copy -= int64(n)
	p.at += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

// next reads an insertion's length, and the copy behind an empty one.
func (p *patch) next() error {
	n, err := p.length()
	if err != nil {
		return err
	}
	if p.insert = n; n == 0 {
		return p.place(true)
	}
	return nil
}

// place reads the copy behind an insertion, which was empty or not.
func (p *patch) place(empty bool) error {
	if p.exact && p.left == 0 {
		return nil
	}
	n, err := p.length()
	if err != nil {
		return err
	}
	if n == 0 {
		if p.ended = empty && !p.exact; empty && p.exact {
			return errors.New("a patch has a step without effect")
		}
		return nil
	}
	d, err := binary.ReadVarint(p.raw)
	if err != nil {
		return unexpected(err)
	}
	at := p.at + d
	if at < 0 || at > p.size || n > p.size-at {
		return fmt.Errorf("a patch copies %d bytes from %d of a base of %d", n, at, p.size)
	}
	p.at, p.copy = at, n
	return nil
}

func (p *patch) length() (int64, error) {
	v, err := binary.ReadUvarint(p.raw)
	if err != nil {
		return 0, unexpected(err)
	}
	if v > uint64(p.left) {
		return 0, fmt.Errorf("a patch makes more than the %d bytes that are left", p.left)
	}
	p.left -= int64(v)
	return int64(v), nil
}

func unexpected(err error) error {
	if err == io.EOF {
		return fmt.Errorf("a patch is cut off: %w", io.ErrUnexpectedEOF)
	}
	return err
}
