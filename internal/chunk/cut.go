// Package chunk is how a system is pulled from a plain web server by a device of
// which nobody knows what it has: a signed index names the contents of the
// system, and chunks that they are made of, which are cut where the content says;
// packs hold the chunks; a device fetches by range what it lacks.
// docs/format/chunks.md describes both.
//
// This package reads and verifies, with the standard library only, because the
// first process of a device links it. Package chunk/publish writes.
package chunk

// Sizes of chunks in bytes. They belong to the format: who cuts elsewhere finds
// nothing again.
const (
	MinSize = 8 << 10
	AvgSize = 32 << 10
	MaxSize = 128 << 10
)

// The masks of normalised cutting: a cut before the average size takes two bits
// more than it would, one behind it two bits less, so that sizes are near the
// average.
//
// Source: W. Xia et al., FastCDC: a Fast and Efficient Content-Defined Chunking
// Approach for Data Deduplication, USENIX ATC 2016.
const (
	avgBits   = 15 // of AvgSize
	maskSmall = (1<<(avgBits+2) - 1) << (64 - avgBits - 2)
	maskLarge = (1<<(avgBits-2) - 1) << (64 - avgBits + 2)
)

// gear has a number for each value of a byte, made by SplitMix64 (G. Steele et
// al., Fast Splittable Pseudorandom Number Generators, OOPSLA 2014) from 0.
var gear = func() (table [256]uint64) {
	var state uint64
	for i := range table {
		state += 0x9e3779b97f4a7c15
		z := state
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		table[i] = z ^ z>>31
	}
	return table
}()

// Cut returns the length of the first chunk of b: all of it when it is short, and
// never more than MaxSize. It depends on nothing but the bytes from b's begin on;
// when b is not the rest of a content, it must have MaxSize bytes.
//
// The highest bits of the hash depend on the last 64 bytes, which is why the
// masks stand there.
func Cut(b []byte) int {
	if len(b) <= MinSize {
		return len(b)
	}
	n := min(len(b), MaxSize)
	var h uint64
	i := MinSize
	for ; i < min(n, AvgSize); i++ {
		if h = h<<1 + gear[b[i]]; h&maskSmall == 0 {
			return i + 1
		}
	}
	for ; i < n; i++ {
		if h = h<<1 + gear[b[i]]; h&maskLarge == 0 {
			return i + 1
		}
	}
	return n
}
