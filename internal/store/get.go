package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/instar-os/instar/internal/digest"
)

// Has reports whether the object is in the store or was put and not committed.
func (s *Store) Has(d digest.Digest) bool {
	_, ok := s.Size(d)
	return ok
}

// Size returns the length of an object in bytes, and whether it is there.
func (s *Store) Size(d digest.Digest) (int64, bool) {
	s.mu.Lock()
	size, ok := s.known[d]
	s.mu.Unlock()
	if ok {
		return size, true
	}
	info, err := os.Lstat(s.find(d))
	if err != nil || !info.Mode().IsRegular() {
		return 0, false
	}
	s.learn(d, info.Size())
	return info.Size(), true
}

// has is Has for one who knows how long the object must be: a file of another
// length is damaged, and does not count.
func (s *Store) has(d digest.Digest, size int64) bool {
	n, ok := s.Size(d)
	return ok && n == size
}

// find returns where an object is to be read.
func (s *Store) find(d digest.Digest) string {
	if p, ok := s.staging.path(d.String()); ok {
		return p
	}
	return s.ObjectPath(d)
}

// Open opens an object without verifying it. The caller closes the file.
func (s *Store) Open(d digest.Digest) (*os.File, error) {
	for range 2 {
		// An object that is committed between find and open has moved.
		f, err := os.Open(s.find(d))
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("opening object %s: %w", d.Short(), err)
		}
	}
	return nil, fmt.Errorf("object %s: %w", d, ErrMissing)
}

// Bytes returns the content of an object of at most limit bytes, verified.
func (s *Store) Bytes(d digest.Digest, limit int64) ([]byte, error) {
	f, err := s.Open(d)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := readVerified(f, d, limit)
	if err != nil {
		return nil, fmt.Errorf("object %s: %w", d.Short(), err)
	}
	return b, nil
}

// Verified opens an object for reading once. A content that does not match the
// digest gives a *DamageError instead of io.EOF, so the reader must not use
// what it got before it saw the end. The caller closes it.
func (s *Store) Verified(d digest.Digest) (io.ReadCloser, error) {
	f, err := s.Open(d)
	if err != nil {
		return nil, err
	}
	return &verified{f: f, h: digest.New(), want: d}, nil
}

// DamageError says that a content is not what its name says.
type DamageError struct {
	Path      string
	Want, Got digest.Digest
}

// Error names the file and both digests.
func (e *DamageError) Error() string {
	return fmt.Sprintf("%s is damaged: its content has digest %s, want %s", e.Path, e.Got, e.Want)
}

type verified struct {
	f    *os.File
	h    *digest.Hasher
	want digest.Digest
	end  error
}

func (v *verified) Read(p []byte) (int, error) {
	if v.end != nil {
		return 0, v.end
	}
	n, err := v.f.Read(p)
	v.h.Write(p[:n])
	if errors.Is(err, io.EOF) {
		if got := v.h.Sum(); got != v.want {
			err = &DamageError{v.f.Name(), v.want, got}
		}
		v.end = err
	}
	return n, err
}

func (v *verified) Close() error { return v.f.Close() }

// readVerified reads f to its end and compares the digest.
func readVerified(f *os.File, d digest.Digest, limit int64) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", f.Name())
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%s has %d bytes, more than %d", f.Name(), info.Size(), limit)
	}
	b := make([]byte, info.Size())
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, fmt.Errorf("reading %s: %w", f.Name(), err)
	}
	if got := digest.Of(b); got != d {
		return nil, &DamageError{f.Name(), d, got}
	}
	return b, nil
}

// OpenVerified is Verified for a file at a path: an image or a system.
func OpenVerified(path string, d digest.Digest) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return &verified{f: f, h: digest.New(), want: d}, nil
}
