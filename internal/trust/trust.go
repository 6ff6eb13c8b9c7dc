// Package trust holds the keys that updates are signed with: Ed25519, in files
// of one line. A device has public halves in its manifest, which its boot has
// verified; the private half stays with whoever makes updates.
//
// Source: RFC 8032, "Edwards-Curve Digital Signature Algorithm".
package trust

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
)

// The words that files of keys begin with.
const (
	publicWord  = "instar-public-1:"
	privateWord = "instar-private-1:"
)

// MaxFile is the largest file of a key, in bytes.
const MaxFile = 1024

// ID names a key: the first 8 bytes of the SHA-256 of its public half.
type ID [8]byte

// String returns 16 hexadecimal digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Public is the half of a key that checks signatures.
type Public [ed25519.PublicKeySize]byte

// ID returns the key's name.
func (p Public) ID() ID {
	sum := sha256.Sum256(p[:])
	return ID(sum[:8])
}

// String returns what ParsePublic reads.
func (p Public) String() string { return publicWord + base64.RawURLEncoding.EncodeToString(p[:]) }

// ParsePublic reads the public half of a key.
func ParsePublic(s string) (Public, error) {
	var p Public
	b, err := parse(s, publicWord)
	if err != nil {
		return p, fmt.Errorf("public key: %w", err)
	}
	copy(p[:], b)
	return p, nil
}

// parse reads the 32 bytes behind a word, with white space around both.
func parse(s, word string) ([]byte, error) {
	if len(s) > MaxFile {
		return nil, fmt.Errorf("%d bytes, more than %d", len(s), MaxFile)
	}
	text, ok := strings.CutPrefix(strings.TrimSpace(s), word)
	if !ok {
		return nil, fmt.Errorf("it does not begin with %s", word)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) != 32 {
		return nil, errors.New("it is not 32 bytes in base64")
	}
	return b, nil
}

// Private is the half of a key that signs. Its String does not show it.
type Private struct{ key ed25519.PrivateKey }

// NewKey makes a key of 32 random bytes.
func NewKey(random io.Reader) (Private, error) {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := io.ReadFull(random, seed); err != nil {
		return Private{}, fmt.Errorf("making a key: %w", err)
	}
	return Private{ed25519.NewKeyFromSeed(seed)}, nil
}

// ParsePrivate reads what File wrote.
func ParsePrivate(s string) (Private, error) {
	seed, err := parse(s, privateWord)
	if err != nil {
		return Private{}, fmt.Errorf("private key: %w", err)
	}
	return Private{ed25519.NewKeyFromSeed(seed)}, nil
}

// File returns the content of the key's file, which is a secret.
func (k Private) File() []byte {
	return []byte(privateWord + base64.RawURLEncoding.EncodeToString(k.key.Seed()) + "\n")
}

// String names the key without showing it.
func (k Private) String() string { return "private half of key " + k.Public().ID().String() }

// Public returns the other half.
func (k Private) Public() Public { return Public(k.key.Public().(ed25519.PublicKey)) }

// Signature is one key's signature of a message.
type Signature struct {
	Key   ID
	Bytes [ed25519.SignatureSize]byte
}

// Sign signs a message. The purpose keeps a signature of one kind of message
// from being taken for that of another.
func (k Private) Sign(purpose string, message []byte) Signature {
	return Signature{k.Public().ID(), [ed25519.SignatureSize]byte(ed25519.Sign(k.key, purposed(purpose, message)))}
}

func purposed(purpose string, message []byte) []byte {
	return append(append([]byte(purpose), 0), message...)
}

// ErrUntrusted says that no key that is trusted has signed.
var ErrUntrusted = errors.New("no trusted key has signed it")

// Keys are those that are trusted: one good signature of any of them will do.
type Keys []Public

// ParseKeys reads public halves.
func ParseKeys(lines []string) (Keys, error) {
	var keys Keys
	for _, s := range lines {
		p, err := ParsePublic(s)
		if err != nil {
			return nil, err
		}
		keys = append(keys, p)
	}
	return keys, nil
}

// Verify returns the key that signed the message. A signature by a trusted key
// that does not hold is an error whatever the others say: somebody changed
// something.
func (keys Keys) Verify(purpose string, message []byte, signatures []Signature) (ID, error) {
	if len(keys) == 0 {
		return ID{}, fmt.Errorf("%w: no key is trusted here", ErrUntrusted)
	}
	var good ID
	found := false
	for _, s := range signatures {
		for _, p := range keys {
			if p.ID() != s.Key {
				continue
			}
			if !ed25519.Verify(p[:], purposed(purpose, message), s.Bytes[:]) {
				return ID{}, fmt.Errorf("the signature of key %s does not hold", s.Key)
			}
			good, found = s.Key, true
		}
	}
	if found {
		return good, nil
	}
	var have []string
	for _, s := range signatures {
		have = append(have, s.Key.String())
	}
	return ID{}, fmt.Errorf("%w: it is signed by %s", ErrUntrusted, strings.Join(have, ", "))
}
