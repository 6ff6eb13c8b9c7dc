package deflate

import "math/bits"

// Symbols of a block (RFC 1951, 3.2.5 and 3.2.7).
const (
	endOfBlock = 256
	literals   = 286
	distances  = 30
	maxBits    = 15
	clenBits   = 7
	maxStored  = 65535
)

// clenOrder is the order in which the lengths of the code length code stand.
var clenOrder = [19]int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// writer writes bits, the lowest first.
type writer struct {
	out  []byte
	bits uint64
	n    uint
}

func (w *writer) put(v uint64, n uint) {
	w.bits |= v << w.n
	for w.n += n; w.n >= 8; w.n -= 8 {
		w.out = append(w.out, byte(w.bits))
		w.bits >>= 8
	}
}

func (w *writer) align() {
	if w.n > 0 {
		w.put(0, 8-w.n)
	}
}

func (w *writer) end() []byte {
	w.align()
	return w.out
}

// lengthSymbol returns the symbol of a match's length and its extra bits.
func lengthSymbol(length int) (symbol int, extra uint64, n uint) {
	switch v := length - minMatch; {
	case length == maxMatch:
		return 285, 0, 0
	case v < 8:
		return 257 + v, 0, 0
	default:
		n = uint(bits.Len(uint(v))) - 3
		return 257 + int(4*n) + v>>n, uint64(v) & (1<<n - 1), n
	}
}

// distanceSymbol does the same for a distance.
func distanceSymbol(distance int) (symbol int, extra uint64, n uint) {
	v := distance - 1
	if v < 4 {
		return v, 0, 0
	}
	n = uint(bits.Len(uint(v))) - 2
	return int(2*n) + v>>n, uint64(v) & (1<<n - 1), n
}

// block writes tokens, which make content, with codes of their own, or the
// content as it is where that is shorter.
func (w *writer) block(tokens []token, content []byte, final bool) {
	var lit [literals]int
	var dist [distances]int
	lit[endOfBlock] = 1
	cost := 0 // extra bits
	for _, t := range tokens {
		if t&isMatch == 0 {
			lit[t]++
			continue
		}
		length, distance := t.parts()
		s, _, n := lengthSymbol(length)
		d, _, k := distanceSymbol(distance)
		lit[s]++
		dist[d]++
		cost += int(n + k)
	}
	litCode, distCode := newCode(lit[:], maxBits), newCode(dist[:], maxBits)
	header := newHeader(litCode, distCode)
	cost += header.cost + litCode.cost(lit[:]) + distCode.cost(dist[:])
	if cost/8 >= len(content)+5*(len(content)/maxStored+1) {
		w.stored(content, final)
		return
	}
	w.put(flag(final)|2<<1, 3)
	header.write(w)
	for _, t := range tokens {
		if t&isMatch == 0 {
			litCode.put(w, int(t))
			continue
		}
		length, distance := t.parts()
		s, extra, n := lengthSymbol(length)
		litCode.put(w, s)
		w.put(extra, n)
		s, extra, n = distanceSymbol(distance)
		distCode.put(w, s)
		w.put(extra, n)
	}
	litCode.put(w, endOfBlock)
}

func flag(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

func (w *writer) stored(content []byte, final bool) {
	for first := true; first || len(content) > 0; first = false {
		n := min(len(content), maxStored)
		w.put(flag(final && n == len(content)), 3)
		w.align()
		w.out = append(w.out, byte(n), byte(n>>8), byte(^n), byte(^n>>8))
		w.out = append(w.out, content[:n]...)
		content = content[n:]
	}
}

// header is how the codes of a block are told: lengths, run-length coded.
type header struct {
	lits, dists int
	symbols     []run
	code        *code
	clens       int
	cost        int // bits
}

// run is a symbol of the code length code.
type run struct {
	symbol int
	extra  uint64
	n      uint
}

func newHeader(lit, dist *code) *header {
	h := &header{lits: 257, dists: 1, clens: 4}
	for i, l := range lit.lengths {
		if l > 0 {
			h.lits = max(h.lits, i+1)
		}
	}
	for i, l := range dist.lengths {
		if l > 0 {
			h.dists = max(h.dists, i+1)
		}
	}
	h.runs(append(append([]byte(nil), lit.lengths[:h.lits]...), dist.lengths[:h.dists]...))
	var count [19]int
	for _, r := range h.symbols {
		count[r.symbol]++
		h.cost += int(r.n)
	}
	h.code = newCode(count[:], clenBits)
	for i, s := range clenOrder {
		if h.code.lengths[s] > 0 {
			h.clens = max(h.clens, i+1)
		}
	}
	h.cost += 3 + 14 + 3*h.clens + h.code.cost(count[:])
	return h
}

// runs codes lengths: 16 repeats the last one, 17 and 18 are zeros.
func (h *header) runs(lengths []byte) {
	for i := 0; i < len(lengths); {
		l, n := lengths[i], 1
		for i+n < len(lengths) && lengths[i+n] == l {
			n++
		}
		i += n
		if l > 0 {
			h.symbols = append(h.symbols, run{symbol: int(l)})
			n--
		}
		for n > 0 {
			switch k := n; {
			case l == 0 && n >= 11:
				k = min(n, 138)
				h.symbols = append(h.symbols, run{18, uint64(k - 11), 7})
				n -= k
			case l == 0 && n >= 3:
				h.symbols = append(h.symbols, run{17, uint64(k - 3), 3})
				n = 0
			case l > 0 && n >= 3:
				k = min(n, 6)
				h.symbols = append(h.symbols, run{16, uint64(k - 3), 2})
				n -= k
			default:
				h.symbols = append(h.symbols, run{symbol: int(l)})
				n--
			}
		}
	}
}

func (h *header) write(w *writer) {
	w.put(uint64(h.lits-257), 5)
	w.put(uint64(h.dists-1), 5)
	w.put(uint64(h.clens-4), 4)
	for _, s := range clenOrder[:h.clens] {
		w.put(uint64(h.code.lengths[s]), 3)
	}
	for _, r := range h.symbols {
		h.code.put(w, r.symbol)
		w.put(r.extra, r.n)
	}
}
