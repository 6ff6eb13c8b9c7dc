package zstd

import (
	"encoding/binary"
	"math/bits"
)

// Sizes of the finder's tables, as logarithms, and how far it looks.
const (
	shortLog   = 16 // last places of three bytes, near
	chainLog   = 20 // places of four bytes, as a chain through the last MiB
	headLog    = 17
	longLog    = 18 // last places of eight bytes, any distance
	nearest    = 1 << 17
	chainDepth = 6
	minMatch   = 3
)

// found is an earlier place where the bytes at hand stand as well.
type found struct{ n, offset int }

// finder finds matches. Places in tables are one higher, so that zero is none.
type finder struct {
	src   []byte
	short []uint32
	head  []uint32
	chain []uint32
	long  []uint32
	list  []found
}

func newFinder(src []byte) *finder {
	return &finder{
		src: src, short: make([]uint32, 1<<shortLog), head: make([]uint32, 1<<headLog),
		chain: make([]uint32, 1<<chainLog), long: make([]uint32, 1<<longLog),
	}
}

func (f *finder) hashes(at int) (short, head, long uint32) {
	v := binary.LittleEndian.Uint64(f.src[at:])
	return uint32(v<<8) * 506832829 >> (32 - shortLog), uint32(v) * 2654435761 >> (32 - headLog), uint32(v * 0xcf1bbcdcb7a56463 >> (64 - longLog))
}

// insert remembers a place.
func (f *finder) insert(at int) {
	if at+8 > len(f.src) {
		return
	}
	s, h, l := f.hashes(at)
	f.short[s], f.long[l] = uint32(at+1), uint32(at+1)
	f.chain[at&(1<<chainLog-1)] = f.head[h]
	f.head[h] = uint32(at + 1)
}

// find returns matches of the bytes at a place, each longer than the one before,
// none beyond end, and remembers the place.
func (f *finder) find(at, end int) []found {
	f.list = f.list[:0]
	if at+8 > len(f.src) {
		return nil
	}
	s, h, l := f.hashes(at)
	best := minMatch - 1
	try := func(from int) {
		if at+best < end && f.src[from+best] == f.src[at+best] {
			if n := common(f.src, from, at, end); n > best {
				best = n
				f.list = append(f.list, found{n, at - from})
			}
		}
	}
	if from := int(f.short[s]) - 1; from >= 0 && at-from < nearest {
		try(from)
	}
	last := at
	next := f.head[h]
	for range chainDepth {
		from := int(next) - 1
		if from < 0 || from >= last || at-from >= 1<<chainLog {
			break
		}
		try(from)
		last, next = from, f.chain[from&(1<<chainLog-1)]
	}
	if from := int(f.long[l]) - 1; from >= 0 {
		try(from)
	}
	f.short[s], f.long[l] = uint32(at+1), uint32(at+1)
	f.chain[at&(1<<chainLog-1)] = f.head[h]
	f.head[h] = uint32(at + 1)
	return f.list
}

// common returns how many bytes are the same at two places.
func common(b []byte, from, at, end int) int {
	n := 0
	for at+n+8 <= end {
		if x := binary.LittleEndian.Uint64(b[from+n:]) ^ binary.LittleEndian.Uint64(b[at+n:]); x != 0 {
			return n + bits.TrailingZeros64(x)>>3
		}
		n += 8
	}
	for at+n < end && b[from+n] == b[at+n] {
		n++
	}
	return n
}
