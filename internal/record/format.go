package record

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
)

// One copy on disk; numbers are little-endian. docs/format/record.md says more.
//
//	0   magic, 8 bytes
//	8   version, 4 bytes
//	12  length of the payload, 4 bytes
//	16  sequence, 8 bytes: the copy with the higher one is the newer
//	24  zeros, 8 bytes
//	32  SHA-256 of bytes 0 to 31 and the payload
//	64  payload: JSON of Record, then zeros to a multiple of sector
const (
	magic      = "instarRC"
	version    = 1
	headerSize = 64
	sumAt      = 32
	sector     = 4096
	maxPayload = 256 << 10
	minCopy    = sector
)

var (
	errDamaged = errors.New("damaged")
	errBlank   = fmt.Errorf("%w: nothing but zeros", errDamaged)
)

// Encode returns the bytes of one copy. The sequence is 1 or more.
func Encode(r Record, sequence uint64) ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("encoding a record: %w", err)
	}
	payload, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encoding a record: %w", err)
	}
	if len(payload) > maxPayload || sequence == 0 || sequence > 1<<63 {
		return nil, fmt.Errorf("encoding a record: %d bytes with sequence %d", len(payload), sequence)
	}
	n := (headerSize + len(payload) + sector - 1) / sector * sector
	b := make([]byte, n)
	copy(b, magic)
	binary.LittleEndian.PutUint32(b[8:], version)
	binary.LittleEndian.PutUint32(b[12:], uint32(len(payload)))
	binary.LittleEndian.PutUint64(b[16:], sequence)
	copy(b[headerSize:], payload)
	sum := checksum(b, len(payload))
	copy(b[sumAt:], sum[:])
	return b, nil
}

func checksum(b []byte, payload int) (sum [sha256.Size]byte) {
	h := sha256.New()
	h.Write(b[:sumAt])
	h.Write(b[headerSize : headerSize+payload])
	h.Sum(sum[:0])
	return sum
}

// length returns how many bytes header and payload have by the header.
func length(h []byte) (int64, error) {
	if len(h) < headerSize {
		return 0, fmt.Errorf("%w: %d bytes", errDamaged, len(h))
	}
	n := binary.LittleEndian.Uint32(h[12:])
	switch {
	case bytes.Equal(h, make([]byte, len(h))):
		return 0, errBlank
	case string(h[:8]) != magic:
		return 0, fmt.Errorf("%w: it does not begin with %q", errDamaged, magic)
	case binary.LittleEndian.Uint32(h[8:]) != version:
		return 0, fmt.Errorf("%w: version %d; %d is known", errDamaged, binary.LittleEndian.Uint32(h[8:]), version)
	case n > maxPayload:
		return 0, fmt.Errorf("%w: a payload of %d bytes", errDamaged, n)
	}
	return headerSize + int64(n), nil
}

// Decode reads one copy. Fields that it does not know are skipped: an older
// system must be able to read what a newer one wrote before it was rolled back.
func Decode(b []byte) (*Record, uint64, error) {
	n, err := length(b)
	if err != nil {
		return nil, 0, err
	}
	if n > int64(len(b)) {
		return nil, 0, fmt.Errorf("%w: %d bytes of %d", errDamaged, len(b), n)
	}
	if sum := checksum(b, int(n)-headerSize); !bytes.Equal(sum[:], b[sumAt:headerSize]) {
		return nil, 0, fmt.Errorf("%w: wrong checksum", errDamaged)
	}
	seq := binary.LittleEndian.Uint64(b[16:])
	r := new(Record)
	if err := json.Unmarshal(b[headerSize:n], r); err != nil {
		return nil, 0, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if err := r.check(); err != nil || seq == 0 || seq > 1<<63 {
		return nil, 0, fmt.Errorf("%w: sequence %d: %w", errDamaged, seq, err)
	}
	return r, seq, nil
}
