package xz

import "encoding/binary"

// moveZero makes one shift serve both directions of a probability's update
// without a branch: p + (2048-p)/32 is p - (p+31-2048)/32 rounded down.
const moveZero uint32 = 1<<32 + 1<<moveBits - 1 - 1<<probBits

// coder is the range decoder between symbols; within them its fields live in
// local variables.
type coder struct {
	rng, code uint32
	at        uint32 // next byte of lzma.in
}

// bit decodes one bit. It is for the rare symbols; the frequent ones have it
// written out.
func (d *lzma) bit(c *coder, p *uint16) uint32 {
	if c.rng < topValue {
		c.rng <<= 8
		c.code = c.code<<8 | uint32(d.in[c.at&0xffff])
		c.at++
	}
	bound := c.rng >> probBits * uint32(*p)
	if c.code < bound {
		c.rng = bound
		*p += (1<<probBits - *p) >> moveBits
		return 0
	}
	c.rng -= bound
	c.code -= bound
	*p -= *p >> moveBits
	return 1
}

// bittree decodes n bits, the highest first, with a tree of probabilities.
func (d *lzma) bittree(c *coder, probs []uint16, n int) uint32 {
	rng, code, at := c.rng, c.code, c.at
	m := uint32(1)
	for range n {
		p := uint32(probs[m])
		if rng < topValue {
			rng <<= 8
			code = code<<8 | uint32(d.in[at&0xffff])
			at++
		}
		bound := rng >> probBits * p
		if code < bound {
			rng = bound
			probs[m] = uint16(p + (1<<probBits-p)>>moveBits)
			m <<= 1
		} else {
			rng -= bound
			code -= bound
			probs[m] = uint16(p - p>>moveBits)
			m = m<<1 | 1
		}
	}
	c.rng, c.code, c.at = rng, code, at
	return m - 1<<n
}

// reverse decodes n bits, the lowest first.
func (d *lzma) reverse(c *coder, probs []uint16, n uint32) uint32 {
	m, sum := uint32(1), uint32(0)
	for i := range n {
		b := d.bit(c, &probs[m])
		m = m<<1 | b
		sum |= b << i
	}
	return sum
}

// direct decodes n bits of even probability.
func (d *lzma) direct(c *coder, n uint32) uint32 {
	v := uint32(0)
	for range n {
		if c.rng < topValue {
			c.rng <<= 8
			c.code = c.code<<8 | uint32(d.in[c.at&0xffff])
			c.at++
		}
		c.rng >>= 1
		c.code -= c.rng
		mask := uint32(int32(c.code) >> 31) // all ones when the bit is 0
		c.code += c.rng & mask
		v = v<<1 + (mask + 1)
	}
	return v
}

// length decodes a match length, from 2 on.
func (d *lzma) matchLength(c *coder, l *lenProbs, posState uint32) int {
	if d.bit(c, &l.choice) == 0 {
		return 2 + int(d.bittree(c, l.low[posState<<3:posState<<3+8], 3))
	}
	if d.bit(c, &l.choice2) == 0 {
		return 10 + int(d.bittree(c, l.mid[posState<<3:posState<<3+8], 3))
	}
	return 18 + int(d.bittree(c, l.high[:], 8))
}

// distance decodes the distance, less one, of a match.
func (d *lzma) distance(c *coder, length int) uint32 {
	ls := uint32(min(length-2, 3))
	slot := d.bittree(c, d.slot[ls<<6:ls<<6+64], 6)
	if slot < 4 {
		return slot
	}
	bits := slot>>1 - 1
	dist := (2 | slot&1) << bits
	if slot < 14 {
		// The tree of slot s begins so that its node 1 is at dist-slot.
		return dist + d.reverse(c, d.special[dist-slot:], bits)
	}
	dist += d.direct(c, bits-4) << 4
	return dist + d.reverse(c, d.align[:], 4)
}

// compressed decodes one LZMA chunk up to position end of the output. Literals
// are decoded here, with all that lasts in local variables.
func (d *lzma) compressed(src []byte, end int) error {
	if len(src) < 5 || src[0] != 0 {
		return errCorrupt
	}
	n := copy(d.in[:], src)
	rng, code, at := uint32(0xffffffff), binary.BigEndian.Uint32(src[1:]), uint32(5)
	out, pos, state := d.out[:end], d.pos, d.state
	for pos < end {
		posState := uint32(pos-d.dict) & d.posMask
		flag := &d.match[(state<<4|posState)%(states<<4)]
		p := uint32(*flag)
		if rng < topValue {
			rng <<= 8
			code = code<<8 | uint32(d.in[at&0xffff])
			at++
		}
		bound := rng >> probBits * p
		if code >= bound {
			*flag = uint16(p - p>>moveBits)
			c := coder{rng - bound, code - bound, at}
			d.state = state
			length, ok := d.sequence(&c, posState)
			if !ok || length > end-pos || int(d.dist0) >= pos-d.dict || c.at > uint32(n) {
				return errCorrupt
			}
			copyMatch(out, pos, int(d.dist0)+1, length)
			pos += length
			rng, code, at, state = c.rng, c.code, c.at, d.state
			continue
		}
		*flag = uint16(p + (1<<probBits-p)>>moveBits)
		rng = bound
		prev := uint32(0)
		if pos > d.dict {
			prev = uint32(out[pos-1])
		}
		first := 0x300 * (uint32(pos-d.dict)&d.litMask<<d.lc + prev>>(8-d.lc))
		probs := (*[0x300]uint16)(d.literal[first : first+0x300])
		m := uint32(1)
		if state >= litStates && int(d.dist0) < pos-d.dict {
			// While the bits are those of the byte that a repeated match would
			// give, its bits choose among two further trees.
			match := uint32(out[pos-int(d.dist0)-1]) << 1
			for offset := uint32(0x100); m < 0x100; match <<= 1 {
				mb := match & offset
				q := &probs[(offset+mb+m)%0x300]
				p := uint32(*q)
				if rng < topValue {
					rng <<= 8
					code = code<<8 | uint32(d.in[at&0xffff])
					at++
				}
				bound := rng >> probBits * p
				zero := uint32(int64(uint64(code)-uint64(bound)) >> 63)
				rng = (rng-bound)&^zero | bound&zero
				code -= bound &^ zero
				*q = uint16(p - uint32(int32(p+zero&moveZero)>>moveBits))
				m = m<<1 + 1 + zero
				offset &= mb ^ zero
			}
		} else {
			for m < 0x100 {
				q := &probs[m&0xff]
				p := uint32(*q)
				if rng < topValue {
					rng <<= 8
					code = code<<8 | uint32(d.in[at&0xffff])
					at++
				}
				bound := rng >> probBits * p
				zero := uint32(int64(uint64(code)-uint64(bound)) >> 63) // all ones when the bit is 0
				rng = (rng-bound)&^zero | bound&zero
				code -= bound &^ zero
				*q = uint16(p - uint32(int32(p+zero&moveZero)>>moveBits))
				m = m<<1 + 1 + zero
			}
		}
		out[pos] = byte(m)
		pos++
		state = uint32(afterLiteral[state&15])
	}
	d.pos, d.state = pos, state
	if rng < topValue { // a last byte belongs to the last symbol
		at++
	}
	if at != uint32(n) {
		return errCorrupt
	}
	return nil
}

// afterLiteral is the state that follows a literal.
var afterLiteral = [16]uint8{0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 4, 5}

// sequence decodes what follows a match bit: the length, with the distance in
// dist0. It is false for an end mark, which LZMA2 does not allow.
func (d *lzma) sequence(c *coder, posState uint32) (int, bool) {
	s := d.state
	if d.bit(c, &d.rep[s]) == 0 {
		d.dist3, d.dist2, d.dist1 = d.dist2, d.dist1, d.dist0
		length := d.matchLength(c, &d.length, posState)
		d.dist0 = d.distance(c, length)
		d.state = after(s, 7, 10)
		return length, d.dist0 != 0xffffffff
	}
	if d.bit(c, &d.rep0[s]) == 0 {
		if d.bit(c, &d.rep0Long[s<<4|posState]) == 0 {
			d.state = after(s, 9, 11)
			return 1, true
		}
	} else {
		dist := d.dist1
		if d.bit(c, &d.rep1[s]) == 1 {
			if d.bit(c, &d.rep2[s]) == 0 {
				dist = d.dist2
			} else {
				dist = d.dist3
				d.dist3 = d.dist2
			}
			d.dist2 = d.dist1
		}
		d.dist1 = d.dist0
		d.dist0 = dist
	}
	length := d.matchLength(c, &d.repLength, posState)
	d.state = after(s, 8, 11)
	return length, true
}

// after is the state after a match: one when a literal went before, else the other.
func after(state, literal, other uint32) uint32 {
	if state < litStates {
		return literal
	}
	return other
}

// copyMatch appends length bytes from dist back, which may overlap.
func copyMatch(out []byte, pos, dist, length int) {
	if dist >= length {
		copy(out[pos:pos+length], out[pos-dist:])
		return
	}
	dst, src := out[pos:pos+length], out[pos-dist:pos-dist+length]
	for i := range dst {
		dst[i] = src[i]
	}
}
