package delta

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/instar-os/instar/internal/trust"
)

// Update is an update whose head was read, and verified unless Inspect made it.
type Update struct {
	Head
	ID        [sha256.Size]byte // of all that is signed
	Signer    trust.ID          // whose signature held; zero for Inspect
	Front     int64             // bytes before the body
	BodySize  int64             // bytes
	PieceSize int64             // bytes

	Signatures []trust.Signature
	hashes     []byte // of the pieces
}

// ErrForeign says that something is no update at all.
var ErrForeign = errors.New("this is no update of instar")

// Read reads what stands before the body and verifies its signature, before
// anything of it is understood but sizes. Behind it, r is at the body's begin.
func Read(r io.Reader, keys trust.Keys) (*Update, error) {
	u, err := read(r, func(u *Update) (err error) {
		u.Signer, err = keys.Verify(Purpose, u.ID[:], u.Signatures)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading an update: %w", err)
	}
	return u, nil
}

// Inspect reads as Read does, without a look at signatures. What it returns
// may be shown, and not acted upon.
func Inspect(r io.Reader) (*Update, error) {
	u, err := read(r, func(*Update) error { return nil })
	if err != nil {
		return nil, fmt.Errorf("reading an update: %w", err)
	}
	return u, nil
}

func read(r io.Reader, verify func(*Update) error) (*Update, error) {
	prologue, err := readOn(nil, r, prologueSize)
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	version, log, signatures := le.Uint16(prologue[8:]), prologue[10], int(prologue[11])
	headSize, features, body := le.Uint32(prologue[12:]), Features(le.Uint64(prologue[16:])), le.Uint64(prologue[24:])
	switch {
	case string(prologue[:8]) != Magic:
		return nil, ErrForeign
	case version != Version:
		return nil, fmt.Errorf("format version %d; this instar reads version %d", version, Version)
	case features&^Known() != 0:
		return nil, fmt.Errorf("it needs features %#x that this instar does not know: update in smaller steps", uint64(features&^Known()))
	case log < MinPiece || log > MaxPiece:
		return nil, fmt.Errorf("pieces of 2^%d bytes", log)
	case headSize > MaxHead || body > MaxBody || signatures > MaxSignatures:
		return nil, fmt.Errorf("a head of %d and a body of %d bytes with %d signatures: too large", headSize, body, signatures)
	}
	u := &Update{BodySize: int64(body), PieceSize: 1 << log}
	if u.Pieces() > maxPieces {
		return nil, fmt.Errorf("%d pieces, more than %d", u.Pieces(), maxPieces)
	}
	signed, err := readOn(prologue, r, int(headSize)+u.Pieces()*hashSize)
	if err != nil {
		return nil, err
	}
	u.ID = sha256.Sum256(signed)
	u.hashes = signed[prologueSize+int(headSize):]
	tail, err := readOn(nil, r, signatures*signatureSize)
	if err != nil {
		return nil, err
	}
	for ; len(tail) > 0; tail = tail[signatureSize:] {
		u.Signatures = append(u.Signatures, trust.Signature{Key: trust.ID(tail[:8]), Bytes: [64]byte(tail[8:signatureSize])})
	}
	if err := verify(u); err != nil {
		return nil, err
	}
	u.Front = int64(len(signed) + signatures*signatureSize)
	h, err := parseHead(signed[prologueSize:][:headSize], u.BodySize)
	if err != nil {
		return nil, fmt.Errorf("its head: %w", err)
	}
	if h.features() != features {
		return nil, fmt.Errorf("its head: features %#x are used and %#x announced", uint64(h.features()), uint64(features))
	}
	u.Head = *h
	return u, nil
}

// readOn reads n bytes behind those of b. Memory grows with what really comes.
func readOn(b []byte, r io.Reader, n int) ([]byte, error) {
	const step = 1 << 20
	for n > 0 {
		k := min(n, step)
		at := len(b)
		b = append(b, make([]byte, k)...)
		if _, err := io.ReadFull(r, b[at:]); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				err = fmt.Errorf("it is cut off: %w", io.ErrUnexpectedEOF)
			}
			return nil, err
		}
		n -= k
	}
	return b, nil
}

// Pieces returns how many pieces the body has.
func (u *Update) Pieces() int { return int((u.BodySize + u.PieceSize - 1) / u.PieceSize) }

// Piece returns where a piece of the body begins and its length.
func (u *Update) Piece(i int) (offset, size int64) {
	offset = int64(i) * u.PieceSize
	return offset, min(u.PieceSize, u.BodySize-offset)
}

// Check compares a piece with its signed hash.
func (u *Update) Check(i int, b []byte) error {
	if _, size := u.Piece(i); int64(len(b)) != size || sha256.Sum256(b) != [hashSize]byte(u.hashes[i*hashSize:][:hashSize]) {
		return fmt.Errorf("piece %d of %d of the update is damaged", i+1, u.Pieces())
	}
	return nil
}
