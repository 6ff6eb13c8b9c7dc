package fit

import (
	"math"
	"math/bits"
)

// mulShift returns v*f/2^20, rounded up, at most the largest Time.
func mulShift(v, f Time) Time {
	high, low := bits.Mul64(uint64(v), uint64(f))
	low, carry := bits.Add64(low, 1<<20-1, 0)
	high += carry
	if high>>19 != 0 {
		return math.MaxInt64
	}
	return Time(high<<44 | low>>20)
}
