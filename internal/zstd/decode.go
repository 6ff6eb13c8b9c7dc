package zstd

import (
	"errors"
	"fmt"
)

// Decompress fills dst, which has the frame's Size, with the content of a frame.
// A checksum at its end is not compared: who calls has a digest. What follows the
// frame is not read. Beside dst it needs 200 KiB.
func Decompress(dst, frame []byte) error {
	n, size, err := header(frame)
	if err != nil {
		return err
	}
	if size != len(dst) {
		return fmt.Errorf("%w: %d bytes in a place for %d", ErrDamaged, size, len(dst))
	}
	d := &decompressor{dst: dst, reps: [3]uint32{1, 4, 8}, literals: make([]byte, 0, blockSize)}
	if err := d.blocks(frame[n:]); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return nil
}

type decompressor struct {
	dst      []byte
	at       int
	reps     [3]uint32
	literals []byte
	code     *letters
	tables   [3][]cell // literal lengths, offsets, match lengths
	logs     [3]uint8
}

var errCut = errors.New("cut, or longer than it says")

func (d *decompressor) blocks(b []byte) error {
	for {
		if len(b) < 3 {
			return errCut
		}
		h := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16
		b = b[3:]
		n, kind := int(h>>3), h>>1&3
		stored := n
		if kind == rleBlock {
			stored = 1
		}
		if n > blockSize || stored > len(b) {
			return errCut
		}
		if err := d.block(kind, n, b[:stored]); err != nil {
			return err
		}
		b = b[stored:]
		if h&1 != 0 {
			break
		}
	}
	if d.at != len(d.dst) {
		return errCut
	}
	return nil
}

func (d *decompressor) block(kind uint32, n int, b []byte) error {
	switch kind {
	case compressedBlock:
		return d.compressed(b)
	case rawBlock, rleBlock:
		if n > len(d.dst)-d.at {
			return errCut
		}
		to := d.dst[d.at : d.at+n]
		if d.at += n; kind == rawBlock {
			copy(to, b)
			return nil
		}
		for i := range to {
			to[i] = b[0]
		}
		return nil
	}
	return errors.New("a block of no known kind")
}

func (d *decompressor) compressed(b []byte) error {
	n, err := d.readLiterals(b)
	if err != nil {
		return err
	}
	b = b[n:]
	if len(b) == 0 {
		return errCut
	}
	count := int(b[0])
	switch {
	case count == 255 && len(b) >= 3:
		count, b = int(b[1])+int(b[2])<<8+0x7f00, b[3:]
	case count >= 128 && len(b) >= 2:
		count, b = (count-128)<<8+int(b[1]), b[2:]
	case count < 128:
		b = b[1:]
	default:
		return errCut
	}
	if count == 0 {
		return d.rest(b, d.literals)
	}
	if len(b) == 0 || b[0]&3 != 0 {
		return errCut
	}
	modes := b[0]
	b = b[1:]
	for i, t := range tables {
		n, err := d.table(i, t, modes>>(6-2*i)&3, b)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return d.sequences(b, count)
}

// rest takes the literals behind the last match.
func (d *decompressor) rest(b, literals []byte) error {
	if len(b) > 0 || len(literals) > len(d.dst)-d.at {
		return errCut
	}
	d.at += copy(d.dst[d.at:], literals)
	return nil
}

// readLiterals decodes the literals of a block, and returns how long they are there.
func (d *decompressor) readLiterals(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, errCut
	}
	kind, format := b[0]&3, b[0]>>2&3
	var v uint64
	for i := range min(len(b), 5) {
		v |= uint64(b[i]) << (8 * i)
	}
	if kind < 2 { // raw, or one byte
		head, size := 1, int(v>>3&31)
		switch format {
		case 1:
			head, size = 2, int(v>>4&0xfff)
		case 3:
			head, size = 3, int(v>>4&0xfffff)
		}
		stored := size
		if kind == 1 {
			stored = 1
		}
		if size > blockSize || head+stored > len(b) {
			return 0, errCut
		}
		d.literals = append(d.literals[:0], b[head:head+stored]...)
		for kind == 1 && len(d.literals) < size {
			d.literals = append(d.literals, b[head])
		}
		d.literals = d.literals[:size]
		return head + stored, nil
	}
	head, width := 3, 10
	switch format {
	case 2:
		head, width = 4, 14
	case 3:
		head, width = 5, 18
	}
	size, stored := int(v>>4)&(1<<width-1), int(v>>(4+width))&(1<<width-1)
	if size > blockSize || head+stored > len(b) {
		return 0, errCut
	}
	return head + stored, d.huffman(b[head:head+stored], size, kind == 3, format != 0)
}

func (d *decompressor) huffman(b []byte, size int, again, four bool) error {
	if !again {
		code, n, err := readHuffman(b)
		if err != nil {
			return err
		}
		d.code, b = code, b[n:]
	}
	if d.code == nil {
		return errHuffman
	}
	d.literals = d.literals[:size]
	if !four {
		return d.code.decode(d.literals, b)
	}
	if len(b) < 6 || size < 6 {
		return errCut
	}
	each := (size + 3) / 4
	to, sizes := d.literals, b[:6]
	b = b[6:]
	for i := range 3 {
		n := int(sizes[2*i]) | int(sizes[2*i+1])<<8
		if n > len(b) || each > len(to) {
			return errCut
		}
		if err := d.code.decode(to[:each], b[:n]); err != nil {
			return err
		}
		to, b = to[each:], b[n:]
	}
	return d.code.decode(to, b)
}

// table is one of the three of a block's sequences.
type table struct {
	symbols int
	most    uint8 // accuracy
	norm    []int16
	log     uint8 // of norm
}

// tables in the order in which blocks have them.
var tables = [3]table{
	{maxLiteralCode + 1, literalMaxLog, literalDefault, literalDefaultLog},
	{maxOffsetCode + 1, offsetMaxLog, offsetDefault, offsetDefaultLog},
	{maxMatchCode + 1, matchMaxLog, matchDefault, matchDefaultLog},
}

// Modes of tables.
const (
	predefined = iota
	oneSymbol
	described
	repeated
)

func (d *decompressor) table(i int, t table, mode byte, b []byte) (int, error) {
	switch mode {
	case predefined:
		d.tables[i], d.logs[i] = newDecoder(t.norm, t.log), t.log
	case oneSymbol:
		if len(b) == 0 || int(b[0]) >= t.symbols {
			return 0, errTable
		}
		d.tables[i], d.logs[i] = []cell{{symbol: b[0]}}, 0
		return 1, nil
	case described:
		norm, log, n, err := getNorm(b, t.symbols, t.most)
		if err != nil {
			return 0, err
		}
		d.tables[i], d.logs[i] = newDecoder(norm, log), log
		return n, nil
	case repeated:
		if d.tables[i] == nil {
			return 0, errTable
		}
	}
	return 0, nil
}

func (d *decompressor) sequences(b []byte, count int) error {
	r, ok := newBitReader(b)
	if !ok {
		return errCut
	}
	begin := d.at
	literals := d.literals
	ll := d.tables[0][r.read(d.logs[0])]
	of := d.tables[1][r.read(d.logs[1])]
	ml := d.tables[2][r.read(d.logs[2])]
	for i := range count {
		value := uint32(1)<<of.symbol | r.read(of.symbol)
		c := matchCodes[ml.symbol]
		match := int(c.base + r.read(c.bits))
		c = literalCodes[ll.symbol]
		plain := int(c.base + r.read(c.bits))
		if r.at < 0 {
			return errCut
		}
		if i+1 < count {
			ll = d.tables[0][int(ll.next)+int(r.read(ll.bits))]
			ml = d.tables[2][int(ml.next)+int(r.read(ml.bits))]
			of = d.tables[1][int(of.next)+int(r.read(of.bits))]
		}
		offset := int(distance(&d.reps, value, plain == 0))
		if plain > len(literals) || plain+match > len(d.dst)-d.at || offset == 0 || offset > d.at+plain || d.at+plain+match-begin > blockSize {
			return errCut
		}
		d.at += copy(d.dst[d.at:], literals[:plain])
		literals = literals[plain:]
		d.match(offset, match)
	}
	if r.at != 0 {
		return errCut
	}
	return d.rest(nil, literals)
}

// match repeats what stood so far back.
func (d *decompressor) match(offset, n int) {
	for n > 0 {
		k := copy(d.dst[d.at:d.at+n], d.dst[d.at-offset:d.at])
		d.at += k
		n -= k
	}
}

// distance tells how far back a match is, and remembers it (3.1.1.5).
func distance(reps *[3]uint32, value uint32, noLiterals bool) uint32 {
	if value > 3 {
		reps[0], reps[1], reps[2] = value-3, reps[0], reps[1]
		return reps[0]
	}
	i := value - 1
	if noLiterals {
		i++
	}
	var offset uint32
	if i == 3 {
		offset = reps[0] - 1
	} else {
		offset = reps[i]
	}
	switch i {
	case 0:
	case 1:
		reps[0], reps[1] = offset, reps[0]
	default:
		reps[0], reps[1], reps[2] = offset, reps[0], reps[1]
	}
	return offset
}
