package nix

import (
	"slices"

	"github.com/instar-os/instar/internal/source/nix/narinfo"
)

// A scanner finds the store paths whose hashes stand in what is written to it.
// A hash may begin in one write and end in another.
type scanner struct {
	want  map[string]narinfo.Name // by hash
	found map[narinfo.Name]bool
	tail  []byte // the last bytes written, fewer than a hash has
}

func newScanner(names []narinfo.Name) *scanner {
	s := &scanner{want: make(map[string]narinfo.Name, len(names)), found: map[narinfo.Name]bool{}, tail: make([]byte, 0, 2*narinfo.HashLen)}
	for _, n := range names {
		s.want[n.Hash()] = n
	}
	return s
}

// Write looks at p; it never fails.
func (s *scanner) Write(p []byte) (int, error) {
	const keep = narinfo.HashLen - 1
	n := len(p)
	if len(s.tail) > 0 {
		s.tail = append(s.tail, p[:min(keep, n)]...)
		s.look(s.tail)
	}
	if n >= keep {
		s.look(p)
		s.tail = append(s.tail[:0], p[n-keep:]...)
		return n, nil
	}
	if len(s.tail) == 0 {
		s.tail = append(s.tail, p...)
	}
	s.tail = append(s.tail[:0], s.tail[max(0, len(s.tail)-keep):]...)
	return n, nil
}

// base32 tells which bytes can be in a hash.
var base32 = func() (t [256]bool) {
	for i := range t {
		t[i] = narinfo.IsBase32(byte(i))
	}
	return t
}()

// look reads each stretch from its end, so that most bytes are never read: one
// that is in no hash moves the look behind it.
func (s *scanner) look(p []byte) {
	for i := 0; i+narinfo.HashLen <= len(p); {
		j := narinfo.HashLen - 1
		for j >= 0 && base32[p[i+j]] {
			j--
		}
		if j >= 0 {
			i += j + 1
			continue
		}
		if n, ok := s.want[string(p[i:i+narinfo.HashLen])]; ok {
			s.found[n] = true
		}
		i++
	}
}

// names returns what was found, sorted.
func (s *scanner) names() []narinfo.Name {
	out := make([]narinfo.Name, 0, len(s.found))
	for n := range s.found {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}
