package realtime

import (
	"maps"
	"math/big"
	"math/bits"
	"slices"
)

// share is the part of a processor that a task needs: cost each period.
type share struct{ cost, period Time }

// scale is the precision of the quick sum: 2^-96.
const scale = 96

// bounds returns integers between which the sum lies, in units of 2^-scale.
func bounds(all []share) (low, high *big.Int) {
	low = new(big.Int)
	var x big.Int
	for _, s := range all {
		low.Add(low, x.Div(x.Lsh(big.NewInt(s.cost), scale), big.NewInt(s.period)))
	}
	return low, new(big.Int).Add(low, big.NewInt(int64(len(all))))
}

// quick is the sum of shares, rounded down, in units of 2^-64 of a processor.
type quick struct{ whole, part, count uint64 }

func (q *quick) add(s share) {
	part, _ := bits.Div64(uint64(s.cost%s.period), 0, uint64(s.period))
	sum, carry := bits.Add64(q.part, part, 0)
	q.whole, q.part = q.whole+uint64(s.cost/s.period)+carry, sum
	q.count++
}

// compare says how the sum stands to one; sure is false when rounding may have
// hidden it.
func (q *quick) compare() (to int, sure bool) {
	if q.whole > 0 {
		return 1, q.whole > 1 || q.part > 0
	}
	return -1, q.part <= -q.count // at most 1 was lost of each
}

// compareToOne compares the sum of shares with a whole processor, exactly: by
// fractions only when the quick sums cannot tell.
func compareToOne(all []share) int {
	var q quick
	for _, s := range all {
		q.add(s)
	}
	if to, sure := q.compare(); sure {
		return to
	}
	one := new(big.Int).Lsh(big.NewInt(1), scale)
	low, high := bounds(all)
	if low.Cmp(one) > 0 {
		return 1
	}
	if high.Cmp(one) < 0 {
		return -1
	}
	costs := map[Time]*big.Int{}
	for _, s := range all {
		if costs[s.period] == nil {
			costs[s.period] = new(big.Int)
		}
		costs[s.period].Add(costs[s.period], big.NewInt(s.cost))
	}
	sum := new(big.Rat)
	for _, p := range slices.Sorted(maps.Keys(costs)) {
		sum.Add(sum, new(big.Rat).SetFrac(costs[p], big.NewInt(p)))
	}
	return sum.Cmp(big.NewRat(1, 1))
}
