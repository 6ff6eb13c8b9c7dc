package zstd

import (
	"errors"
	"math/bits"
)

// spread lays symbols out over the states of a table (RFC 8878, 4.1.1).
func spread(norm []int16, log uint8) []uint8 {
	size := 1 << log
	table := make([]uint8, size)
	high := size - 1
	for s, n := range norm {
		if n == -1 {
			table[high] = uint8(s)
			high--
		}
	}
	at, step, mask := 0, size>>1+size>>3+3, size-1
	for s, n := range norm {
		for range max(n, 0) {
			table[at] = uint8(s)
			for at = (at + step) & mask; at > high; at = (at + step) & mask {
			}
		}
	}
	return table
}

// encoder is an FSE table to write with.
type encoder struct {
	log    uint8
	states []uint16
	bits   []uint32 // of each symbol: bits of a transition, scaled
	find   []int32
}

func newEncoder(norm []int16, log uint8) *encoder {
	size := 1 << log
	table := spread(norm, log)
	e := &encoder{log: log, states: make([]uint16, size), bits: make([]uint32, len(norm)), find: make([]int32, len(norm))}
	next := make([]int, len(norm)+1)
	for s, n := range norm {
		next[s+1] = next[s] + max(int(n), -int(n))
	}
	place := append([]int(nil), next...)
	for u, s := range table {
		e.states[place[s]] = uint16(size + u)
		place[s]++
	}
	for s, n := range norm {
		switch {
		case n == 1 || n == -1:
			e.bits[s] = uint32(log)<<16 - uint32(size)
			e.find[s] = int32(next[s] - 1)
		case n > 1:
			most := uint32(log) - uint32(bits.Len16(uint16(n-1))-1)
			e.bits[s] = most<<16 - uint32(n)<<most
			e.find[s] = int32(next[s] - int(n))
		}
	}
	return e
}

// first is the state that stands for a symbol alone.
func (e *encoder) first(s uint8) uint32 {
	n := (e.bits[s] + 1<<15) >> 16
	v := n<<16 - e.bits[s]
	return uint32(e.states[int32(v>>n)+e.find[s]])
}

// put writes what leads from a state to the one before, which stands for s.
func (e *encoder) put(w *bitWriter, state uint32, s uint8) uint32 {
	n := (state + e.bits[s]) >> 16
	w.add(state, uint8(n))
	return uint32(e.states[int32(state>>n)+e.find[s]])
}

// normal scales counts to a sum of 1 << log; every symbol that occurs keeps at
// least one.
func normal(counts []uint32, log uint8) []int16 {
	total, size := uint64(0), uint64(1)<<log
	for _, c := range counts {
		total += uint64(c)
	}
	norm := make([]int16, len(counts))
	left, largest := int(size), 0
	for s, c := range counts {
		if c == 0 {
			continue
		}
		n := max(1, int((uint64(c)*size+total/2)/total))
		norm[s] = int16(n)
		left -= n
		if c > counts[largest] {
			largest = s
		}
	}
	// What rounding took is taken from those that have most.
	for left != 0 {
		if left > 0 {
			norm[largest] += int16(left)
			break
		}
		big := 0
		for s, n := range norm {
			if n > norm[big] {
				big = s
			}
		}
		take := min(-left, max(1, int(norm[big])/8))
		norm[big] -= int16(take)
		left += take
	}
	return norm
}

// logOf chooses the accuracy of a table for so many symbols.
func logOf(total int, used int, most uint8) uint8 {
	log := min(int(most), bits.Len(uint(total))-2)
	return uint8(max(log, bits.Len(uint(used)), 5))
}

// putNorm writes a distribution (RFC 8878, 4.1.1).
func putNorm(w *bitWriter, norm []int16, log uint8) {
	for len(norm) > 0 && norm[len(norm)-1] == 0 {
		norm = norm[:len(norm)-1]
	}
	w.add(uint32(log-5), 4)
	remaining, threshold, n := int32(1)<<log+1, int32(1)<<log, log+1
	zero := false
	for s := 0; s < len(norm) && remaining > 1; {
		if zero {
			begin := s
			for norm[s] == 0 {
				s++
			}
			for ; s >= begin+3; begin += 3 {
				w.add(3, 2)
			}
			w.add(uint32(s-begin), 2)
		}
		count := int32(norm[s])
		s++
		most := 2*threshold - 1 - remaining
		remaining -= max(count, -count)
		count++
		zero = count == 1
		if count >= threshold {
			count += most
		}
		short := uint8(0)
		if count < most {
			short = 1
		}
		w.add(uint32(count), n-short)
		for ; remaining < threshold; threshold >>= 1 {
			n--
		}
	}
}

// cell is a state of a table to read with.
type cell struct {
	next   uint16
	symbol uint8
	bits   uint8
}

func newDecoder(norm []int16, log uint8) []cell {
	size := 1 << log
	next := make([]uint16, len(norm))
	for s, n := range norm {
		next[s] = uint16(max(n, -n))
	}
	out := make([]cell, size)
	for u, s := range spread(norm, log) {
		n := log - uint8(bits.Len16(next[s])-1)
		out[u] = cell{symbol: s, bits: n, next: next[s]<<n - uint16(size)}
		next[s]++
	}
	return out
}

var errTable = errors.New("a distribution that adds up to nothing")

// getNorm reads a distribution of at most so many symbols, and how many bytes it
// takes.
func getNorm(b []byte, symbols int, most uint8) (norm []int16, log uint8, used int, err error) {
	at := 0
	peek := func(n uint8) int32 {
		var v uint64
		for k := range 4 {
			if i := at>>3 + k; i < len(b) {
				v |= uint64(b[i]) << (8 * k)
			}
		}
		return int32(v >> (at & 7) & (1<<n - 1))
	}
	log = uint8(peek(4)) + 5
	at += 4
	if log > most {
		return nil, 0, 0, errTable
	}
	remaining, threshold, n := int32(1)<<log+1, int32(1)<<log, log+1
	for remaining > 1 {
		if at > 8*len(b) || len(norm) >= symbols {
			return nil, 0, 0, errTable
		}
		most := 2*threshold - 1 - remaining
		count := peek(n)
		if low := count & (threshold - 1); low < most {
			count = low
			at += int(n) - 1
		} else {
			if count >= threshold {
				count -= most
			}
			at += int(n)
		}
		count--
		remaining -= max(count, -count)
		norm = append(norm, int16(count))
		for again := count == 0; again; {
			k := peek(2)
			at += 2
			for range k {
				norm = append(norm, 0)
			}
			if again = k == 3; len(norm) > symbols {
				return nil, 0, 0, errTable
			}
		}
		for ; remaining < threshold && threshold > 1; threshold >>= 1 {
			n--
		}
	}
	if used = (at + 7) >> 3; remaining != 1 || used > len(b) {
		return nil, 0, 0, errTable
	}
	return norm, log, used, nil
}
