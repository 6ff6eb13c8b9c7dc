// Package take takes values off the front of bytes that nobody has checked: each
// within its limit, and none after the first error. What updates and indexes of
// chunks say of themselves is read so.
package take

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/instar-os/instar/internal/digest"
)

// Taker is bytes of which values are taken. After an error every value is zero,
// so that Err needs to be looked at once, and in loops whose count was read.
type Taker struct {
	b   []byte
	err error
}

var errCut = errors.New("it is cut off")

// From returns a Taker of b, which is not copied: what Bytes returns is b's.
func From(b []byte) *Taker { return &Taker{b: b} }

// Err returns the first error.
func (t *Taker) Err() error { return t.err }

// End returns the first error; bytes that were not taken are one.
func (t *Taker) End() error {
	if t.err == nil && len(t.b) > 0 {
		return fmt.Errorf("%d bytes behind its end", len(t.b))
	}
	return t.err
}

// Fail makes err the first error, unless there was one.
func (t *Taker) Fail(err error) {
	if t.err == nil {
		t.err = err
	}
}

// Number takes an unsigned varint of at most limit.
func (t *Taker) Number(limit int64) int64 {
	v, n := binary.Uvarint(t.b)
	switch {
	case t.err != nil:
		return 0
	case n <= 0:
		t.err = errCut
		return 0
	case v > uint64(limit):
		t.err = fmt.Errorf("%d where at most %d may stand", v, limit)
		return 0
	}
	t.b = t.b[n:]
	return int64(v)
}

// Count takes how many values of at least size bytes follow: at most limit, and
// no more than there is room for, so that a count alone makes nobody work.
func (t *Taker) Count(limit int64, size int) int64 {
	return t.Number(min(limit, int64(len(t.b)/size)+1))
}

// Signed takes a signed varint.
func (t *Taker) Signed() int64 {
	v, n := binary.Varint(t.b)
	if t.err != nil {
		return 0
	}
	if n <= 0 {
		t.err = errCut
		return 0
	}
	t.b = t.b[n:]
	return v
}

// Bytes takes n bytes; n zeros after an error. n is the caller's, never taken.
func (t *Taker) Bytes(n int) []byte {
	if n > len(t.b) {
		t.Fail(errCut)
	}
	if t.err != nil {
		return make([]byte, n)
	}
	b := t.b[:n]
	t.b = t.b[n:]
	return b
}

// Text takes a name of at most limit bytes, which are printable ASCII and no
// spaces.
func (t *Taker) Text(limit int64) string {
	b := t.Bytes(int(t.Number(limit)))
	for _, c := range b {
		if c <= ' ' || c > '~' {
			t.Fail(fmt.Errorf("a name has the byte %#x", c))
		}
	}
	if t.err != nil {
		return ""
	}
	return string(b)
}

// Digest takes a digest that is not zero.
func (t *Taker) Digest() digest.Digest {
	d := digest.Digest(t.Bytes(digest.Size))
	if d.IsZero() {
		t.Fail(errors.New("a digest is zero"))
	}
	return d
}
