package zstd

import (
	"encoding/binary"
	"errors"
	"io"
	"math/bits"
)

// Compress writes a frame with src as its content. It reads all of src again and
// again, which may be mapped, and needs 15 MiB beside.
func Compress(w io.Writer, src []byte) error {
	if len(src) > MaxSize {
		return errors.New("more than a frame's content may have")
	}
	head := binary.LittleEndian.AppendUint32(nil, magic)
	head = append(head, 2<<6|1<<5) // a size of four bytes, and no smaller window
	head = binary.LittleEndian.AppendUint32(head, uint32(len(src)))
	if _, err := w.Write(head); err != nil {
		return err
	}
	p := &parser{f: newFinder(src), p: newPrices(), nodes: make([]node, 0, blockSize+1), reps: [3]uint32{1, 4, 8}}
	var b block
	var out []byte
	for at := 0; ; {
		end := min(len(src), at+blockSize)
		out = p.block(out[:0], at, end, &b)
		if _, err := w.Write(out); err != nil {
			return err
		}
		if at = end; at == len(src) {
			return nil
		}
	}
}

// block appends the block with src[at:end].
func (p *parser) block(dst []byte, at, end int, b *block) []byte {
	last := uint32(0)
	if end == len(p.f.src) {
		last = 1
	}
	kind, n := uint32(rawBlock), end-at
	reps := p.reps
	begin := len(dst)
	dst = append(dst, 0, 0, 0)
	switch {
	case same(p.f.src[at:end]):
		kind = rleBlock
		dst = append(dst, p.f.src[at])
	default:
		p.parse(at, end, b)
		dst = b.compressed(dst)
		if kind = compressedBlock; len(dst)-begin-3 < n {
			n = len(dst) - begin - 3
		} else { // raw; its matches have not happened
			kind, p.reps = rawBlock, reps
			dst = append(dst[:begin+3], b.src...)
		}
		p.p.count(b)
		p.p.update()
	}
	h := last | kind<<1 | uint32(n)<<3
	dst[begin], dst[begin+1], dst[begin+2] = byte(h), byte(h>>8), byte(h>>16)
	return dst
}

func same(b []byte) bool {
	if len(b) == 0 {
		return false
	}
	for _, c := range b {
		if c != b[0] {
			return false
		}
	}
	return true
}

func (b *block) compressed(dst []byte) []byte {
	dst = appendLiterals(dst, b.literals)
	n := len(b.sequences)
	switch {
	case n < 128:
		dst = append(dst, byte(n))
	case n < 0x7f00:
		dst = append(dst, byte(n>>8)+128, byte(n))
	default:
		dst = append(dst, 255, byte(n-0x7f00), byte((n-0x7f00)>>8))
	}
	if n == 0 {
		return dst
	}
	return b.appendSequences(dst)
}

// appendLiterals writes literals as they are, or as one, or in a Huffman code.
func appendLiterals(dst, literals []byte) []byte {
	n := len(literals)
	if n > 1 && same(literals) {
		return append(literalHead(dst, n, 1), literals[0])
	}
	if n >= 32 {
		if out := huffmanLiterals(dst, literals); out != nil {
			return out
		}
	}
	return append(literalHead(dst, n, 0), literals...)
}

func literalHead(dst []byte, n int, kind byte) []byte {
	switch {
	case n < 32:
		return append(dst, kind|byte(n)<<3)
	case n < 4096:
		return append(dst, kind|1<<2|byte(n)<<4, byte(n>>4))
	}
	return append(dst, kind|3<<2|byte(n)<<4, byte(n>>4), byte(n>>12))
}

// huffmanLiterals returns nil where it does not pay.
func huffmanLiterals(dst, literals []byte) []byte {
	var counts [256]uint32
	for _, c := range literals {
		counts[c]++
	}
	h, ok := newHuffman(&counts)
	if !ok {
		return nil
	}
	n := len(literals)
	begin := len(dst)
	format, width, head := 3, 18, 5
	if n < 1024 {
		format, width, head = 0, 10, 3
	} else if n < 16384 {
		format, width, head = 2, 14, 4
	}
	dst = append(dst, make([]byte, head)...)
	body := len(dst)
	dst = append(dst, h.table...)
	if format == 0 {
		dst = h.encode(dst, literals)
	} else {
		dst = h.four(dst, literals)
	}
	size := len(dst) - body
	if size >= n || size >= 1<<width {
		return nil
	}
	v := 2 | uint64(format)<<2 | uint64(n)<<4 | uint64(size)<<(4+width)
	for i := range head {
		dst[begin+i] = byte(v >> (8 * i))
	}
	return dst
}

// four writes four streams behind the sizes of three.
func (h *huffman) four(dst, literals []byte) []byte {
	at := len(dst)
	dst = append(dst, make([]byte, 6)...)
	each := (len(literals) + 3) / 4
	for i := range 4 {
		begin := len(dst)
		dst = h.encode(dst, literals[min(i*each, len(literals)):min((i+1)*each, len(literals))])
		if i < 3 {
			binary.LittleEndian.PutUint16(dst[at+2*i:], uint16(len(dst)-begin))
		}
	}
	return dst
}

// appendSequences writes the tables and the sequences, the last one first.
func (b *block) appendSequences(dst []byte) []byte {
	n := len(b.sequences)
	var codes [3][]uint8
	for i := range codes {
		codes[i] = make([]uint8, n)
	}
	for i, s := range b.sequences {
		codes[0][i], codes[1][i], codes[2][i] = literalCode(s.literals), uint8(bits.Len32(s.value)-1), matchCode(s.match)
	}
	at := len(dst)
	dst = append(dst, 0)
	var e [3]*encoder
	for i, t := range tables {
		var mode byte
		dst, e[i], mode = t.choose(dst, codes[i])
		dst[at] |= mode << (6 - 2*i)
	}
	w := &bitWriter{b: dst}
	var state [3]uint32
	for i := n - 1; i >= 0; i-- {
		s := b.sequences[i]
		for _, k := range []int{1, 2, 0} {
			switch {
			case e[k] == nil:
			case i == n-1:
				state[k] = e[k].first(codes[k][i])
			default:
				state[k] = e[k].put(w, state[k], codes[k][i])
			}
		}
		l, m := literalCodes[codes[0][i]], matchCodes[codes[2][i]]
		w.add(s.literals-l.base, l.bits)
		w.add(s.match-m.base, m.bits)
		w.add(s.value&(1<<codes[1][i]-1), codes[1][i])
	}
	for _, k := range []int{2, 1, 0} {
		if e[k] != nil {
			w.add(state[k], e[k].log)
		}
	}
	w.end()
	return w.b
}

// choose makes a table for codes: that of one code, the known one, or one that is
// described; nil stands for the first.
func (t table) choose(dst []byte, list []uint8) ([]byte, *encoder, byte) {
	counts := make([]uint32, t.symbols)
	used := 0
	for _, c := range list {
		if counts[c]++; counts[c] == 1 {
			used++
		}
	}
	if used == 1 {
		return append(dst, list[0]), nil, oneSymbol
	}
	known := len(t.norm)
	for c, n := range counts {
		if n > 0 && c >= known {
			known = 0
		}
	}
	if len(list) < 48 && known > 0 {
		return dst, newEncoder(t.norm, t.log), predefined
	}
	log := logOf(len(list), used, t.most)
	norm := normal(counts, log)
	w := &bitWriter{b: dst}
	putNorm(w, norm, log)
	w.flush()
	return w.b, newEncoder(norm, log), described
}
