package trust

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// Envelope is a signed message of DSSE, as in-toto's tools read it.
//
// Source: Dead Simple Signing Envelope, protocol version 1.
type Envelope struct {
	PayloadType string              `json:"payloadType"`
	Payload     string              `json:"payload"` // base64
	Signatures  []EnvelopeSignature `json:"signatures"`
}

// EnvelopeSignature is one key's signature of an envelope.
type EnvelopeSignature struct {
	KeyID string `json:"keyid"`
	Sig   string `json:"sig"` // base64
}

// MaxEnvelope is the largest envelope that OpenEnvelope reads, in bytes.
const MaxEnvelope = 64 << 20

// maxSignatures bounds the signatures of an envelope.
const maxSignatures = 64

// preAuth is what is signed: no message of another purpose begins so, since
// purposes end with a NUL byte and none is called DSSEv1.
func preAuth(payloadType string, payload []byte) []byte {
	head := "DSSEv1 " + strconv.Itoa(len(payloadType)) + " " + payloadType + " " + strconv.Itoa(len(payload)) + " "
	return append([]byte(head), payload...)
}

// Seal signs a payload and returns the envelope in JSON.
func Seal(keys []Private, payloadType string, payload []byte) ([]byte, error) {
	e := Envelope{PayloadType: payloadType, Payload: base64.StdEncoding.EncodeToString(payload), Signatures: []EnvelopeSignature{}}
	for _, k := range keys {
		sig := ed25519.Sign(k.key, preAuth(payloadType, payload))
		e.Signatures = append(e.Signatures, EnvelopeSignature{k.Public().ID().String(), base64.StdEncoding.EncodeToString(sig)})
	}
	text, err := json.Marshal(e)
	return append(text, '\n'), err
}

// OpenEnvelope returns the payload of an envelope that a trusted key has signed,
// and that key. A signature by a trusted key that does not hold is an error
// whatever the others say.
func (keys Keys) OpenEnvelope(text []byte, payloadType string) ([]byte, ID, error) {
	if len(text) > MaxEnvelope {
		return nil, ID{}, fmt.Errorf("envelope of %d bytes, more than %d", len(text), MaxEnvelope)
	}
	var e Envelope
	if err := json.Unmarshal(text, &e); err != nil {
		return nil, ID{}, fmt.Errorf("envelope: %w", err)
	}
	if e.PayloadType != payloadType {
		return nil, ID{}, fmt.Errorf("envelope: it holds %q, not %s", e.PayloadType, payloadType)
	}
	if len(e.Signatures) > maxSignatures {
		return nil, ID{}, fmt.Errorf("envelope: more than %d signatures", maxSignatures)
	}
	payload, err := base64.StdEncoding.DecodeString(e.Payload)
	if err != nil {
		return nil, ID{}, fmt.Errorf("envelope: payload: %w", err)
	}
	message := preAuth(payloadType, payload)
	var good ID
	found := false
	for _, s := range e.Signatures {
		for _, p := range keys {
			if p.ID().String() != s.KeyID {
				continue
			}
			sig, err := base64.StdEncoding.DecodeString(s.Sig)
			if err != nil || !ed25519.Verify(p[:], message, sig) {
				return nil, ID{}, fmt.Errorf("the signature of key %s does not hold", s.KeyID)
			}
			good, found = p.ID(), true
		}
	}
	if !found {
		return nil, ID{}, errors.Join(ErrUntrusted, fmt.Errorf("it has %d signatures", len(e.Signatures)))
	}
	return payload, good, nil
}
