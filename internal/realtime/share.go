package realtime

import (
	"maps"
	"math/big"
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

// compareToOne compares the sum of shares with a whole processor, exactly: by
// fractions only when the quick sum cannot tell.
func compareToOne(all []share) int {
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
