//go:build !amd64

package port

import "sync/atomic"

// Elsewhere, as on arm64, ordinary accesses may pass an atomic load from
// before it and an atomic store from behind it. Atomic words (ldar, stlr) are
// sequentially consistent, so they stay between the two accesses to the
// slot's sequence.

func loadWord(p *uint64) uint64     { return atomic.LoadUint64(p) }
func storeWord(p *uint64, v uint64) { atomic.StoreUint64(p, v) }
