package xz

import (
	"encoding/binary"
	"errors"
)

// This file decodes LZMA2 from one slice into another of known length. Blocks
// whose index tells their size need no dictionary window: matches are copied
// within the output. That, and keeping the range coder in registers, is what
// makes it faster than a decoder of streams.
//
// Source: "The .xz File Format", section 5.3.1, and Igor Pavlov's LZMA
// specification (lzma-specification.txt, public domain).

var (
	errTruncated = errors.New("xz: the data ends too early")
	errCorrupt   = errors.New("xz: the compressed data is damaged")
)

const (
	probInit  = 1 << 10 // half of 1<<probBits
	probBits  = 11
	moveBits  = 5
	topValue  = 1 << 24
	states    = 12
	litStates = 7 // states below it follow a literal
	maxLCLP   = 4 // LZMA2 allows lc+lp up to 4
)

// lenProbs are the probabilities of a match length.
type lenProbs struct {
	choice, choice2 uint16
	low, mid        [16 << 3]uint16 // by position state
	high            [256]uint16
}

// lzma is the state that lasts from chunk to chunk.
type lzma struct {
	match               [states << 4]uint16
	rep, rep0, rep1     [states]uint16
	rep2                [states]uint16
	rep0Long            [states << 4]uint16
	slot                [4 << 6]uint16
	special             [128]uint16 // of distances 4..127, by slot
	align               [16]uint16
	length, repLength   lenProbs
	literal             [0x300 << maxLCLP]uint16
	lc                  uint32
	litMask, posMask    uint32
	state               uint32
	dist0, dist1        uint32 // the last four distances, less one
	dist2, dist3        uint32
	out                 []byte
	pos, dict           int // written so far; where the dictionary begins
	needProps, needDict bool
	in                  [1 << 16]byte // the chunk at hand
}

func fill(p []uint16) {
	for i := range p {
		p[i] = probInit
	}
}

func (l *lenProbs) reset() {
	l.choice, l.choice2 = probInit, probInit
	fill(l.low[:])
	fill(l.mid[:])
	fill(l.high[:])
}

// resetState forgets what was learned.
func (d *lzma) resetState() {
	for _, p := range [][]uint16{d.match[:], d.rep[:], d.rep0[:], d.rep1[:], d.rep2[:], d.rep0Long[:], d.slot[:], d.special[:], d.align[:], d.literal[:]} {
		fill(p)
	}
	d.length.reset()
	d.repLength.reset()
	d.state, d.dist0, d.dist1, d.dist2, d.dist3 = 0, 0, 0, 0, 0
}

// setProps takes the byte (pb*5+lp)*9+lc.
func (d *lzma) setProps(b byte) error {
	if b > (4*5+4)*9+8 {
		return errCorrupt
	}
	lc, lp, pb := uint32(b%9), uint32(b/9%5), uint32(b/45)
	if lc+lp > maxLCLP {
		return errCorrupt
	}
	d.lc, d.litMask, d.posMask = lc, 1<<lp-1, 1<<pb-1
	d.resetState()
	d.needProps = false
	return nil
}

// decodeLZMA2 decodes chunks from src until their end mark, filling out exactly,
// and returns how many bytes of src they took.
func decodeLZMA2(out, src []byte) (int, error) {
	d := &lzma{out: out, needProps: true, needDict: true}
	for at := 0; at < len(src); {
		control := src[at]
		at++
		if control == 0 {
			if d.pos != len(out) {
				return at, errCorrupt
			}
			return at, nil
		}
		n, err := d.chunk(control, src[at:])
		if err != nil {
			return at, err
		}
		at += n
	}
	return len(src), errTruncated
}

// chunk decodes one chunk behind its control byte.
func (d *lzma) chunk(control byte, src []byte) (int, error) {
	if control >= 0xe0 || control == 1 {
		d.dict, d.needDict = d.pos, false
	} else if d.needDict {
		return 0, errCorrupt
	}
	if control < 0x80 {
		return d.plain(control, src)
	}
	if len(src) < 5 {
		return 0, errTruncated
	}
	size := int(control&0x1f)<<16 + int(binary.BigEndian.Uint16(src)) + 1
	packed := int(binary.BigEndian.Uint16(src[2:])) + 1
	head := 4
	switch {
	case control >= 0xc0:
		if err := d.setProps(src[4]); err != nil {
			return 0, err
		}
		head = 5
	case d.needProps:
		return 0, errCorrupt
	case control >= 0xa0:
		d.resetState()
	}
	if len(src) < head+packed {
		return 0, errTruncated
	}
	if size > len(d.out)-d.pos {
		return 0, errCorrupt
	}
	return head + packed, d.compressed(src[head:head+packed], d.pos+size)
}

// plain copies a chunk that is not compressed.
func (d *lzma) plain(control byte, src []byte) (int, error) {
	if control > 2 {
		return 0, errCorrupt
	}
	if len(src) < 2 {
		return 0, errTruncated
	}
	size := int(binary.BigEndian.Uint16(src)) + 1
	if len(src) < 2+size {
		return 0, errTruncated
	}
	if size > len(d.out)-d.pos {
		return 0, errCorrupt
	}
	d.pos += copy(d.out[d.pos:], src[2:2+size])
	return 2 + size, nil
}
