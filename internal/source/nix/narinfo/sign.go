package narinfo

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// keyName is what stands before the colon of keys and signatures.
var keyName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]{0,99}$`)

// Key is a public key, Ed25519, by the name that its owner gave it.
type Key struct {
	Name   string
	Public ed25519.PublicKey
}

// String returns "NAME:BASE64".
func (k Key) String() string { return k.Name + ":" + base64.StdEncoding.EncodeToString(k.Public) }

// ParseKey reads a public key, "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=".
func ParseKey(s string) (Key, error) {
	name, b, err := named(s, ed25519.PublicKeySize)
	if err != nil {
		return Key{}, fmt.Errorf("public key %.120q: %w", s, err)
	}
	return Key{name, b}, nil
}

// Secret is a key that signs.
type Secret struct {
	Name    string
	private ed25519.PrivateKey
}

// ParseSecret reads a secret key as `nix key generate-secret` writes it. The
// key is not part of any error.
func ParseSecret(s string) (Secret, error) {
	name, b, err := named(strings.TrimSpace(s), ed25519.PrivateKeySize)
	if err != nil {
		return Secret{}, fmt.Errorf("secret key: %w", err)
	}
	k := ed25519.PrivateKey(b)
	if !k.Equal(ed25519.NewKeyFromSeed(k.Seed())) {
		return Secret{}, errors.New("secret key: its two halves do not belong together")
	}
	return Secret{name, k}, nil
}

// NewSecret makes the secret key of a seed of 32 random bytes.
func NewSecret(name string, seed []byte) (Secret, error) {
	if !keyName.MatchString(name) {
		return Secret{}, fmt.Errorf("%.120q is no name of a key: letters, digits and . _ + - are", name)
	}
	if len(seed) != ed25519.SeedSize {
		return Secret{}, fmt.Errorf("a seed of %d bytes, %d are needed", len(seed), ed25519.SeedSize)
	}
	return Secret{name, ed25519.NewKeyFromSeed(seed)}, nil
}

// Text returns the secret key as Nix keeps it in a file.
func (s Secret) Text() string { return s.Name + ":" + base64.StdEncoding.EncodeToString(s.private) }

// Key returns the public half.
func (s Secret) Key() Key {
	return Key{s.Name, ed25519.PublicKey(slices.Clone(s.private[ed25519.SeedSize:]))}
}

func named(s string, n int) (string, []byte, error) {
	name, text, ok := strings.Cut(s, ":")
	if !ok || !keyName.MatchString(name) {
		return "", nil, errors.New("want NAME:BASE64")
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(b) != n {
		return "", nil, fmt.Errorf("want NAME and %d bytes of base 64", n)
	}
	return name, b, nil
}

// Signature is one Sig line.
type Signature struct {
	Name  string
	Bytes []byte
}

// String returns "NAME:BASE64".
func (s Signature) String() string {
	return s.Name + ":" + base64.StdEncoding.EncodeToString(s.Bytes)
}

// ParseSignature reads the value of a Sig line.
func ParseSignature(s string) (Signature, error) {
	name, b, err := named(s, ed25519.SignatureSize)
	if err != nil {
		return Signature{}, fmt.Errorf("signature %.120q: %w", s, err)
	}
	return Signature{name, b}, nil
}

// Fingerprint is what a signature signs: name, hash, size and references of an
// archive, and nothing of how a cache holds it.
func (in *Info) Fingerprint() string {
	refs := make([]string, len(in.References))
	for i, r := range in.References {
		refs[i] = r.Path()
	}
	return strings.Join([]string{"1", in.Name.Path(), in.NarHash.String(), strconv.FormatInt(in.NarSize, 10), strings.Join(refs, ",")}, ";")
}

// Sign adds a signature, or puts it in the place of one by the same key.
func (in *Info) Sign(s Secret) {
	in.Signatures = slices.DeleteFunc(in.Signatures, func(o Signature) bool { return o.Name == s.Name })
	in.Signatures = append(in.Signatures, Signature{s.Name, ed25519.Sign(s.private, []byte(in.Fingerprint()))})
}

// SignedBy returns the first of the keys that has signed the path.
func (in *Info) SignedBy(keys []Key) (Key, bool) {
	print := []byte(in.Fingerprint())
	for _, k := range keys {
		for _, s := range in.Signatures {
			if s.Name == k.Name && ed25519.Verify(k.Public, print, s.Bytes) {
				return k, true
			}
		}
	}
	return Key{}, false
}
