package xz

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// Sizes of fixed parts of a stream, in bytes.
const (
	headerSize = 12
	footerSize = 12
)

// Limits of an index that is worth decoding in parallel.
const (
	maxIndex  = 1 << 20 // bytes
	maxBlocks = 1 << 16
)

var (
	headerMagic = []byte{0xfd, '7', 'z', 'X', 'Z', 0}
	footerMagic = []byte{'Y', 'Z'}
)

// errShape says that a file is not one plain stream whose index can be used;
// it may still be a valid file for the sequential reader.
var errShape = errors.New("xz: not a single stream")

// block is one record of an index.
type block struct {
	offset   int64  // of the block header within the file
	unpadded uint64 // bytes of header, data and check, without the padding
	size     uint64 // bytes when decoded
}

// readIndex returns the stream flags and the blocks of a file that is a single
// stream without padding.
func readIndex(r io.ReaderAt, size int64) (flags [2]byte, blocks []block, err error) {
	if size < headerSize+footerSize+8 {
		return flags, nil, errShape
	}
	var head, foot [headerSize]byte
	if _, err := r.ReadAt(head[:], 0); err != nil {
		return flags, nil, err
	}
	if _, err := r.ReadAt(foot[:], size-footerSize); err != nil {
		return flags, nil, err
	}
	flags = [2]byte(head[6:8])
	if !bytes.Equal(head[:6], headerMagic) || !bytes.Equal(foot[10:], footerMagic) ||
		flags != [2]byte(foot[8:10]) || crc32.ChecksumIEEE(foot[4:10]) != binary.LittleEndian.Uint32(foot[:4]) {
		return flags, nil, errShape
	}
	n := (int64(binary.LittleEndian.Uint32(foot[4:8])) + 1) * 4
	if n > maxIndex || n > size-headerSize-footerSize {
		return flags, nil, errShape
	}
	index := make([]byte, n)
	if _, err := r.ReadAt(index, size-footerSize-n); err != nil {
		return flags, nil, err
	}
	blocks, err = parseIndex(index, size-footerSize-n)
	return flags, blocks, err
}

// parseIndex decodes the index field; end is its offset in the file, where the
// last block must stop.
func parseIndex(index []byte, end int64) ([]block, error) {
	body, sum := index[:len(index)-4], index[len(index)-4:]
	if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(sum) || body[0] != 0 {
		return nil, errShape
	}
	rest := body[1:]
	next := func() (uint64, bool) {
		v, n := binary.Uvarint(rest)
		if n <= 0 || n > 9 {
			return 0, false
		}
		rest = rest[n:]
		return v, true
	}
	count, ok := next()
	if !ok || count > maxBlocks {
		return nil, errShape
	}
	blocks := make([]block, 0, count)
	at := int64(headerSize)
	for range count {
		unpadded, ok1 := next()
		size, ok2 := next()
		if !ok1 || !ok2 || unpadded < 5 || unpadded > uint64(end-at) {
			return nil, errShape
		}
		blocks = append(blocks, block{at, unpadded, size})
		at += pad4(int64(unpadded))
	}
	if at != end || len(rest) > 3 {
		return nil, errShape
	}
	return blocks, nil
}

func pad4(n int64) int64 { return (n + 3) &^ 3 }

// stream returns a file that holds nothing but the block b of r: the stream
// header, the block, an index of one record and a footer.
func (b block) stream(r io.ReaderAt, flags [2]byte) io.Reader {
	head := append(bytes.Clone(headerMagic), flags[:]...)
	head = binary.LittleEndian.AppendUint32(head, crc32.ChecksumIEEE(flags[:]))

	index := []byte{0, 1}
	index = binary.AppendUvarint(index, b.unpadded)
	index = binary.AppendUvarint(index, b.size)
	for len(index)%4 != 0 {
		index = append(index, 0)
	}
	index = binary.LittleEndian.AppendUint32(index, crc32.ChecksumIEEE(index))

	foot := binary.LittleEndian.AppendUint32(nil, uint32(len(index)/4-1))
	foot = append(foot, flags[:]...)
	tail := binary.LittleEndian.AppendUint32(index, crc32.ChecksumIEEE(foot))
	tail = append(append(tail, foot...), footerMagic...)

	return io.MultiReader(bytes.NewReader(head),
		io.NewSectionReader(r, b.offset, pad4(int64(b.unpadded))), bytes.NewReader(tail))
}

// decode returns the content of the block: by the decoder of this package when
// the block has no filter but LZMA2, as all but a few do, else by the module.
func (b block) decode(r io.ReaderAt, flags [2]byte) ([]byte, error) {
	raw := make([]byte, pad4(int64(b.unpadded)))
	if _, err := r.ReadAt(raw, b.offset); err != nil && err != io.EOF {
		return nil, fmt.Errorf("xz: block at offset %d: %w", b.offset, err)
	}
	out, err := b.lzma2(raw, flags[1])
	if errors.Is(err, errFilter) {
		out, err = b.foreign(r, flags)
	}
	if err != nil {
		return nil, fmt.Errorf("xz: block at offset %d: %w", b.offset, err)
	}
	return out, nil
}

// foreign decodes the block by the module.
func (b block) foreign(r io.ReaderAt, flags [2]byte) ([]byte, error) {
	z, err := NewReader(b.stream(r, flags))
	if err != nil {
		return nil, err
	}
	out := make([]byte, b.size)
	if _, err := io.ReadFull(z, out); err != nil {
		return nil, noEOF(err)
	}
	if n, err := z.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		return nil, cmpErr(err)
	}
	return out, nil
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func cmpErr(err error) error {
	if err == nil || err == io.EOF {
		return errors.New("it is longer than the index says")
	}
	return err
}
