package disk

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
)

// GUID is a globally unique identifier as GPT stores it: the first three groups
// little-endian. The zero value marks an unused partition entry.
type GUID [16]byte

// Types of partitions (Discoverable Partitions Specification, UEFI 5.3.3).
var (
	TypeESP   = mustGUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
	TypeLinux = mustGUID("0fc63daf-8483-4772-8e79-3d69d8477de4")

	// TypeSlot is instar's own: of boot slots that are not in force, which
	// firmware must not look into.
	TypeSlot = mustGUID("b2d4e2f0-5a0c-4a1e-8d6b-3a6f2e8f7c10")

	// TypeEnvironment is U-Boot's: of a partition that holds its environment
	// (U-Boot, include/part_efi.h).
	TypeEnvironment = mustGUID("3de21764-95bd-54bd-a5c3-4abe786f38a8")

	// TypeRecord is instar's own: of the partition that package record describes.
	TypeRecord = mustGUID("6f95e5a5-19b1-4bd0-9a6f-0d7b1c2e8a43")
)

func mustGUID(s string) GUID {
	g, err := ParseGUID(s)
	if err != nil {
		panic(err)
	}
	return g
}

// ParseGUID reads the usual form, 8-4-4-4-12 hexadecimal digits.
func ParseGUID(s string) (GUID, error) {
	var g GUID
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != len(g) || len(s) != 36 ||
		s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return g, fmt.Errorf("GUID %q: want the form xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", s)
	}
	copy(g[:], b)
	return g.swap(), nil
}

// SeedGUID derives a GUID from a seed and the name of what it identifies: the
// first 16 bytes of SHA-256(seed, NUL, name) as a version 8 UUID (RFC 9562).
func SeedGUID(seed []byte, name string) GUID {
	h := sha256.New()
	h.Write(seed)
	h.Write([]byte{0})
	h.Write([]byte(name))
	g := GUID(h.Sum(nil)[:16])
	g[6] = g[6]&0x0f | 0x80
	g[8] = g[8]&0x3f | 0x80
	return g.swap()
}

// String returns the usual form in lower case.
func (g GUID) String() string {
	b := g.swap()
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// swap changes between the stored and the written order of bytes.
func (g GUID) swap() GUID {
	s := g
	binary.BigEndian.PutUint32(s[0:], binary.LittleEndian.Uint32(g[0:]))
	binary.BigEndian.PutUint16(s[4:], binary.LittleEndian.Uint16(g[4:]))
	binary.BigEndian.PutUint16(s[6:], binary.LittleEndian.Uint16(g[6:]))
	return s
}
