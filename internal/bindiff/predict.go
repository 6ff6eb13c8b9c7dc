package bindiff

import (
	"cmp"
	"slices"
	"sort"

	"github.com/instar-os/instar/internal/bindiff/arith"
	"github.com/instar-os/instar/internal/bindiff/field"
)

// moved says that old addresses from..from+n are to..to+n in the new file.
type moved struct{ from, to, n uint64 }

// source is how a target was foretold.
type source uint8

const (
	fromPair    source = iota // seen before in this file
	fromSpan                  // inside a span
	fromBlock                 // beside one seen before
	fromNearest               // beside a span
	sources
)

// predictor foretells the targets of fields of one file.
type predictor struct {
	old, new *field.Layout
	pair     []int32 // of each section of old: the one of new, or -1
	moves    []moved
	pairs    pairs
	blocks   pairs // by blocks of 256 addresses
}

// pairs remembers for old targets by how much they have moved: a table of fixed
// size in which newer pairs push out older ones.
type pairs struct {
	check []uint32 // of the target, never 0
	shift []uint64
	bits  int
}

func newPairs(n int) pairs {
	bits := 4
	for 1<<bits < n && bits < maxPairs {
		bits++
	}
	return pairs{make([]uint32, 1<<bits), make([]uint64, 1<<bits), bits}
}

// maxPairs is the logarithm of the most pairs that are kept: 12 bytes each.
const maxPairs = 19

// slot returns where a target has its place, and the mark that tells it from
// most others that have the same.
func (p *pairs) slot(t uint64) (int, uint32) {
	h := t * 0x9e3779b97f4a7c15
	return int(h >> (64 - p.bits)), uint32(h>>(32-p.bits)) | 1
}

func (p *pairs) find(t uint64) (uint64, bool) {
	i, check := p.slot(t)
	return p.shift[i], p.check[i] == check
}

func (p *pairs) add(t, shift uint64) {
	i, check := p.slot(t)
	p.check[i], p.shift[i] = check, shift
}

func newPredictor(old, new *field.Layout, pair []int32, spans []span) *predictor {
	n := old.Count()
	p := &predictor{old: old, new: new, pair: pair, pairs: newPairs(n), blocks: newPairs(n / 4)}
	if len(old.Sections) > 0 && len(new.Sections) > 0 {
		for _, s := range spans {
			p.addSpan(s)
		}
	}
	for i := range old.Sections {
		if s := &old.Sections[i]; s.Empty && pair[i] >= 0 && s.Addr != 0 {
			p.moves = append(p.moves, moved{s.Addr, new.Sections[pair[i]].Addr, max(s.Size, 1)})
		}
	}
	slices.SortStableFunc(p.moves, func(a, b moved) int { return cmp.Compare(a.from, b.from) })
	p.moves = disjoint(p.moves)
	return p
}

// addSpan splits a span where sections of either file begin and end.
func (p *predictor) addSpan(s span) {
	a, b := -1, -1
	for i := uint64(0); i < uint64(s.n); {
		var from, to uint64
		from, a = p.old.AddressOf(uint64(s.from)+i, a)
		to, b = p.new.AddressOf(uint64(s.at)+i, b)
		if a < 0 || b < 0 {
			i += 4
			continue
		}
		x, y := &p.old.Sections[a], &p.new.Sections[b]
		n := min(uint64(s.n)-i, x.Off+x.Size-uint64(s.from)-i, y.Off+y.Size-uint64(s.at)-i)
		p.moves = append(p.moves, moved{from, to, n})
		i += n
	}
}

// disjoint cuts moves, which are in order, where they overlap: the longer wins.
func disjoint(m []moved) []moved {
	out := m[:0]
	for _, x := range m {
		for len(out) > 0 && x.n > 0 {
			last := &out[len(out)-1]
			over := last.from + last.n - x.from
			if last.from+last.n <= x.from {
				break
			}
			if last.n >= x.n {
				over = min(over, x.n)
				x = moved{x.from + over, x.to + over, x.n - over}
				break
			}
			last.n = x.from - last.from
			if last.n > 0 {
				break
			}
			out = out[:len(out)-1]
		}
		if x.n > 0 {
			out = append(out, x)
		}
	}
	return out
}

// target foretells where t is in the new file.
func (p *predictor) target(t uint64) (uint64, source) {
	if d, ok := p.pairs.find(t); ok {
		return t + d, fromPair
	}
	return p.span(t)
}

// span foretells by what stands at t or near it.
func (p *predictor) span(t uint64) (uint64, source) {
	i := sort.Search(len(p.moves), func(i int) bool { return p.moves[i].from > t })
	if i > 0 && t-p.moves[i-1].from < p.moves[i-1].n {
		return p.moves[i-1].to + t - p.moves[i-1].from, fromSpan
	}
	if d, ok := p.blocks.find(t >> 8); ok {
		return t + d, fromBlock
	}
	switch {
	case len(p.moves) == 0:
		return t, fromNearest
	case i == 0, i < len(p.moves) && p.moves[i].from-t < t-p.moves[i-1].from-p.moves[i-1].n:
		return p.moves[i].to + t - p.moves[i].from, fromNearest
	}
	return p.moves[i-1].to + t - p.moves[i-1].from, fromNearest
}

// learn remembers that t has become now.
func (p *predictor) learn(t, now uint64) {
	p.pairs.add(t, now-t)
	p.blocks.add(t>>8, now-t)
}

// fieldModels are the models of fields, kept along the stream.
type fieldModels struct {
	hit   [field.Kinds][sources][4]arith.Flag
	again [field.Kinds]arith.Flag
	miss  [field.Kinds]arith.Number
	last  [field.Kinds]uint64 // the difference of the last miss
	tail  [field.Kinds]int    // the last two hits and misses
	known [field.Kinds]tokens

	// Types and strings of a module's own, by Type32 and Name32: those of another
	// module have the same numbers. The shift is that of the kernel's last number,
	// the same in all modules.
	own   [2]tokens
	shift [2]uint64
	begun [2]bool
}

// forget what is own to a file.
func (m *fieldModels) forget() {
	for i := range m.own {
		clear(m.own[i].exact.check)
		m.own[i].steps, m.begun[i] = m.own[i].steps[:0], false
	}
}

// numbers returns what remembers a number of BTF, and where a module's own begin.
func (k *codec) numbers(kind field.Kind, v uint64) (t *tokens, own int) {
	m := &k.models.fields
	if kind != field.Token64 {
		own = int(kind - field.Type32)
		if first := k.layout.Own[own]; first != 0 && v >= uint64(first) {
			return &m.own[own], own
		}
	}
	return &m.known[kind], -1
}

// tokens remembers numbers that mean the same in all files of a stream: what
// became of them, and of the nearest below.
type tokens struct {
	exact pairs
	steps []moved // in order; n is not used
}

// maxSteps bounds the memory of tokens.
const maxSteps = 1 << 15

func (k *tokens) target(t uint64, shift bool) (uint64, source) {
	if k.exact.bits == 0 {
		k.exact = newPairs(1 << 17)
	}
	if d, ok := k.exact.find(t); ok {
		return t + d, fromPair
	}
	if shift {
		if i := sort.Search(len(k.steps), func(i int) bool { return k.steps[i].from > t }); i > 0 {
			return t + k.steps[i-1].to - k.steps[i-1].from, fromNearest
		}
	}
	return t, fromSpan
}

func (k *tokens) learn(t, now uint64, shift bool) {
	k.exact.add(t, now-t)
	if !shift {
		return
	}
	i := sort.Search(len(k.steps), func(i int) bool { return k.steps[i].from > t })
	switch {
	case i > 0 && k.steps[i-1].to-k.steps[i-1].from == now-t:
	case i > 0 && k.steps[i-1].from == t:
		k.steps[i-1].to = now
	case len(k.steps) < maxSteps:
		k.steps = slices.Insert(k.steps, i, moved{from: t, to: now})
	}
}
