package chunk

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/instar-os/instar/internal/delta"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/take"
	"github.com/instar-os/instar/internal/trust"
)

// Magic is how an index begins, Version its version.
const (
	Magic   = "instarix"
	Version = 1
)

// Purpose separates signatures of indexes from all others.
const Purpose = "instar index 1"

// Limits of what is read.
const (
	MaxHead    = 16 << 20 // bytes
	MaxPacks   = 1 << 12
	MaxChunks  = 1 << 18
	maxTotal   = 64 << 30 // bytes of all contents
	prologue   = 16
	signedSize = 8 + 64
)

// ID names a chunk: the first 16 bytes of the SHA-256 of its bytes. It finds
// chunks again and keeps out what was damaged; what is made of them has to have
// its digest.
type ID [16]byte

// IDOf returns the ID of a chunk.
func IDOf(b []byte) ID {
	sum := sha256.Sum256(b)
	return ID(sum[:16])
}

// Index says what a system is made of and where its chunks are. All contents
// stand one behind the other; the chunks divide that row.
type Index struct {
	Machine  string
	Arch     string        // GOARCH
	Epoch    int64         // of the manifest
	Target   digest.Digest // the system
	Packs    []Pack
	Contents []Content // the manifest first
	Chunks   []Chunk

	Signer trust.ID // whose signature held; zero for Inspect
	Sum    [sha256.Size]byte
	Size   int64 // bytes of the index
}

// Pack is a file of chunks.
type Pack struct {
	Name [sha256.Size]byte // of its content
	Size int64             // bytes
}

// File returns the name of a pack's file, beside the index.
func (p Pack) File() string { return fmt.Sprintf("packs/%x.pack", p.Name[:16]) }

// Content is an object, image, manifest or boot part.
type Content struct {
	Kind   delta.Kind
	Digest digest.Digest
	Size   int64 // bytes
	At     int64 // where it begins in the row; computed
}

// End returns where in the row the content ends.
func (c Content) End() int64 { return c.At + c.Size }

// Chunk is a part of the row.
type Chunk struct {
	ID     ID
	Raw    int64 // bytes
	Stored int64 // bytes in the pack; fewer than Raw: deflated
	Pack   int
	Offset int64 // in the pack
	At     int64 // where it begins in the row; computed
}

// End returns where in the row the chunk ends.
func (c Chunk) End() int64 { return c.At + c.Raw }

// Encode returns the index, signed.
func (x *Index) Encode(keys []trust.Private) ([]byte, error) {
	if len(keys) == 0 || len(keys) > delta.MaxSignatures {
		return nil, fmt.Errorf("an index signed by %d keys", len(keys))
	}
	if err := x.place(); err != nil {
		return nil, fmt.Errorf("making an index: %w", err)
	}
	head := x.encode(nil)
	if len(head) > MaxHead {
		return nil, fmt.Errorf("making an index: %d bytes, more than %d", len(head), MaxHead)
	}
	b := append([]byte(Magic), make([]byte, prologue-len(Magic))...)
	binary.LittleEndian.PutUint16(b[8:], Version)
	b[10] = byte(len(keys))
	binary.LittleEndian.PutUint32(b[12:], uint32(len(head)))
	b = append(b, head...)
	sum := sha256.Sum256(b)
	for _, k := range keys {
		s := k.Sign(Purpose, sum[:])
		b = append(append(b, s.Key[:]...), s.Bytes[:]...)
	}
	return b, nil
}

// encode appends the head; see docs/format/chunks.md.
func (x *Index) encode(b []byte) []byte {
	text := func(s string) { b = append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	number := func(n int64) { b = binary.AppendUvarint(b, uint64(n)) }
	text(x.Machine)
	text(x.Arch)
	number(x.Epoch)
	b = append(b, x.Target[:]...)
	number(int64(len(x.Packs)))
	for _, p := range x.Packs {
		b = append(b, p.Name[:]...)
		number(p.Size)
	}
	number(int64(len(x.Contents)))
	for _, c := range x.Contents {
		b = append(append(b, byte(c.Kind)), c.Digest[:]...)
		number(c.Size)
	}
	number(int64(len(x.Chunks)))
	next := make([]int64, len(x.Packs)) // where the chunk before in a pack ends
	for _, c := range x.Chunks {
		b = append(b, c.ID[:]...)
		number(c.Raw)
		number(c.Stored)
		number(int64(c.Pack))
		b = binary.AppendVarint(b, c.Offset-next[c.Pack])
		next[c.Pack] = c.Offset + c.Stored
	}
	return b
}

// Read reads an index and verifies its signature before anything of it is
// understood but sizes.
func Read(r io.Reader, keys trust.Keys) (*Index, error) {
	return read(r, func(x *Index, list []trust.Signature) (err error) {
		x.Signer, err = keys.Verify(Purpose, x.Sum[:], list)
		return err
	})
}

// Inspect reads as Read does, without a look at signatures. What it returns may
// be shown, and not acted upon.
func Inspect(r io.Reader) (*Index, error) {
	return read(r, func(*Index, []trust.Signature) error { return nil })
}

func read(r io.Reader, verify func(*Index, []trust.Signature) error) (*Index, error) {
	x, err := readSigned(r, verify)
	if err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("it is cut off: %w", io.ErrUnexpectedEOF)
		}
		return nil, fmt.Errorf("reading an index of chunks: %w", err)
	}
	return x, nil
}

func readSigned(r io.Reader, verify func(*Index, []trust.Signature) error) (*Index, error) {
	b := make([]byte, prologue)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	version, signatures, size := binary.LittleEndian.Uint16(b[8:]), int(b[10]), binary.LittleEndian.Uint32(b[12:])
	switch {
	case string(b[:8]) != Magic:
		return nil, errors.New("this is no index of instar")
	case version != Version:
		return nil, fmt.Errorf("format version %d; this instar reads version %d", version, Version)
	case size > MaxHead || signatures > delta.MaxSignatures || b[11] != 0:
		return nil, fmt.Errorf("a head of %d bytes with %d signatures", size, signatures)
	}
	// Memory grows with what really comes.
	var rest bytes.Buffer
	want := int64(size) + int64(signatures*signedSize)
	if n, err := io.CopyN(&rest, r, want); n < want {
		return nil, errors.Join(err, io.ErrUnexpectedEOF)
	}
	head := rest.Bytes()[:size]
	x := &Index{Sum: sha256.Sum256(append(b, head...)), Size: prologue + want}
	var list []trust.Signature
	for t := rest.Bytes()[size:]; len(t) > 0; t = t[signedSize:] {
		list = append(list, trust.Signature{Key: trust.ID(t[:8]), Bytes: [64]byte(t[8:signedSize])})
	}
	if err := verify(x, list); err != nil {
		return nil, err
	}
	if err := x.parse(head); err != nil {
		return nil, fmt.Errorf("its head: %w", err)
	}
	return x, nil
}

// parse reads a head.
func (x *Index) parse(b []byte) error {
	p := take.From(b)
	x.Machine, x.Arch, x.Epoch, x.Target = p.Text(64), p.Text(16), p.Number(math.MaxInt64), digest.Digest(p.Bytes(digest.Size))
	for range p.Count(MaxPacks, sha256.Size+1) {
		x.Packs = append(x.Packs, Pack{[sha256.Size]byte(p.Bytes(sha256.Size)), p.Number(math.MaxInt64)})
	}
	for range p.Count(delta.MaxEntries, digest.Size+2) {
		kind := p.Bytes(1)[0]
		x.Contents = append(x.Contents, Content{Kind: delta.Kind(kind), Digest: digest.Digest(p.Bytes(digest.Size)), Size: p.Number(delta.MaxContent)})
	}
	next := make([]int64, len(x.Packs))
	for range p.Count(MaxChunks, len(ID{})+4) {
		c := Chunk{ID: ID(p.Bytes(len(ID{}))), Raw: p.Number(MaxSize), Stored: p.Number(MaxSize), Pack: int(p.Number(MaxPacks))}
		if shift := p.Signed(); p.Err() == nil && c.Pack < len(next) {
			c.Offset = next[c.Pack] + shift
			next[c.Pack] = c.Offset + c.Stored
		}
		x.Chunks = append(x.Chunks, c)
		if p.Err() != nil {
			break
		}
	}
	if err := p.End(); err != nil {
		return err
	}
	return x.place()
}

// place computes where contents and chunks are in the row, and finds what cannot
// be.
func (x *Index) place() error {
	var at int64
	seen := make(map[digest.Digest]delta.Kind, len(x.Contents))
	for i := range x.Contents {
		c := &x.Contents[i]
		if c.Kind < delta.Object || c.Kind > delta.Part || c.Digest.IsZero() || c.Size < 1 || seen[c.Digest] == c.Kind {
			return fmt.Errorf("content %d, %s %s of %d bytes, cannot be or stands twice", i, c.Kind, c.Digest.Short(), c.Size)
		}
		seen[c.Digest] = c.Kind
		if c.At, at = at, at+c.Size; at > maxTotal {
			return fmt.Errorf("more than %d bytes of contents", int64(maxTotal))
		}
	}
	if len(x.Contents) == 0 || x.Contents[0].Kind != delta.System || x.Contents[0].Digest != x.Target {
		return errors.New("the first content is not the manifest")
	}
	var row int64
	for i := range x.Chunks {
		c := &x.Chunks[i]
		c.At, row = row, row+c.Raw
		if c.Raw < 1 || c.Stored < 1 || c.Stored > c.Raw || c.Pack < 0 || c.Pack >= len(x.Packs) || c.Offset < 0 || c.Offset > x.Packs[c.Pack].Size-c.Stored {
			return fmt.Errorf("chunk %d has %d of %d bytes at %d of pack %d", i, c.Stored, c.Raw, c.Offset, c.Pack)
		}
	}
	if row != at {
		return fmt.Errorf("chunks of %d bytes for contents of %d", row, at)
	}
	return nil
}
