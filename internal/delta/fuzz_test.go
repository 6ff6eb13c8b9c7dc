package delta

import (
	"bytes"
	"compress/flate"
	"crypto/rand"
	"io"
	"testing"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/trust"
)

// small is an update of one content, a manifest to look at.
func small(t testing.TB) (front, body []byte) {
	t.Helper()
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, 9)
	if err != nil {
		t.Fatal(err)
	}
	whole := bytes.Repeat([]byte("instar"), 100)
	if _, err := w.Write(whole); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	key, err := trust.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	body = packed.Bytes()
	h := &Head{Machine: "m", Arch: "amd64", Target: digest.Of(whole), Entries: []Entry{{Kind: System, Digest: digest.Of(whole), Size: int64(len(whole))}},
		Streams: []Stream{{Method: Whole, Coding: Deflate, Form: Bytes, Count: 1, Stored: int64(len(body)), Raw: int64(len(whole))}}}
	front, err = Front(h, MinPiece, bytes.NewReader(body), int64(len(body)), []trust.Private{key})
	if err != nil {
		t.Fatal(err)
	}
	return front, body
}

// decodeAll makes all contents of an update from foreign bytes, and sees that
// none is longer than it says.
func decodeAll(t *testing.T, u *Update, body []byte) {
	for _, s := range u.Streams {
		u.Decode(s, bytes.NewReader(body), func(Entry, Form) (io.ReaderAt, int64, error) {
			return bytes.NewReader(body), int64(len(body)), nil
		}, func(e Entry, r io.Reader) error {
			limit := e.Size
			if s.Form == Listing {
				limit = MaxListing
			}
			n, err := io.Copy(io.Discard, io.LimitReader(r, min(limit, 1<<20)+1))
			if n > limit {
				t.Errorf("%d bytes came of a content of %d", n, limit)
			}
			return err
		})
	}
}

func FuzzInspect(f *testing.F) {
	front, body := small(f)
	f.Add(front, body)
	f.Fuzz(func(t *testing.T, front, body []byte) {
		if u, err := Inspect(bytes.NewReader(front)); err == nil {
			decodeAll(t, u, body)
		}
	})
}

// FuzzHead reads heads without the hashes in front of them, which a fuzzer
// cannot make.
func FuzzHead(f *testing.F) {
	front, body := small(f)
	u, err := Inspect(bytes.NewReader(front))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(u.Head.encode(nil), body)
	f.Fuzz(func(t *testing.T, b, body []byte) {
		h, err := parseHead(b, int64(len(body)))
		if err != nil {
			return
		}
		decodeAll(t, &Update{Head: *h}, body)
	})
}

// FuzzDifference makes contents of foreign differences, with a base, without
// one, and as listings.
func FuzzDifference(f *testing.F) {
	f.Add([]byte{1, 0, 1, 2, 3, 4, 5, 6, 7}, []byte("old content"), uint16(20), true)
	f.Add([]byte{20, 1, 0, 1, 2, 3, 4, 5, 6, 7}, []byte("old content"), uint16(20), false)
	f.Fuzz(func(t *testing.T, b, old []byte, size uint16, plain bool) {
		s := Stream{Form: Bytes, Method: Difference, Coding: Plain, Count: 2, Raw: int64(size), Stored: int64(len(b))}
		kind := Object
		if !plain {
			s.Form, kind = Listing, Image
		}
		u := &Update{Head: Head{Entries: []Entry{
			{Kind: kind, Digest: digest.Of([]byte{1}), Base: digest.Of(old), Size: int64(size) / 2},
			{Kind: kind, Digest: digest.Of([]byte{2}), Size: int64(size) - int64(size)/2}}}}
		if err := u.checkStream(s); err != nil {
			t.Fatal(err)
		}
		made := int64(0)
		err := u.Decode(s, bytes.NewReader(b), func(Entry, Form) (io.ReaderAt, int64, error) {
			return bytes.NewReader(old), int64(len(old)), nil
		}, func(_ Entry, r io.Reader) error {
			n, err := io.Copy(io.Discard, r)
			made += n
			return err
		})
		if made > int64(size) || err == nil && made != int64(size) {
			t.Errorf("%d bytes came of a difference of %d: %v", made, size, err)
		}
	})
}
