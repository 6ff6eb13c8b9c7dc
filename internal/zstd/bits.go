package zstd

import (
	"encoding/binary"
	"math/bits"
)

// bitWriter appends bits, the lowest first. Streams are read from their end.
type bitWriter struct {
	b   []byte
	acc uint64
	n   uint
}

// add appends the n lowest bits of v; at most 32.
func (w *bitWriter) add(v uint32, n uint8) {
	w.acc |= uint64(v) & (1<<n - 1) << w.n
	if w.n += uint(n); w.n >= 32 {
		w.b = binary.LittleEndian.AppendUint32(w.b, uint32(w.acc))
		w.acc >>= 32
		w.n -= 32
	}
}

func (w *bitWriter) flush() {
	for ; w.n > 0; w.n -= min(w.n, 8) {
		w.b = append(w.b, byte(w.acc))
		w.acc >>= 8
	}
	w.acc = 0
}

// end appends the bit that marks the end.
func (w *bitWriter) end() {
	w.add(1, 1)
	w.flush()
}

// bitReader reads from the end. Behind the beginning stand zeros; at is then
// negative.
type bitReader struct {
	b  []byte
	at int // bits that are left
}

func newBitReader(b []byte) (bitReader, bool) {
	if len(b) == 0 || b[len(b)-1] == 0 {
		return bitReader{}, false
	}
	return bitReader{b, 8*(len(b)-1) + bits.Len8(b[len(b)-1]) - 1}, true
}

// peek returns the next n bits; at most 32.
func (r *bitReader) peek(n uint8) uint32 {
	low := r.at - int(n)
	if low >= 0 {
		if i := low >> 3; i+8 <= len(r.b) {
			return uint32(binary.LittleEndian.Uint64(r.b[i:])>>(low&7)) & (1<<n - 1)
		}
	}
	return r.slow(low, n)
}

func (r *bitReader) slow(low int, n uint8) uint32 {
	var v uint64
	i := low >> 3
	for k := range 8 {
		if j := i + k; j >= 0 && j < len(r.b) {
			v |= uint64(r.b[j]) << (8 * k)
		}
	}
	if r.at <= 0 {
		return 0
	}
	return uint32(v>>(low&7)) & (1<<n - 1)
}

func (r *bitReader) read(n uint8) uint32 {
	v := r.peek(n)
	r.at -= int(n)
	return v
}
