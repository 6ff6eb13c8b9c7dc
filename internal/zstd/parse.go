package zstd

import "math/bits"

// sequence is literals, then a match: its length, and the value that says how
// far back.
type sequence struct{ literals, match, value uint32 }

// node is the cheapest way found to a place of a block.
type node struct {
	price    uint32 // in units of 1/unit bits
	match    uint32 // length of the match that ends here; 0: a literal does
	value    uint32
	literals uint32 // that end here
	reps     [3]uint32
}

const (
	unit    = 32 // of prices: parts of a bit
	never   = 1 << 31
	longest = 128 // a match from which on it is taken without looking further
)

// prices are what symbols cost, by how often they stood in the blocks before.
type prices struct {
	literalCount [256]uint32
	lengthCount  [maxLiteralCode + 1]uint32
	matchCount   [maxMatchCode + 1]uint32
	offsetCount  [maxOffsetCode + 1]uint32

	literal [256]uint32
	length  [maxLiteralCode + 1]uint32 // with extra bits
	match   [maxMatchCode + 1]uint32
	offset  [maxOffsetCode + 1]uint32
}

// newPrices begins with guesses.
func newPrices() *prices {
	p := &prices{}
	for i := range p.literalCount {
		p.literalCount[i] = 2
	}
	for i := range p.lengthCount {
		p.lengthCount[i] = uint32(max(1, 40>>min(i, 8)))
	}
	for i := range p.matchCount {
		p.matchCount[i] = uint32(max(1, 40>>min(i/2, 8)))
	}
	for i := range p.offsetCount {
		p.offsetCount[i] = 4
	}
	p.update()
	return p
}

// update computes prices out of counts, and halves these.
func (p *prices) update() {
	cost(p.literal[:], p.literalCount[:], nil)
	cost(p.length[:], p.lengthCount[:], literalCodes)
	cost(p.match[:], p.matchCount[:], matchCodes)
	cost(p.offset[:], p.offsetCount[:], nil)
	for i := range p.offset {
		p.offset[i] += uint32(i) * unit
	}
}

func cost(price, counts []uint32, extra []code) {
	total := uint32(0)
	for _, n := range counts {
		total += n + 1
	}
	all := log2(total)
	for i, n := range counts {
		price[i] = max(1, all-log2(n+1))
		if extra != nil {
			price[i] += uint32(extra[i].bits) * unit
		}
		counts[i] = n / 4
	}
}

// log2 in units, without floating point: the fraction between powers of two is
// interpolated.
func log2(n uint32) uint32 {
	high := bits.Len32(n) - 1
	return uint32(high)*unit + uint32((uint64(n)<<5>>high)&31)
}

// count adds what a block has.
func (p *prices) count(b *block) {
	for _, c := range b.literals {
		p.literalCount[c]++
	}
	for _, s := range b.sequences {
		p.lengthCount[literalCode(s.literals)]++
		p.matchCount[matchCode(s.match)]++
		p.offsetCount[bits.Len32(s.value)-1]++
	}
}

// parser chooses between literals and matches.
type parser struct {
	f     *finder
	p     *prices
	nodes []node
	reps  [3]uint32
}

// block is what is said of so many bytes.
type block struct {
	src       []byte
	literals  []byte
	sequences []sequence
}

// parse finds the cheapest way through src[at:end].
func (p *parser) parse(at, end int, b *block) {
	n := end - at
	p.nodes = p.nodes[:n+1]
	for i := range p.nodes {
		p.nodes[i].price = never
	}
	p.nodes[0] = node{price: p.p.length[0], reps: p.reps}
	for i := 0; i < n; {
		i = p.step(at, i, end)
	}
	p.walk(at, n, b)
	p.reps = p.nodes[n].reps
}

// step extends the way to place i, and returns the next one to be extended.
func (p *parser) step(at, i, end int) int {
	d := p.nodes[i]
	src := p.f.src
	pos := at + i
	lit := d.price + p.p.literal[src[pos]] + p.p.length[literalCode(d.literals+1)] - p.p.length[literalCode(d.literals)]
	if next := &p.nodes[i+1]; lit < next.price {
		*next = node{price: lit, literals: d.literals + 1, reps: d.reps}
	}
	most, value := p.repeats(&d, i, pos, end)
	matches := p.f.find(pos, end)
	from := uint32(minMatch)
	for _, m := range matches {
		v := uint32(m.offset) + 3
		p.reach(&d, i, from, uint32(m.n), v)
		from = uint32(m.n) + 1
		if m.n > most {
			most, value = m.n, v
		}
	}
	if most < longest {
		return i + 1
	}
	// It is taken: what lies within is not looked at, only remembered.
	p.reach(&d, i, uint32(most), uint32(most), value)
	for k := 1; k < most; k++ {
		if k < 16 || k >= most-32 || k&7 == 0 {
			p.f.insert(pos + k)
		}
	}
	return i + most
}

// repeats tries the distances of matches before.
func (p *parser) repeats(d *node, i, pos, end int) (most int, value uint32) {
	src := p.f.src
	for k := range uint32(3) {
		reps := d.reps
		offset := int(distance(&reps, k+1, d.literals == 0))
		if offset <= 0 || offset > pos || pos+minMatch > end || src[pos-offset] != src[pos] || src[pos-offset+1] != src[pos+1] || src[pos-offset+2] != src[pos+2] {
			continue
		}
		n := common(src, pos-offset, pos, end)
		p.reach(d, i, minMatch, uint32(n), k+1)
		if n > most {
			most, value = n, k+1
		}
	}
	return most, value
}

// reach tries matches of the lengths from to most out of a place.
func (p *parser) reach(d *node, i int, from, most, value uint32) {
	base := d.price + p.p.offset[bits.Len32(value)-1] + p.p.length[0]
	if most-from > longest {
		from = most - 8
	}
	for n := from; n <= most; n++ {
		price := base + p.p.match[matchCode(n)]
		if to := &p.nodes[i+int(n)]; price < to.price {
			reps := d.reps
			distance(&reps, value, d.literals == 0)
			*to = node{price: price, match: n, value: value, reps: reps}
		}
	}
}

// walk writes down the cheapest way, from its end.
func (p *parser) walk(at, n int, b *block) {
	b.src = p.f.src[at : at+n]
	b.sequences = b.sequences[:0]
	for i := n; i > 0; {
		d := &p.nodes[i]
		if d.match == 0 {
			i--
			continue
		}
		i -= int(d.match)
		b.sequences = append(b.sequences, sequence{p.nodes[i].literals, d.match, d.value})
	}
	for i, j := 0, len(b.sequences)-1; i < j; i, j = i+1, j-1 {
		b.sequences[i], b.sequences[j] = b.sequences[j], b.sequences[i]
	}
	b.literals = b.literals[:0]
	i := 0
	for _, s := range b.sequences {
		b.literals = append(b.literals, b.src[i:i+int(s.literals)]...)
		i += int(s.literals + s.match)
	}
	b.literals = append(b.literals, b.src[i:]...)
}
