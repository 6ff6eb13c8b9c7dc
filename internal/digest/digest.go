// Package digest names content by its fs-verity digest: SHA-256 over a Merkle
// tree of 4 KiB blocks, without salt. The kernel computes the same value when
// fs-verity is enabled on a file, so the name of an object is also what the
// kernel verifies on every read.
//
// Source: Documentation/filesystems/fsverity.rst, "Merkle tree" and
// "fs-verity descriptor".
package digest

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
)

// BlockSize is the Merkle tree's data and hash block size in bytes.
const BlockSize = 4096

// Size is the length of a digest in bytes.
const Size = sha256.Size

// Digest is an fs-verity SHA-256 file digest. The zero value means "none".
type Digest [Size]byte

// Parse reads 64 lower-case hexadecimal digits.
func Parse(s string) (Digest, error) {
	var d Digest
	if len(s) != 2*Size {
		return d, fmt.Errorf("digest %q: want %d hexadecimal digits, got %d characters", s, 2*Size, len(s))
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return d, fmt.Errorf("digest %q: character %d is not a lower-case hexadecimal digit", s, i+1)
		}
	}
	if _, err := hex.Decode(d[:], []byte(s)); err != nil {
		return d, fmt.Errorf("digest %q: %w", s, err)
	}
	return d, nil
}

// String returns 64 lower-case hexadecimal digits.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Short returns the first 12 digits, for people.
func (d Digest) Short() string { return hex.EncodeToString(d[:6]) }

// Path returns the object's path below a store's objects directory: "ab/cdef…".
func (d Digest) Path() string {
	s := d.String()
	return s[:2] + "/" + s[2:]
}

// IsZero reports whether d is the zero value, which names nothing.
func (d Digest) IsZero() bool { return d == Digest{} }

// MarshalText implements encoding.TextMarshaler. The zero value is "".
func (d Digest) MarshalText() ([]byte, error) {
	if d.IsZero() {
		return []byte{}, nil
	}
	return []byte(d.String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler. "" is the zero value.
func (d *Digest) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*d = Digest{}
		return nil
	}
	v, err := Parse(string(b))
	if err != nil {
		return err
	}
	*d = v
	return nil
}

// Hasher computes a Digest over what is written to it. It holds one block per
// level of the tree: 4 KiB times log128 of the number of blocks.
type Hasher struct {
	size   uint64
	levels []*level
}

// A level collects the bytes of one block of one level of the Merkle tree.
type level struct {
	buf    [BlockSize]byte
	n      int    // bytes in buf
	blocks uint64 // full blocks already hashed into the level above
}

// New returns an empty Hasher.
func New() *Hasher { return &Hasher{levels: []*level{{}}} }

// Size returns the number of bytes written so far.
func (h *Hasher) Size() int64 { return int64(h.size) }

// Write implements io.Writer; it never fails.
func (h *Hasher) Write(p []byte) (int, error) {
	h.size += uint64(len(p))
	h.add(0, p)
	return len(p), nil
}

// add appends bytes to a level and passes each block that is certainly not the
// level's last one up. A block is kept until a further byte arrives, because a
// level of a single block is the root's own input.
func (h *Hasher) add(i int, p []byte) {
	l := h.levels[i]
	for len(p) > 0 {
		if l.n == BlockSize {
			h.flush(i)
		}
		if l.n == 0 && len(p) > BlockSize {
			// Hash whole blocks in place, without the copy.
			h.pass(i, p[:BlockSize])
			p = p[BlockSize:]
			continue
		}
		c := copy(l.buf[l.n:], p)
		l.n += c
		p = p[c:]
	}
}

// flush hashes the level's padded block into the level above.
func (h *Hasher) flush(i int) {
	l := h.levels[i]
	clear(l.buf[l.n:])
	l.n = 0
	h.pass(i, l.buf[:])
}

func (h *Hasher) pass(i int, block []byte) {
	if i+1 == len(h.levels) {
		h.levels = append(h.levels, &level{})
	}
	h.levels[i].blocks++
	sum := sha256.Sum256(block)
	h.add(i+1, sum[:])
}

// Sum returns the digest of what was written. The Hasher must not be used after.
func (h *Hasher) Sum() Digest {
	var root [Size]byte
	if h.size > 0 {
		for i := 0; ; i++ {
			l := h.levels[i]
			if l.blocks == 0 {
				clear(l.buf[l.n:])
				root = sha256.Sum256(l.buf[:])
				break
			}
			if l.n > 0 {
				h.flush(i)
			}
		}
	}
	return descriptor(h.size, root)
}

// descriptor hashes struct fsverity_descriptor (256 bytes): version 1, SHA-256,
// 4 KiB blocks, no salt, no signature.
func descriptor(size uint64, root [Size]byte) Digest {
	var d [256]byte
	d[0] = 1  // version
	d[1] = 1  // FS_VERITY_HASH_ALG_SHA256
	d[2] = 12 // log2 of the block size
	binary.LittleEndian.PutUint64(d[8:], size)
	copy(d[16:], root[:])
	return sha256.Sum256(d[:])
}

// Of returns the digest of b.
func Of(b []byte) Digest {
	h := New()
	h.Write(b)
	return h.Sum()
}

// FromReader reads r to its end and returns the digest and the length in bytes.
func FromReader(r io.Reader) (Digest, int64, error) {
	h := New()
	n, err := io.CopyBuffer(h, onlyReader{r}, make([]byte, 256<<10))
	if err != nil {
		return Digest{}, n, err
	}
	return h.Sum(), n, nil
}

// onlyReader hides WriteTo so that the copy uses the large buffer.
type onlyReader struct{ io.Reader }
