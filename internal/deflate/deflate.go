// Package deflate writes gzip files (RFC 1951, RFC 1952) whose bytes are part of
// instar's formats: a device makes an initrd again and must come to the bytes
// that the build host made, whatever Go either was built with. Nothing here may
// change what is written; TestGolden holds it. Any inflater reads it.
package deflate

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"
)

// What matches may be (RFC 1951, 3.2.5), and how long they are looked for.
const (
	minMatch  = 3
	maxMatch  = 258
	window    = 1 << 15
	hashBits  = 15
	maxChain  = 256      // earlier places that are compared
	good      = maxMatch // a match that long is taken without a look at the next place
	maxTokens = 1 << 15  // of a block
)

// head of a gzip file without name and time, made by no system in particular.
var head = [10]byte{0x1f, 0x8b, 8, 9: 255}

// Gzip appends the gzip file of a content to dst. It holds about 400 KiB beside
// both.
func Gzip(dst, content []byte) []byte {
	w := &writer{out: append(dst, head[:]...)}
	(&matcher{src: content}).run(w)
	dst = binary.LittleEndian.AppendUint32(w.end(), crc32.ChecksumIEEE(content))
	return binary.LittleEndian.AppendUint32(dst, uint32(len(content)))
}

// A token is a literal, or a match: its length, and its distance less one.
type token uint32

const isMatch = 1 << 31

func match(length, distance int) token { return token(isMatch | length<<16 | distance - 1) }

func (t token) parts() (length, distance int) { return int(t >> 16 & 0x1ff), int(t&0xffff) + 1 }

// matcher finds repetitions through chains of places with equal hashes.
type matcher struct {
	src    []byte
	heads  [1 << hashBits]int32 // the last place of a hash, plus one
	prev   [window]int32        // the place before one of the same hash, plus one
	tokens []token
	begin  int // of the block in src
}

func (m *matcher) hash(i int) uint32 {
	b := m.src[i:]
	return (uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16) * 0x9e3779b1 >> (32 - hashBits)
}

// insert notes place i and returns the last one before it with its hash, plus one.
func (m *matcher) insert(i int) int32 {
	if i+minMatch > len(m.src) {
		return 0
	}
	h := m.hash(i)
	last := m.heads[h]
	m.prev[i%window] = last
	m.heads[h] = int32(i + 1)
	return last
}

// longest returns the longest match of place i among the chain from a place on,
// if it is longer than least; 0 for none.
func (m *matcher) longest(i int, from int32, least int) (length, distance int) {
	most := min(len(m.src)-i, maxMatch)
	for n := 0; from > 0 && n < maxChain && least < most; n++ {
		at := int(from) - 1
		if i-at > window {
			break
		}
		if m.src[at+least] == m.src[i+least] {
			if l := same(m.src[at:], m.src[i:i+most]); l > least && l >= minMatch {
				least, length, distance = l, l, i-at
			}
		}
		next := m.prev[at%window]
		if next >= from {
			break // overwritten by a later place
		}
		from = next
	}
	return length, distance
}

// same returns how many bytes a and b, which is not longer, have in common.
func same(a, b []byte) int {
	n := 0
	for len(b)-n >= 8 {
		if x := binary.LittleEndian.Uint64(a[n:]) ^ binary.LittleEndian.Uint64(b[n:]); x != 0 {
			return n + bits.TrailingZeros64(x)/8
		}
		n += 8
	}
	for n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// run writes all blocks. A match waits for the next place: when that has a longer
// one, its first byte is a literal.
func (m *matcher) run(w *writer) {
	m.tokens = make([]token, 0, maxTokens)
	length, distance := 0, 0 // the match of the place before, which waits
	waits := false
	for i := 0; i < len(m.src); {
		last := m.insert(i)
		l, d := 0, 0
		if length < good {
			l, d = m.longest(i, last, length)
		}
		switch {
		case length >= minMatch && l <= length:
			m.add(w, match(length, distance), i-1+length)
			for k := i + 1; k < i-1+length; k++ {
				m.insert(k)
			}
			i += length - 1
			length, waits = 0, false
			continue
		case waits:
			m.add(w, token(m.src[i-1]), i)
		}
		length, distance, waits = l, d, true
		i++
	}
	if waits {
		m.add(w, token(m.src[len(m.src)-1]), len(m.src))
	}
	m.block(w, len(m.src), true)
}

// add adds a token that reaches to a place; a full block is written.
func (m *matcher) add(w *writer, t token, to int) {
	if m.tokens = append(m.tokens, t); len(m.tokens) == maxTokens && to < len(m.src) {
		m.block(w, to, false)
	}
}

func (m *matcher) block(w *writer, to int, final bool) {
	w.block(m.tokens, m.src[m.begin:to], final)
	m.tokens, m.begin = m.tokens[:0], to
}
