package narinfo

import (
	"crypto/sha256"
	"fmt"
	"path"
	"strings"
)

// StoreDir is the only store directory there is: paths of another one have
// other names all through their contents.
const StoreDir = "/nix/store"

// HashLen is the length of the first part of a store path's name: 160 bits.
const HashLen = 32

// maxName is the longest name behind the hash and its dash, as in Nix.
const maxName = 211

// Name is the last component of a store path: "HASH-NAME".
type Name string

// Path returns the store path.
func (n Name) Path() string { return StoreDir + "/" + string(n) }

// Hash returns the part by which references are found and caches are asked.
func (n Name) Hash() string { return string(n[:HashLen]) }

// Rest returns the part for people, "hello-2.12".
func (n Name) Rest() string { return string(n[HashLen+1:]) }

// ParseName checks the last component of a store path.
func ParseName(s string) (Name, error) {
	if len(s) < HashLen+2 || s[HashLen] != '-' {
		return "", fmt.Errorf("%.80q is no name of a store path: it begins with %d characters of base 32 and a dash", s, HashLen)
	}
	for i := range HashLen {
		if !IsBase32(s[i]) {
			return "", fmt.Errorf("%.80q is no name of a store path: %q is not base 32 of Nix", s, s[i])
		}
	}
	if len(s) > HashLen+1+maxName {
		return "", fmt.Errorf("%.80q… is no name of a store path: more than %d characters", s, HashLen+1+maxName)
	}
	for _, c := range s[HashLen+1:] {
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.ContainsRune("+-._?=", c)) {
			return "", fmt.Errorf("%.80q is no name of a store path: it has a %q", s, c)
		}
	}
	return Name(s), nil
}

// ParsePath checks a store path and returns its name.
func ParsePath(s string) (Name, error) {
	rest, ok := strings.CutPrefix(s, StoreDir+"/")
	if !ok {
		return "", fmt.Errorf("%.80q is not below %s", s, StoreDir)
	}
	return ParseName(rest)
}

// Within returns the name of the store path that a path is in, and the rest
// below it ("" for the store path itself).
func Within(s string) (Name, string, error) {
	s = path.Clean(s)
	rest, ok := strings.CutPrefix(s, StoreDir+"/")
	if !ok {
		return "", "", fmt.Errorf("%.80q is not below %s", s, StoreDir)
	}
	first, below, _ := strings.Cut(rest, "/")
	n, err := ParseName(first)
	return n, below, err
}

// Fixed returns the name of a path that is known by its content, an archive
// with this hash and without references: what `nix-store --add` would make.
// (nix: store-api.cc, makeFixedOutputPath and makeStorePath.)
func Fixed(nar Hash, rest string) (Name, error) {
	sum := sha256.Sum256([]byte("source:sha256:" + nar.Hex() + ":" + StoreDir + ":" + rest))
	short := make([]byte, 20) // compressHash: folded by exclusive or
	for i, b := range sum {
		short[i%len(short)] ^= b
	}
	return ParseName(encode32(short) + "-" + rest)
}
