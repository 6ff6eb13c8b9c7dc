package deb

import (
	"bytes"
	_ "embed" // the archive's keys
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

//go:embed keyring/debian-archive.pgp
var debianKeys []byte

// debianPins are the primary keys of the Debian archive: of each release the
// archive's, the security archive's and the release managers' key. See
// keyring/README.md.
var debianPins = [...]string{
	"B8B80B5B623EAB6AD8775C45B7C5D7D6350947F8", // archive, 12 (bookworm)
	"05AB90340C0C5E797F44A8C8254CF3B5AEC0A8F0", // security, 12
	"4D64FEC119C2029067D6E791F8D2585B8783D481", // stable release, 12
	"04B54C3CDCA79751B16BC6B5225629DF75B188BD", // archive, 13 (trixie)
	"5E04A1E3223A19A20706E20F9904613D4CCE68C6", // security, 13
	"41587F7DB8C774BCCF131416762F67A0B2C39DE4", // stable release, 13
}

// Limits of what is read of signatures and keys.
const (
	maxKeyring    = 4 << 20 // bytes
	maxSignatures = 32      // of one file
)

// Keyring is the set of keys one of which must have signed an archive.
type Keyring struct {
	entities openpgp.EntityList
}

// DebianKeyring returns the keys of the Debian archive: those that are built in
// and pinned by their fingerprints.
func DebianKeyring() (*Keyring, error) {
	return pinned(debianKeys)
}

// pinned reads a keyring and drops the keys that are not pinned.
func pinned(data []byte) (*Keyring, error) {
	k, err := ReadKeyring(data)
	if err != nil {
		return nil, err
	}
	k.entities = slices.DeleteFunc(k.entities, func(e *openpgp.Entity) bool {
		return !slices.Contains(debianPins[:], fingerprint(e))
	})
	return k, nil
}

// ReadKeyring reads OpenPGP public keys, binary or armored, in any number of
// blocks.
func ReadKeyring(data []byte) (*Keyring, error) {
	if len(data) > maxKeyring {
		return nil, fmt.Errorf("the keyring has more than %d bytes", maxKeyring)
	}
	k := &Keyring{}
	err := eachBlock(data, func(r io.Reader) error {
		list, err := readKeys(r)
		k.entities = append(k.entities, list...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the keyring: %w", err)
	}
	if len(k.entities) == 0 {
		return nil, errors.New("the keyring has no key")
	}
	return k, nil
}

// eachBlock calls f for the binary content of each armored block, or for data
// itself when it is not armored.
func eachBlock(data []byte, f func(io.Reader) error) error {
	const begin = "-----BEGIN PGP"
	i := bytes.Index(data, []byte(begin))
	if i < 0 {
		return f(bytes.NewReader(data))
	}
	for i >= 0 {
		data = data[i:]
		block, err := armor.Decode(bytes.NewReader(data))
		if err != nil {
			return err
		}
		if block.Type != openpgp.PublicKeyType {
			return fmt.Errorf("a block of type %q where public keys are expected", block.Type)
		}
		if err := f(block.Body); err != nil {
			return err
		}
		data = data[len(begin):]
		i = bytes.Index(data, []byte(begin))
	}
	return nil
}

// readKeys is a fence around the module: it reads untrusted bytes, and a panic
// in it must not end the builder.
func readKeys(r io.Reader) (list openpgp.EntityList, err error) {
	defer recovered(&err)
	return openpgp.ReadKeyRing(r)
}

func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("OpenPGP: %v", p)
	}
}

// Fingerprints lists the primary keys, sorted.
func (k *Keyring) Fingerprints() []string {
	var out []string
	for _, e := range k.entities {
		out = append(out, fingerprint(e))
	}
	slices.Sort(out)
	return out
}

func fingerprint(e *openpgp.Entity) string {
	return strings.ToUpper(hex.EncodeToString(e.PrimaryKey.Fingerprint))
}

// Verified is a text whose signature one of a keyring's keys made.
type Verified struct {
	Text     []byte
	SignedBy string // fingerprint of the primary key
}

// Verify checks a clear-signed file (RFC 9580, section 7). Signatures by keys
// that are not in the keyring are passed over; one good one is needed. now is
// when keys must be valid; the zero time means when the signature was made, and
// so does a time before that.
func (k *Keyring) Verify(file []byte, now time.Time) (v *Verified, err error) {
	defer recovered(&err)
	if !bytes.HasPrefix(bytes.TrimLeft(file, "\r\n \t"), []byte("-----BEGIN PGP SIGNED MESSAGE-----")) {
		return nil, errors.New("it is not clear-signed")
	}
	block, rest := clearsign.Decode(file)
	if block == nil {
		return nil, errors.New("the signed text is damaged or cut")
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("something stands behind the signature")
	}
	packets := packet.NewReader(block.ArmoredSignature.Body)
	var unknown []string
	var bad error
	for range maxSignatures {
		p, err := packets.Next()
		if errors.Is(err, io.EOF) {
			return nil, k.refuse(unknown, bad)
		}
		if err != nil {
			return nil, fmt.Errorf("reading the signatures: %w", err)
		}
		sig, ok := p.(*packet.Signature)
		if !ok || sig.IssuerKeyId == nil {
			continue
		}
		by, err := k.check(block.Bytes, sig, now)
		switch {
		case by != "":
			return &Verified{Text: block.Plaintext, SignedBy: by}, nil
		case err != nil:
			bad = err
		default:
			unknown = append(unknown, fmt.Sprintf("%016X", *sig.IssuerKeyId))
		}
	}
	return nil, fmt.Errorf("more than %d signatures", maxSignatures)
}

func (k *Keyring) refuse(unknown []string, bad error) error {
	switch {
	case bad != nil:
		return fmt.Errorf("bad signature: %w", bad)
	case len(unknown) > 0:
		return fmt.Errorf("signed by keys that are not trusted here: %s; trusted are %s",
			strings.Join(unknown, ", "), strings.Join(k.Fingerprints(), ", "))
	}
	return errors.New("it has no signature")
}

// check verifies one signature and returns the primary key's fingerprint, or
// "" and no error when no key of the keyring made it.
func (k *Keyring) check(text []byte, sig *packet.Signature, now time.Time) (string, error) {
	if len(k.entities.KeysByIdUsage(*sig.IssuerKeyId, packet.KeyFlagSign)) == 0 {
		return "", nil
	}
	if now.IsZero() || now.Before(sig.CreationTime) { // ReadRelease judges dates in the future
		now = sig.CreationTime
	}
	var raw bytes.Buffer
	if err := sig.Serialize(&raw); err != nil {
		return "", err
	}
	cfg := &packet.Config{Time: func() time.Time { return now }}
	signer, err := openpgp.CheckDetachedSignature(k.entities, bytes.NewReader(text), &raw, cfg)
	if err != nil {
		return "", fmt.Errorf("key %016X: %w", *sig.IssuerKeyId, err)
	}
	return fingerprint(signer), nil
}
