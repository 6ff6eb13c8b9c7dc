package bindiff

import (
	"bytes"

	"github.com/instar-os/instar/internal/bindiff/field"
	"github.com/instar-os/instar/internal/bindiff/suffix"
)

// plan is how a file is to be made.
type plan struct {
	class Class
	raw   bool
	spans []span

	// Of files with fields.
	layout   *field.Layout   // of the old file
	sections []field.Section // of the new one
	pair     []int32
}

// sure is a match so long that no better one is looked for.
const sure = 32

// match finds spans of text that resemble old. Where two alignments compete the
// new one must have at least eight right bytes more, as in C. Percival, "Naive
// differences of executable code" (2003).
func match(old *suffix.Array, oldText, text []byte) []span {
	m := matcher{index: old, old: oldText, text: text}
	pos := 0
	for pos < len(text) {
		if m.n > 0 { // follow the present alignment
			if l := m.common(pos, pos+m.shift, 1<<30); l >= sure || l > 0 && pos+l == len(text) {
				pos += l
				continue
			}
		}
		from, l := old.Longest(text[pos:], pos+m.shift)
		if l > m.score(pos, l)+8 {
			m.turn(pos, from)
			pos += l
			continue
		}
		pos += max(1, min(l/4, 16))
		if l >= sure { // the alignment explains nearly all of it
			pos += l / 2
		}
	}
	m.turn(len(text), 0)
	return m.spans
}

// matcher holds the alignment at hand: text[start:] with old[start+shift:].
type matcher struct {
	index     *suffix.Array
	old, text []byte
	start     int // where the alignment was sure first
	shift     int
	n         int // 0: no alignment yet
	end       int // what the span before covers
	spans     []span
}

func (m *matcher) common(pos, from, limit int) int {
	if from < 0 || from >= len(m.old) {
		return 0
	}
	a, b := m.text[pos:], m.old[from:]
	n := min(len(a), len(b), limit)
	i := 0
	for i+32 <= n && bytes.Equal(a[i:i+32], b[i:i+32]) {
		i += 32
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}

// score counts the bytes of text[pos:pos+n] that the present alignment gets
// right, of long matches only those of the beginning.
func (m *matcher) score(pos, n int) int {
	if m.n == 0 {
		return 0
	}
	right := 0
	look := min(n, 1024)
	for i := range look {
		if f := pos + i + m.shift; f >= 0 && f < len(m.old) && m.old[f] == m.text[pos+i] {
			right++
		}
	}
	return right * n / max(look, 1)
}

// turn ends the present alignment somewhere before pos and begins the one that
// takes text[pos] from old[from].
func (m *matcher) turn(pos, from int) {
	fore := 0 // how far the present alignment goes on
	if m.n > 0 {
		fore = m.start + best(pos-m.start, func(i int) bool {
			f := m.start + i + m.shift
			return f < len(m.old) && m.old[f] == m.text[m.start+i]
		}, len(m.old)-m.start-m.shift)
	}
	back := pos // how far back the next one reaches
	if pos < len(m.text) {
		floor := m.end
		if m.n > 0 {
			floor = m.start
		}
		back = pos - best(pos-floor, func(i int) bool {
			return m.old[from-1-i] == m.text[pos-1-i]
		}, from)
	}
	if m.n > 0 && fore > back { // both claim the bytes between: cut where most are right
		score, most, cut := 0, 0, back
		for i := back; i < fore; i++ {
			if m.old[i+m.shift] == m.text[i] {
				score++
			}
			if m.old[i-pos+from] == m.text[i] {
				score--
			}
			if score > most {
				most, cut = score, i+1
			}
		}
		fore, back = cut, cut
	}
	if m.n > 0 && fore-m.end >= minSpan {
		begin := max(m.n-1, m.end)
		if fore-begin >= minSpan {
			m.spans = append(m.spans, span{int32(begin), int32(begin + m.shift), int32(fore - begin)})
			m.end = fore
		}
	}
	m.start, m.shift = pos, from-pos
	m.n = back + 1 // the alignment begins at back
	if pos >= len(m.text) {
		m.n = 0
	}
}

// best returns the length up to limit for which twice the right bytes less all
// is largest.
func best(limit int, right func(int) bool, room int) int {
	score, most, n := 0, 0, 0
	for i := range min(limit, room) {
		if right(i) {
			score++
		}
		if v := 2*score - (i + 1); v > most {
			most, n = v, i+1
		}
		if score*2 < i-4096 { // hopeless
			break
		}
	}
	return n
}
