// Package narinfo reads and writes what Nix says about store paths: their
// names, .narinfo files of binary caches with their signatures, registrations
// of a store's database, and the JSON of `nix path-info`. It does no I/O.
//
// Sources: the Nix manual, "Store Path", "Nix Archive" and "Binary cache"; and
// nix 2.8: src/libstore/nar-info.cc, path-info.cc, crypto.cc, store-api.cc.
package narinfo

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
)

// Hash is a SHA-256, the only function that Nix takes for archives.
type Hash [sha256.Size]byte

// String returns "sha256:" and base 32, as fingerprints have it.
func (h Hash) String() string { return "sha256:" + encode32(h[:]) }

// Hex returns 64 hexadecimal digits.
func (h Hash) Hex() string { return hex.EncodeToString(h[:]) }

// Base32 returns Nix' base 32 alone, as files of a cache are named.
func (h Hash) Base32() string { return encode32(h[:]) }

// ParseHash reads a hash in any form that Nix writes: "sha256:" and base 32,
// base 16 or base 64, "sha256-" and base 64 (W3C Subresource Integrity), or
// bare digits of base 16.
func ParseHash(s string) (Hash, error) {
	text := s
	if name, rest, ok := strings.Cut(s, ":"); ok || strings.HasPrefix(s, "sha256-") {
		if !ok {
			name, rest = "sha256", strings.TrimPrefix(s, "sha256-")
		}
		if name != "sha256" {
			return Hash{}, fmt.Errorf("hash %q is not SHA-256", s)
		}
		text = rest
	}
	var b []byte
	var err error
	switch len(text) {
	case 64:
		b, err = hex.DecodeString(text)
	case 52:
		b, err = decode32(text, sha256.Size)
	case 44:
		b, err = base64.StdEncoding.Strict().DecodeString(text)
	default:
		err = fmt.Errorf("%d characters", len(text))
	}
	if err != nil || len(b) != sha256.Size {
		return Hash{}, fmt.Errorf("hash %.80q is malformed", s)
	}
	return Hash(b), nil
}
