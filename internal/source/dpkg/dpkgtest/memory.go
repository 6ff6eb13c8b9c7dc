// Package dpkgtest serves the tests of package dpkg and of its subpackages: a
// store in memory, real archives of Debian trixie, and archives made up to be bad.
package dpkgtest

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"github.com/instar-os/instar/internal/digest"
)

// Memory is a store in memory. The zero value is empty; it may be used by
// several goroutines.
type Memory struct {
	mu sync.Mutex
	m  map[digest.Digest][]byte
}

// Put keeps what r yields.
func (s *Memory) Put(r io.Reader) (digest.Digest, int64, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return digest.Digest{}, int64(len(b)), err
	}
	d, err := s.PutBytes(b)
	return d, int64(len(b)), err
}

// PutBytes keeps a copy of b.
func (s *Memory) PutBytes(b []byte) (digest.Digest, error) {
	d := digest.Of(b)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m == nil {
		s.m = map[digest.Digest][]byte{}
	}
	if _, ok := s.m[d]; !ok {
		s.m[d] = bytes.Clone(b)
	}
	return d, nil
}

// Bytes returns the content named d, of at most limit bytes.
func (s *Memory) Bytes(d digest.Digest, limit int64) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.m[d]
	if !ok || int64(len(b)) > limit {
		return nil, fmt.Errorf("object %s: there is none of at most %d bytes", d.Short(), limit)
	}
	return b, nil
}

// Has reports whether the content named d is there.
func (s *Memory) Has(d digest.Digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.m[d]
	return ok
}

// Drop forgets all contents.
func (s *Memory) Drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.m = nil
}
