// Package suffix sorts the suffixes of a text in linear time and finds the
// longest match of a pattern.
//
// Source: G. Nong, S. Zhang, W. H. Chan, "Two Efficient Algorithms for Linear
// Time Suffix Array Construction" (2009), induced sorting (SA-IS). Memory: five
// bytes for each byte of the text, the text included, and a bit each on top.
package suffix

// Max is the longest text that can be sorted, in bytes.
const Max = 1<<31 - 2

// Array is a text with its suffixes in order.
type Array struct {
	text  []byte
	order []int32
	first []int32 // by the first two bytes: where its suffixes begin in order
}

// New sorts the suffixes of text, which must not change afterwards.
func New(text []byte) *Array {
	a := &Array{text: text, order: make([]int32, len(text))}
	sortSuffixes(text, a.order, 256)
	a.first = make([]int32, 1<<16+1)
	for i := range text {
		k := int(text[i]) << 8
		if i+1 < len(text) {
			k |= int(text[i+1])
		}
		a.first[k+1]++
	}
	for i := 1; i < len(a.first); i++ {
		a.first[i] += a.first[i-1]
	}
	return a
}

// Len returns the length of the text.
func (a *Array) Len() int { return len(a.text) }

// maxCompare bounds how far a search compares: longer matches need no better
// order among themselves, and repetitive texts would make searches quadratic.
const maxCompare = 1 << 12

// Longest returns where in the text the longest prefix of pattern stands, and
// its length. Of equally long ones it takes the nearest to want among the first
// few. The length may be less than the whole match where that exceeds 4 KiB.
func (a *Array) Longest(pattern []byte, want int) (pos, n int) {
	if len(pattern) < 2 || len(a.text) < 2 {
		return 0, 0
	}
	if len(pattern) > maxCompare {
		pattern = pattern[:maxCompare]
	}
	k := int(pattern[0])<<8 | int(pattern[1])
	lo, hi := int(a.first[k]), int(a.first[k+1])
	if lo == hi {
		return 0, 0
	}
	from, to := lo, hi
	nlo, nhi := 0, 0 // what pattern shares with the suffixes before lo and at hi
	for lo < hi {
		mid := (lo + hi) / 2
		s := a.text[a.order[mid]:]
		l := min(nlo, nhi)
		l += common(s[l:], pattern[l:])
		if l == len(pattern) || l < len(s) && s[l] > pattern[l] {
			hi, nhi = mid, l
		} else {
			lo, nlo = mid+1, l
		}
	}
	// The best neighbours stand on both sides of lo.
	best := -1
	for _, step := range [2]int{-1, 1} {
		i := lo - 1
		if step == 1 {
			i = lo
		}
		for tries := 0; i >= from && i < to && tries < 16; i, tries = i+step, tries+1 {
			p := int(a.order[i])
			l := common(a.text[p:], pattern)
			if l < n || l == 0 {
				break
			}
			if l > n || best < 0 || abs(p-want) < abs(best-want) {
				best, n = p, l
			}
		}
	}
	return max(best, 0), n
}

func abs(x int) int {
	if x < 0 {
		return -x
	}
	return x
}

func common(a, b []byte) int {
	n := min(len(a), len(b))
	for i := 0; i < n; i++ {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}
