package arith

// Bytes codes bytes, each predicted by several contexts at once. A context is
// any number that coder and decoder both know: a hash of the last bytes, of the
// byte that stands there in the old file. Every context keeps its own adaptive
// probability of each next bit; a small network that learns which contexts to
// believe mixes them.
type Bytes struct {
	tables  [][]uint32 // slot: probability of 1 (16 bits), count (8), check (8)
	mask    uint32
	weights []int32 // sets × (inputs+bias), 16 fractional bits
	inputs  int
	refine  []uint16           // what the mixture said and what came, by set
	faith   [Trusts * 8]uint16 // that a match is right, by trust and bit
	stretch []int32            // scratch: the inputs of the bit at hand
	slots   []*uint32
	base    []uint32
	check   []uint32
}

// NewBytes returns a model of the given number of contexts, each with a table
// of 1<<bits slots of 4 bytes, and of sets of mixing weights.
func NewBytes(contexts, bits, sets int) *Bytes {
	m := &Bytes{
		mask: 1<<bits - 1, inputs: contexts + 1,
		tables:  make([][]uint32, contexts),
		weights: make([]int32, sets*(contexts+1)*9),
		refine:  make([]uint16, sets*256*33),
		stretch: make([]int32, contexts+1), slots: make([]*uint32, contexts),
		base: make([]uint32, contexts), check: make([]uint32, contexts),
	}
	for i := range m.faith {
		m.faith[i] = 60000
	}
	for i := range m.tables {
		m.tables[i] = make([]uint32, 1<<bits)
	}
	for i := range m.weights {
		m.weights[i] = (1 << 16) * 3 / 10
	}
	for i := range m.refine {
		m.refine[i] = uint16(squash(int32(i%33-16) * 192))
	}
	return m
}

// Code codes symbol b under the given contexts with one set of weights.
// expected is the byte that a match foretells, or -1; trust (below Trusts) is a
// class of such matches, and how far each class can be trusted is learned.
func (m *Bytes) Code(c *Coder, b byte, contexts []uint32, set int, expected, trust int) byte {
	m.seek(contexts, 0)
	node := 1
	for i := 7; i >= 0; i-- {
		if i == 3 {
			m.seek(contexts, uint32(node))
		}
		local := uint32(node)
		if i <= 3 {
			local = uint32(node)&(1<<(3-i)-1) | 1<<(3-i)
		}
		if expected < 0 || (expected|256)>>(i+1) != node {
			node = node<<1 | m.bit(c, int(b>>i)&1, local, set, 8, node, 0)
			continue
		}
		faith := &m.faith[trust*8+i]
		said, want := stretched[*faith>>4], expected>>i&1
		if want == 0 {
			said = -said
		}
		bit := m.bit(c, int(b>>i)&1, local, set, i, node, said)
		if bit == want {
			*faith += (65535 - *faith) >> 6
		} else {
			*faith -= *faith >> 6
		}
		node = node<<1 | bit
	}
	return byte(node)
}

// seek finds the line of each context for the coming four bits.
func (m *Bytes) seek(contexts []uint32, half uint32) {
	for i, x := range contexts {
		h := (x + half*0x9e3779b1 + uint32(i)*0x85ebca6b) * 0x2c1b3c6d
		h ^= h >> 15
		h *= 0x297a2d39
		h ^= h >> 16
		m.base[i] = h << 4 & m.mask
		m.check[i] = h >> 24
	}
}

func (m *Bytes) bit(c *Coder, bit int, local uint32, set, hit, node int, said int32) int {
	for i := range m.tables {
		slot := &m.tables[i][m.base[i]+local]
		if *slot>>24 != m.check[i] {
			*slot = m.check[i]<<24 | 1<<15
		}
		m.slots[i] = slot
		n := min(*slot>>16&0xff, 31)
		m.stretch[i] = stretched[*slot&0xffff>>4] * confidence[n] >> 8
	}
	m.stretch[m.inputs-1] = said
	w := m.weights[(set*9+hit)*m.inputs:][:m.inputs]
	sum := int64(0)
	for i, s := range m.stretch {
		sum += int64(w[i]) * int64(s)
	}
	d := int32(min(max(sum>>16, -3071), 3071))
	p := squash(d)
	// Refinement: between the two nearest of 33 points.
	at := (set*256+node)*33 + int(d+3072)/192
	frac := int32(d+3072) % 192
	lo, hi := &m.refine[at], &m.refine[at+1]
	r := (int32(*lo)*(192-frac) + int32(*hi)*frac) / 192
	q := min(max((p+r)/2, 1), 65535)

	bit = c.Bit(bit, uint32(q))

	want := int32(0)
	if bit != 0 {
		want = 65535
	}
	miss := int64(want - p)
	for i, s := range m.stretch {
		w[i] += int32((int64(s)*miss*mixRate + 1<<19) >> 20)
	}
	near := lo
	if frac > 96 {
		near = hi
	}
	*near += uint16((want - int32(*near)) / 64)
	for i := range m.tables {
		v := *m.slots[i]
		n := v >> 16 & 0xff
		p := int32(v & 0xffff)
		p += (want - p) * adapt[n] >> 15
		if n < slotLimit {
			n++
		}
		*m.slots[i] = v&0xff000000 | n<<16 | uint32(p)
	}
	return bit
}

// Trusts is how many classes of matches are told apart.
const Trusts = 64

// slotLimit bounds how slowly a slot adapts.
const slotLimit = 127

// mixRate is how fast the weights learn.
const mixRate = 6

var (
	stretched  = makeStretch()
	adapt      = makeAdapt()
	confidence = makeConfidence()
)

// squashed holds 65536/(1+e^-x) at x = -12, -11.5 … 12.
var squashed = [49]int32{
	1, 1, 1, 2, 3, 5, 8, 13, 22, 36, 60, 98,
	162, 267, 439, 720, 1179, 1921, 3108, 4971, 7812, 11955, 17625, 24743,
	32768, 40793, 47911, 53581, 57724, 60565, 62428, 63615, 64357, 64816, 65097, 65269,
	65374, 65438, 65476, 65500, 65514, 65523, 65528, 65531, 65533, 65534, 65535, 65535,
	65535,
}

// squash maps d/256 through the logistic function: -3072..3072 to 1..65535.
func squash(d int32) int32 {
	d += 3072
	i, f := d>>7, d&127
	if i >= 48 {
		return squashed[48]
	}
	return (squashed[i]*(128-f) + squashed[i+1]*f) >> 7
}

// makeStretch inverts squash at 4096 points.
func makeStretch() (t [4096]int32) {
	d := int32(-3071)
	for i := range t {
		for d < 3071 && squash(d) < int32(i)<<4+8 {
			d++
		}
		t[i] = d
	}
	return t
}

func makeAdapt() (t [256]int32) {
	for n := range t {
		t[n] = 32768 * 2 / (2*int32(n) + 3)
	}
	return t
}

// makeConfidence says how much of a probability counts that has been learned
// from n decisions, of 256.
func makeConfidence() (t [32]int32) {
	for n := range t {
		t[n] = 256 * int32(n) * 4 / (int32(n)*4 + 3)
	}
	return t
}
