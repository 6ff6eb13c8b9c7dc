package delta

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/instar-os/instar/internal/trust"
)

// Front makes what stands before a body: the head with the features it uses,
// the hashes of the body's pieces, and the signatures. The streams' places are
// computed; a head that Read would refuse is an error here.
func Front(h *Head, pieceLog int, body io.Reader, size int64, keys []trust.Private) ([]byte, error) {
	if pieceLog < MinPiece || pieceLog > MaxPiece || len(keys) == 0 || len(keys) > MaxSignatures {
		return nil, fmt.Errorf("an update in pieces of 2^%d bytes, signed by %d keys", pieceLog, len(keys))
	}
	if err := h.check(size); err != nil {
		return nil, fmt.Errorf("making an update: %w", err)
	}
	head := h.encode(nil)
	if len(head) > MaxHead || size > MaxBody || len(h.Entries) > MaxEntries || len(h.Streams) > MaxStreams || len(h.Bases) > MaxBases {
		return nil, fmt.Errorf("making an update: a head of %d and a body of %d bytes, %d contents in %d streams: too large", len(head), size, len(h.Entries), len(h.Streams))
	}
	le := binary.LittleEndian
	out := append([]byte(Magic), make([]byte, prologueSize-len(Magic))...)
	le.PutUint16(out[8:], Version)
	out[10], out[11] = byte(pieceLog), byte(len(keys))
	le.PutUint32(out[12:], uint32(len(head)))
	le.PutUint64(out[16:], uint64(h.features()))
	le.PutUint64(out[24:], uint64(size))
	out = append(out, head...)
	out, err := appendHashes(out, body, size, 1<<pieceLog)
	if err != nil {
		return nil, fmt.Errorf("making an update: %w", err)
	}
	id := sha256.Sum256(out)
	for _, k := range keys {
		s := k.Sign(Purpose, id[:])
		out = append(append(out, s.Key[:]...), s.Bytes[:]...)
	}
	return out, nil
}

func appendHashes(out []byte, body io.Reader, size int64, piece int) ([]byte, error) {
	b := make([]byte, piece)
	for n := 0; size > 0; n++ {
		if n == maxPieces {
			return nil, fmt.Errorf("more than %d pieces", maxPieces)
		}
		k := min(int64(piece), size)
		if _, err := io.ReadFull(body, b[:k]); err != nil {
			return nil, err
		}
		sum := sha256.Sum256(b[:k])
		out = append(out, sum[:]...)
		size -= k
	}
	if n, err := body.Read(b[:1]); n > 0 || err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.Join(err, errors.New("the body is longer than it says"))
	}
	return out, nil
}
