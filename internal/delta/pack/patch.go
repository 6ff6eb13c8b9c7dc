package pack

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"path"

	"github.com/instar-os/instar/internal/delta"
)

// resembling finds the content of the bases that is most likely an earlier
// version: of the same path, else of the same name, nearest in size.
func (n *needed) resembling(c *content) (content, bool) {
	var best content
	score := 0
	for _, b := range n.bases {
		s := c.resembles(b)
		if s == 0 || s < score {
			continue
		}
		if s > score || cmp.Or(cmp.Compare(distance(b, c), distance(best, c)), cmp.Compare(b.path, best.path), bytes.Compare(b.Digest[:], best.Digest[:])) < 0 {
			best, score = b, s
		}
	}
	return best, score > 0
}

// resembles says how much: 0 is not at all.
func (c *content) resembles(b content) int {
	switch {
	case b.Kind != c.Kind:
		return 0
	case b.path == c.path:
		return 3
	case path.Base(b.path) == path.Base(c.path):
		return 2
	case c.Kind == delta.Object:
		return 0
	}
	return 1
}

func distance(a content, to *content) int64 { return max(a.Size-to.Size, to.Size-a.Size) }

// seed is how many bytes must be equal to begin a copy.
const seed = 16

// makePatch writes target as copies from old and insertions (delta.Patch). The
// longest of a few candidates wins; what is copied grows in both directions.
func makePatch(old, target []byte, exact bool) []byte {
	index := make(map[uint64]int32, len(old)/4)
	for at := 0; at+seed <= len(old); at += 4 {
		h := hash(old[at:])
		if _, ok := index[h]; !ok {
			index[h] = int32(at)
		}
	}
	var out []byte
	last, done := 0, 0 // end of the copy before, in old; bytes of target that are written
	for at := 0; at < len(target); {
		from, n := longest(old, target, at, last+at-done, index)
		if n < seed {
			at++
			continue
		}
		for at > done && from > 0 && target[at-1] == old[from-1] {
			at, from, n = at-1, from-1, n+1
		}
		out = binary.AppendUvarint(out, uint64(at-done))
		out = append(out, target[done:at]...)
		out = binary.AppendUvarint(out, uint64(n))
		out = binary.AppendVarint(out, int64(from-last))
		at += n
		last, done = from+n, at
	}
	if done < len(target) {
		out = binary.AppendUvarint(out, uint64(len(target)-done))
		out = append(out, target[done:]...)
		if !exact {
			out = append(out, 0)
		}
	}
	if !exact {
		out = append(out, 0, 0)
	}
	return out
}

// longest finds what of old equals target at a place: behind the copy before,
// or where the index says.
func longest(old, target []byte, at, next int, index map[uint64]int32) (from, n int) {
	if next >= 0 && next < len(old) {
		from, n = next, common(old[next:], target[at:])
	}
	if at+seed <= len(target) {
		if i, ok := index[hash(target[at:])]; ok {
			if k := common(old[i:], target[at:]); k > n {
				from, n = int(i), k
			}
		}
	}
	return from, n
}

func common(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// hash mixes the first 16 bytes of b.
func hash(b []byte) uint64 {
	x, y := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
	x = (x ^ x>>29) * 0xbf58476d1ce4e5b9
	y = (y ^ y>>32) * 0x94d049bb133111eb
	return x ^ y<<1 ^ y>>63
}
