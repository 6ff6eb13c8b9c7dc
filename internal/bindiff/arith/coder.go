// Package arith is the entropy stage of binary differences: a binary range
// coder, adaptive numbers, and bytes predicted by a mixture of contexts. What
// is written is read by the same code, so the two cannot disagree: a Coder
// either writes the bits it is given or ignores them and returns those it
// reads. All arithmetic is on integers; the result is the same on every
// machine.
//
// Sources: the carry-less form of the range coder is that of LZMA (Igor Pavlov,
// LZMA specification); adaptive bits with logistic mixing follow M. Mahoney,
// "Adaptive Weighing of Context Models for Lossless Data Compression" (2005).
package arith

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
)

// Coder codes binary decisions. One goroutine at a time.
type Coder struct {
	rng     uint32
	reading bool
	err     error

	code uint32 // of a reader
	r    io.ByteReader

	low   uint64 // of a writer
	cache byte
	held  int64 // bytes that a carry may still change
	spent uint64
	out   *bufio.Writer
	n     int64
}

// NewWriter returns a Coder that writes to w. Close ends the stream.
func NewWriter(w io.Writer) *Coder {
	return &Coder{rng: 1<<32 - 1, held: 1, out: bufio.NewWriter(w)}
}

// NewReader returns a Coder that reads what a writer wrote, not one byte more.
func NewReader(r io.ByteReader) (*Coder, error) {
	c := &Coder{rng: 1<<32 - 1, reading: true, r: r}
	for range 5 {
		c.code = c.code<<8 | uint32(c.next())
	}
	return c, c.err
}

// Reading reports whether c reads.
func (c *Coder) Reading() bool { return c.reading }

// Err returns the first error of the stream below: io.ErrUnexpectedEOF where
// it ended too early. After an error all decisions read are worthless but bounded.
func (c *Coder) Err() error { return c.err }

// Written returns how many bytes a writer has produced so far; a few more are held back.
func (c *Coder) Written() int64 { return c.n }

// Close writes what is held back. It does not close the writer below.
func (c *Coder) Close() error {
	if c.reading {
		return c.err
	}
	for range 5 {
		c.shift()
	}
	if err := c.out.Flush(); c.err == nil && err != nil {
		c.err = fmt.Errorf("write the difference: %w", err)
	}
	return c.err
}

func (c *Coder) next() byte {
	if c.err != nil {
		return 0
	}
	b, err := c.r.ReadByte()
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	c.err = err
	return b
}

func (c *Coder) shift() {
	if uint32(c.low) < 0xff000000 || c.low>>32 != 0 {
		carry := byte(c.low >> 32)
		for b := c.cache; c.held > 0; c.held-- {
			c.put(b + carry)
			b = 0xff
		}
		c.cache = byte(c.low >> 24)
	}
	c.held++
	c.low = c.low << 8 & 0xffffffff
}

func (c *Coder) put(b byte) {
	c.n++
	if err := c.out.WriteByte(b); err != nil && c.err == nil {
		c.err = fmt.Errorf("write the difference: %w", err)
	}
}

// Bit codes one decision that is 1 with probability p of 65536, 0 < p < 65536.
func (c *Coder) Bit(bit int, p uint32) int {
	bound := (c.rng >> 16) * p
	if c.reading {
		if bit = 0; c.code < bound {
			bit = 1
		}
	}
	if bit != 0 {
		c.rng = bound
	} else {
		c.rng -= bound
		if c.reading {
			c.code -= bound
		} else {
			c.low += uint64(bound)
			p = 65536 - p
		}
	}
	if !c.reading {
		c.spent += uint64(cost[p>>4])
	}
	for c.rng < 1<<24 {
		c.rng <<= 8
		if c.reading {
			c.code = c.code<<8 | uint32(c.next())
		} else {
			c.shift()
		}
	}
	return bit
}

// Spent returns how much a writer has written so far, in bits / 4096: finer
// than Written, and within 1 %.
func (c *Coder) Spent() uint64 { return c.spent }

// cost is what a decision of probability i/4096 takes, in bits / 4096.
var cost = makeCost()

func makeCost() (t [4097]uint16) {
	for i := range t {
		p := float64(i) / 4096
		if i == 0 {
			p = 1. / 8192
		}
		t[i] = uint16(min(65535, -4096*math.Log2(p)))
	}
	return t
}

// Even codes the low n bits of v, each as likely 0 as 1.
func (c *Coder) Even(v uint64, n int) uint64 {
	var got uint64
	for i := n - 1; i >= 0; i-- {
		got = got<<1 | uint64(c.Bit(int(v>>i)&1, 1<<15))
	}
	return got
}

// Flag is the adaptive probability of one kind of decision. The zero value is
// even odds.
type Flag struct {
	p uint16 // of 1, less 32768
	n uint8  // decisions seen, at most flagRate
}

// flagRate bounds how slowly a Flag adapts: by 1/2^7 of the distance.
const flagRate = 7

// Code codes one decision and learns from it.
func (f *Flag) Code(c *Coder, bit int) int {
	p := uint32(f.p ^ 0x8000)
	bit = c.Bit(bit, p)
	rate := uint32(f.n/4) + 1
	if f.n < flagRate*4-4 {
		f.n++
	}
	if bit != 0 {
		p += (65535 - p) >> rate
	} else {
		p -= p >> rate
	}
	f.p = uint16(min(max(p, 32), 65504)) ^ 0x8000
	return bit
}

// Number codes unsigned numbers of any size: first their length in bits, then
// their bits, the highest of them adaptively. The zero value is ready.
type Number struct {
	length [128]Flag
	top    [65][8]Flag
	low    [65][64]Flag
}

// Code codes v.
func (m *Number) Code(c *Coder, v uint64) uint64 {
	n := 0
	for x := v; x != 0; x >>= 1 {
		n++
	}
	node := 1
	for i := 6; i >= 0; i-- {
		node = node<<1 | m.length[node&127].Code(c, n>>i&1)
	}
	n = min(node&127, 64) // only a damaged stream says more
	if n < 2 {
		return uint64(n)
	}
	got, top := uint64(1), 1
	for i := n - 2; i >= 0; i-- {
		bit := int(v>>i) & 1
		if top < 8 {
			bit = m.top[n][top].Code(c, bit)
			top = top<<1 | bit
		} else {
			bit = m.low[n][i].Code(c, bit)
		}
		got = got<<1 | uint64(bit)
	}
	return got
}

// Signed codes signed numbers by m, small ones of either sign in few bits.
func (m *Number) Signed(c *Coder, v int64) int64 {
	u := m.Code(c, uint64(v)<<1^uint64(v>>63))
	return int64(u>>1) ^ -int64(u&1)
}
