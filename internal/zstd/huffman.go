package zstd

import (
	"cmp"
	"errors"
	"math/bits"
	"slices"
)

// lengths gives each byte that occurs the length of its code, of 11 bits at
// most; 0 to others. Less than two bytes that occur have no code.
func lengths(counts *[256]uint32) (out [256]uint8, used int) {
	type node struct {
		n     uint32
		left  int // -1: a leaf
		right int // of a leaf: its byte
	}
	var leaves []int
	for s, n := range counts {
		if n > 0 {
			leaves = append(leaves, s)
		}
	}
	if len(leaves) < 2 {
		return out, len(leaves)
	}
	slices.SortStableFunc(leaves, func(a, b int) int { return cmp.Compare(counts[a], counts[b]) })
	var tree []node
	for _, s := range leaves {
		tree = append(tree, node{counts[s], -1, s})
	}
	one, two := 0, len(leaves) // the first leaf and the first inner node without a parent
	least := func() int {
		if one < len(leaves) && (two == len(tree) || tree[one].n <= tree[two].n) {
			one++
			return one - 1
		}
		two++
		return two - 1
	}
	for len(tree) < 2*len(leaves)-1 {
		a := least()
		b := least()
		tree = append(tree, node{tree[a].n + tree[b].n, a, b})
	}
	depth := make([]uint8, len(tree))
	for i := len(tree) - 1; i >= len(leaves); i-- {
		depth[tree[i].left], depth[tree[i].right] = depth[i]+1, depth[i]+1
	}
	limit(depth[:len(leaves)])
	for i, s := range leaves {
		out[s] = depth[i]
	}
	return out, len(leaves)
}

// limit shortens codes that are too long, and lengthens others until they are a
// code again. They are sorted, the rarest first.
func limit(depth []uint8) {
	const full = 1 << huffmanMaxBits
	sum := 0
	for i, d := range depth {
		depth[i] = min(d, huffmanMaxBits)
		sum += full >> depth[i]
	}
	for sum > full {
		// The longest code that can be longer costs least.
		best := -1
		for i, d := range depth {
			if d < huffmanMaxBits && (best < 0 || d > depth[best]) {
				best = i
			}
		}
		depth[best]++
		sum -= full >> depth[best]
	}
	for i := len(depth) - 1; i >= 0; i-- { // the most frequent take what is left
		for depth[i] > 1 && sum+full>>depth[i] <= full {
			sum += full >> depth[i]
			depth[i]--
		}
	}
}

// huffman is a code to write with.
type huffman struct {
	bits  [256]uint8
	codes [256]uint16
	table []byte // its description
}

// newHuffman makes a code and its description; ok is false where that cannot be
// written.
func newHuffman(counts *[256]uint32) (h *huffman, ok bool) {
	h = &huffman{}
	var used int
	if h.bits, used = lengths(counts); used < 2 {
		return nil, false
	}
	longest := slices.Max(h.bits[:])
	var per, value [huffmanMaxBits + 2]uint16
	for _, n := range h.bits {
		per[n]++
	}
	at := uint16(0)
	for n := longest; n > 0; n-- {
		value[n] = at
		at = (at + per[n]) >> 1
	}
	last := 0
	var weights [256]uint8
	for s, n := range h.bits {
		if n > 0 {
			h.codes[s] = value[n]
			value[n]++
			weights[s], last = longest+1-n, s
		}
	}
	h.table, ok = describe(weights[:last])
	return h, ok
}

// describe writes weights: compressed, or four bits each.
func describe(weights []uint8) ([]byte, bool) {
	if b := compressWeights(weights); b != nil && len(b) < 128 && len(b) < (len(weights)+1)/2 {
		return append([]byte{byte(len(b))}, b...), true
	}
	if len(weights) > 128 || len(weights) == 0 {
		return nil, false
	}
	b := []byte{byte(127 + len(weights))}
	for i := 0; i < len(weights); i += 2 {
		v := weights[i] << 4
		if i+1 < len(weights) {
			v |= weights[i+1]
		}
		b = append(b, v)
	}
	return b, true
}

func compressWeights(weights []uint8) []byte {
	counts := make([]uint32, huffmanMaxBits+2)
	most := uint32(0)
	used := 0
	for _, w := range weights {
		if counts[w]++; counts[w] == 1 {
			used++
		}
		most = max(most, counts[w])
	}
	if len(weights) < 3 || used < 2 {
		return nil
	}
	log := logOf(len(weights), used, weightMaxLog)
	norm := normal(counts, log)
	w := &bitWriter{}
	putNorm(w, norm, log)
	w.flush()
	e := newEncoder(norm, log)
	i := len(weights)
	var state [2]uint32 // of even and of odd places
	for range 2 {
		i--
		state[i&1] = e.first(weights[i])
	}
	for i > 0 {
		i--
		state[i&1] = e.put(w, state[i&1], weights[i])
	}
	w.add(state[1], log)
	w.add(state[0], log)
	w.end()
	return w.b
}

// encode appends one stream.
func (h *huffman) encode(dst, src []byte) []byte {
	w := &bitWriter{b: dst}
	for _, s := range slices.Backward(src) {
		w.add(uint32(h.codes[s]), h.bits[s])
	}
	w.end()
	return w.b
}

// letter is what a prefix of bits stands for.
type letter struct {
	symbol uint8
	bits   uint8
}

// letters is a code to read with: an entry for each value of the longest code's
// bits.
type letters struct {
	table []letter
	log   uint8
}

var errHuffman = errors.New("no Huffman code")

// readHuffman reads the description of a code, and how long it is.
func readHuffman(b []byte) (*letters, int, error) {
	if len(b) == 0 {
		return nil, 0, errHuffman
	}
	n := int(b[0])
	var weights []uint8
	if n < 128 {
		if n+1 > len(b) {
			return nil, 0, errHuffman
		}
		var err error
		if weights, err = decompressWeights(b[1 : n+1]); err != nil {
			return nil, 0, err
		}
		n++
	} else {
		count := n - 127
		n = 1 + (count+1)/2
		if n > len(b) {
			return nil, 0, errHuffman
		}
		for i := range count {
			weights = append(weights, b[1+i/2]>>(4*(1-i&1))&15)
		}
	}
	l, err := newLetters(weights)
	return l, n, err
}

func newLetters(weights []uint8) (*letters, error) {
	sum := uint32(0)
	for _, w := range weights {
		if w > huffmanMaxBits+1 {
			return nil, errHuffman
		} else if w > 0 {
			sum += 1 << (w - 1)
		}
	}
	if sum == 0 || len(weights) > maxWeights {
		return nil, errHuffman
	}
	log := uint8(bits.Len32(sum))
	rest := uint32(1)<<log - sum
	if log > huffmanMaxBits || rest&(rest-1) != 0 {
		return nil, errHuffman
	}
	weights = append(weights, uint8(bits.Len32(rest)))
	l := &letters{make([]letter, 0, 1<<log), log}
	for w := uint8(1); w <= log; w++ {
		for s, have := range weights {
			if have == w {
				for range 1 << (w - 1) {
					l.table = append(l.table, letter{uint8(s), log + 1 - w})
				}
			}
		}
	}
	if len(l.table) != 1<<log {
		return nil, errHuffman
	}
	return l, nil
}

func decompressWeights(b []byte) ([]uint8, error) {
	norm, log, used, err := getNorm(b, huffmanMaxBits+2, weightMaxLog)
	if err != nil {
		return nil, err
	}
	r, ok := newBitReader(b[used:])
	if !ok {
		return nil, errHuffman
	}
	table := newDecoder(norm, log)
	state := [2]cell{table[r.read(log)], table[r.read(log)]}
	if r.at < 0 {
		return nil, errHuffman
	}
	var out []uint8
	for i := 0; ; i ^= 1 {
		out = append(out, state[i].symbol)
		n := state[i].bits
		if r.at -= int(n); r.at < 0 { // both states stand for what is left
			return append(out, state[i^1].symbol), nil
		}
		r.at += int(n)
		state[i] = table[int(state[i].next)+int(r.read(n))]
		if len(out) > maxWeights {
			return nil, errHuffman
		}
	}
}

// decode fills dst from one stream, which must then be at its end.
func (l *letters) decode(dst, src []byte) error {
	r, ok := newBitReader(src)
	if !ok {
		return errHuffman
	}
	for i := range dst {
		t := l.table[r.peek(l.log)]
		dst[i] = t.symbol
		r.at -= int(t.bits)
	}
	if r.at != 0 {
		return errHuffman
	}
	return nil
}
