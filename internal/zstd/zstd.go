// Package zstd compresses such that the same bytes always come out, on every
// machine and in every version of this program, and decompresses. It is for what
// has to be made again on a device to the last byte, and needs nothing beyond
// the standard library.
//
// What Compress makes must never change: a system names it by its digest.
// Version counts its forms.
//
// Source: RFC 8878, Zstandard Compression.
package zstd

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

// Version of what Compress makes.
const Version = 1

const (
	magic     = 0xfd2fb528
	blockSize = 128 << 10 // Block_Maximum_Size
)

// Kinds of blocks.
const (
	rawBlock = iota
	rleBlock
	compressedBlock
)

// MaxSize is the largest content, in bytes, that is compressed or decompressed.
const MaxSize = 1 << 30

// ErrDamaged is wrapped by every error of Decompress.
var ErrDamaged = errors.New("damaged zstd frame")

// code is one code of lengths: it stands for base and more, said in so many bits.
type code struct {
	base uint32
	bits uint8
}

// Codes of literal lengths and match lengths (RFC 8878, 3.1.1.3.2.1).
var (
	literalCodes = codes(0, 16, []uint8{1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16})
	matchCodes   = codes(3, 32, []uint8{1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16})
)

const (
	maxLiteralCode = 35
	maxMatchCode   = 52
	maxOffsetCode  = 31
)

// codes makes a list: from first on one number each, plain times, then so many
// bits each.
func codes(first uint32, plain int, more []uint8) []code {
	var all []code
	for range plain {
		all = append(all, code{first, 0})
		first++
	}
	for _, b := range more {
		all = append(all, code{first, b})
		first += 1 << b
	}
	return all
}

func literalCode(n uint32) uint8 {
	if n < 16 {
		return uint8(n)
	} else if n < 64 {
		return lengthIndex[n]
	}
	return uint8(bits.Len32(n)) + 18
}

func matchCode(n uint32) uint8 {
	n -= 3
	if n < 32 {
		return uint8(n)
	} else if n < 128 {
		return matchIndex[n]
	}
	return uint8(bits.Len32(n)) + 35
}

var (
	lengthIndex = indexOf(literalCodes, 0, 64)
	matchIndex  = indexOf(matchCodes, 3, 128)
)

func indexOf(list []code, first uint32, n int) []uint8 {
	out := make([]uint8, n)
	c := 0
	for i := range out {
		for c+1 < len(list) && list[c+1].base <= uint32(i)+first {
			c++
		}
		out[i] = uint8(c)
	}
	return out
}

// The distributions that need not be said (3.1.1.3.2.2), and their accuracies.
var (
	literalDefault = []int16{4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1, -1, -1}
	matchDefault   = []int16{1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1}
	offsetDefault  = []int16{1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1}
)

const (
	literalDefaultLog = 6
	matchDefaultLog   = 6
	offsetDefaultLog  = 5
	literalMaxLog     = 9
	matchMaxLog       = 9
	offsetMaxLog      = 8
	weightMaxLog      = 6
	huffmanMaxBits    = 11
	maxWeights        = 255
)

// Size reads how much a frame becomes, in bytes; frames that do not say so are
// refused.
func Size(frame []byte) (int, error) {
	_, n, err := header(frame)
	return n, err
}

// header reads the frame header: how long it is, and the size of the content.
func header(b []byte) (n, size int, err error) {
	if len(b) < 6 || binary.LittleEndian.Uint32(b) != magic {
		return 0, 0, errors.Join(ErrDamaged, errors.New("no frame"))
	}
	d := b[4]
	single, field := d>>5&1, d>>6
	n = 5
	if single == 0 {
		n++ // the window: matches that reach further than the content are refused anyway
	}
	if d&3 != 0 || d&8 != 0 || field == 0 && single == 0 {
		return 0, 0, errors.Join(ErrDamaged, errors.New("a dictionary, a reserved bit, or no size"))
	}
	width := 1 << field
	if len(b) < n+width {
		return 0, 0, errors.Join(ErrDamaged, errors.New("cut header"))
	}
	var v [8]byte
	copy(v[:width], b[n:])
	s := binary.LittleEndian.Uint64(v[:])
	if field == 1 {
		s += 256
	}
	if s > MaxSize {
		return 0, 0, errors.Join(ErrDamaged, errors.New("the content is too large"))
	}
	return n + width, int(s), nil
}
