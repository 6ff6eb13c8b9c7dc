package deflate

import (
	"cmp"
	"math/bits"
	"slices"
)

// code is a prefix code in canonical form (RFC 1951, 3.2.2).
type code struct {
	lengths []byte
	words   []uint16 // reversed, as they are written
}

// newCode makes a Huffman code of symbols by how often they are, with words of at
// most limit bits. A single symbol gets a word of one bit, and so does symbol 0
// when there is none.
func newCode(count []int, limit int) *code {
	c := &code{make([]byte, len(count)), make([]uint16, len(count))}
	weights := slices.Clone(count)
	for !c.fit(weights, limit) {
		for i, w := range weights {
			if w > 0 {
				weights[i] = w/2 + 1
			}
		}
	}
	c.number()
	return c
}

type node struct {
	weight      int
	left, right int // -1: a symbol, which is in right
}

// fit computes the lengths of the words and says whether none is too long.
func (c *code) fit(weights []int, limit int) bool {
	var nodes []node
	for s, w := range weights {
		c.lengths[s] = 0
		if w > 0 {
			nodes = append(nodes, node{w, -1, s})
		}
	}
	if len(nodes) < 2 {
		s := 0
		if len(nodes) == 1 {
			s = nodes[0].right
		}
		c.lengths[s] = 1
		return true
	}
	slices.SortStableFunc(nodes, func(a, b node) int { return cmp.Compare(a.weight, b.weight) })
	// Two queues: symbols by weight, and what was joined, which comes by weight.
	leaves, leaf, joined := len(nodes), 0, len(nodes)
	take := func() int {
		if leaf < leaves && (joined >= len(nodes) || nodes[leaf].weight <= nodes[joined].weight) {
			leaf++
			return leaf - 1
		}
		joined++
		return joined - 1
	}
	for range leaves - 1 {
		a := take()
		b := take()
		nodes = append(nodes, node{nodes[a].weight + nodes[b].weight, a, b})
	}
	depth := make([]int, len(nodes))
	for i := len(nodes) - 1; i >= 0; i-- {
		n := nodes[i]
		if n.left >= 0 {
			depth[n.left], depth[n.right] = depth[i]+1, depth[i]+1
			continue
		}
		if depth[i] > limit {
			return false
		}
		c.lengths[n.right] = byte(depth[i])
	}
	return true
}

// number gives the words: shorter ones first, of equal length in order.
func (c *code) number() {
	word := 0
	for l := 1; l <= maxBits; l++ {
		for s, n := range c.lengths {
			if int(n) == l {
				c.words[s] = bits.Reverse16(uint16(word)) >> (16 - l)
				word++
			}
		}
		word <<= 1
	}
}

func (c *code) put(w *writer, s int) { w.put(uint64(c.words[s]), uint(c.lengths[s])) }

// cost is the bits that symbols take.
func (c *code) cost(count []int) int {
	sum := 0
	for s, n := range count {
		sum += n * int(c.lengths[s])
	}
	return sum
}
