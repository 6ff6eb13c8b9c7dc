package system

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/instar-os/instar/internal/digest"
)

// MaxSize is the largest manifest that Decode reads, in bytes.
const MaxSize = 16 << 20

// Encode returns the canonical encoding: JSON with two-space indentation,
// fields in the order of the types, map keys sorted, no HTML escapes, one
// newline at the end.
func (m *Manifest) Encode() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(m); err != nil {
		return nil, fmt.Errorf("encoding the manifest of %s: %w", m.Machine, err)
	}
	return b.Bytes(), nil
}

// Digest returns the system's name: the digest of Encode's bytes.
func (m *Manifest) Digest() (digest.Digest, error) {
	b, err := m.Encode()
	if err != nil {
		return digest.Digest{}, err
	}
	return digest.Of(b), nil
}

// Decode reads a manifest. It accepts nothing but the canonical encoding, so
// that one system has one name.
func Decode(b []byte) (*Manifest, error) {
	if len(b) > MaxSize {
		return nil, fmt.Errorf("manifest of %d bytes, more than %d", len(b), MaxSize)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	m := new(Manifest)
	if err := dec.Decode(m); err != nil {
		return nil, fmt.Errorf("decoding a manifest: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("decoding a manifest: more than one JSON value")
	}
	if m.Version != Version {
		return nil, fmt.Errorf("manifest version %d; this instar reads version %d", m.Version, Version)
	}
	back, err := m.Encode()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(back, b) {
		return nil, errors.New("decoding a manifest: not in canonical form")
	}
	return m, nil
}
