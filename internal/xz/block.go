package xz

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"hash/crc64"
)

// errFilter says that a block is not plain LZMA2 with a known check.
var errFilter = errors.New("xz: a filter chain other than LZMA2")

// filterLZMA2 is the filter's ID (section 5.3.1).
const filterLZMA2 = 0x21

// lzma2 decodes a block as it stands in the file, header and check included.
// kind is the check's ID from the stream flags.
func (b block) lzma2(raw []byte, kind byte) ([]byte, error) {
	head, err := b.header(raw)
	if err != nil {
		return nil, err
	}
	size, ok := checkSizes[kind]
	if !ok {
		return nil, errFilter
	}
	if b.unpadded < uint64(head+size) {
		return nil, errCorrupt
	}
	// Zeros pad the data to four bytes before the check; the index does not
	// count them.
	end := b.unpadded - uint64(size)
	check := uint64(pad4(int64(end)))
	if check+uint64(size) > uint64(len(raw)) || len(bytes.Trim(raw[end:check], "\x00")) != 0 {
		return nil, errCorrupt
	}
	out := make([]byte, b.size)
	n, err := decodeLZMA2(out, raw[head:end])
	if err != nil {
		return nil, err
	}
	if head+n != int(end) {
		return nil, errCorrupt
	}
	if !bytes.Equal(sum(kind, out), raw[check:check+uint64(size)]) {
		return nil, errors.New("xz: the content does not have its checksum")
	}
	return out, nil
}

// header returns the length of the block header (section 3.1) when its only
// filter is LZMA2.
func (b block) header(raw []byte) (int, error) {
	if len(raw) < 8 || raw[0] == 0 {
		return 0, errCorrupt
	}
	n := (int(raw[0]) + 1) * 4
	if n > len(raw) {
		return 0, errTruncated
	}
	if crc32.ChecksumIEEE(raw[:n-4]) != binary.LittleEndian.Uint32(raw[n-4:]) {
		return 0, errors.New("xz: a block header does not have its checksum")
	}
	flags, rest := raw[1], raw[2:n-4]
	if flags&0x3f != 0 {
		return 0, errFilter
	}
	for _, present := range []byte{0x40, 0x80} { // compressed size, uncompressed size
		if flags&present == 0 {
			continue
		}
		v, k := binary.Uvarint(rest)
		if k <= 0 || (present == 0x80 && v != b.size) {
			return 0, errCorrupt
		}
		rest = rest[k:]
	}
	if len(rest) < 3 || rest[0] != filterLZMA2 || rest[1] != 1 || len(bytes.Trim(rest[3:], "\x00")) != 0 {
		return 0, errFilter
	}
	return n, nil
}

// checkSizes are the lengths of the checks that are verified here, by ID
// (section 2.1.1.2).
var checkSizes = map[byte]int{0: 0, 1: 4, 4: 8, 10: 32}

var crc64Table = crc64.MakeTable(crc64.ECMA)

func sum(kind byte, content []byte) []byte {
	switch kind {
	case 1:
		return binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE(content))
	case 4:
		return binary.LittleEndian.AppendUint64(nil, crc64.Checksum(content, crc64Table))
	case 10:
		s := sha256.Sum256(content)
		return s[:]
	}
	return nil
}
