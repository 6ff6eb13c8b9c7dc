package narinfo

import (
	"errors"
	"fmt"
)

// alphabet is Nix' base 32: digits and letters without e, o, u and t.
const alphabet = "0123456789abcdfghijklmnpqrsvwxyz"

// value is the alphabet turned round; what is not in it is none.
var value = func() (v [256]byte) {
	for i := range v {
		v[i] = none
	}
	for i := range len(alphabet) {
		v[alphabet[i]] = byte(i)
	}
	return v
}()

const none = 0xff

// IsBase32 reports whether a byte can stand in Nix' base 32.
func IsBase32(c byte) bool { return value[c] != none }

// encode32 writes bytes as Nix does: the number they are in little endian, its
// most significant five bits first (nix: src/libutil/hash.cc, printHash32).
func encode32(b []byte) string {
	out := make([]byte, (len(b)*8+4)/5)
	for i := range out {
		bit := (len(out) - 1 - i) * 5
		at, shift := bit/8, bit%8
		v := uint16(b[at])
		if at+1 < len(b) {
			v |= uint16(b[at+1]) << 8
		}
		out[i] = alphabet[v>>shift&31]
	}
	return string(out)
}

// decode32 reads what encode32 writes for n bytes.
func decode32(s string, n int) ([]byte, error) {
	if len(s) != (n*8+4)/5 {
		return nil, fmt.Errorf("%q has not the length of %d bytes in base 32", s, n)
	}
	out := make([]byte, n)
	for i := range len(s) {
		v := uint16(value[s[i]])
		if v == none {
			return nil, fmt.Errorf("%q is not base 32 of Nix", s)
		}
		bit := (len(s) - 1 - i) * 5
		at, shift := bit/8, bit%8
		out[at] |= byte(v << shift)
		high := byte(v << shift >> 8)
		switch {
		case at+1 < n:
			out[at+1] |= high
		case high != 0:
			return nil, errors.New("base 32 of Nix with bits behind its end")
		}
	}
	return out, nil
}
