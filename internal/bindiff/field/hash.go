package field

import "bytes"

// HashSize is the length of the hash in a store path of Nix or Guix, in bytes.
const HashSize = 32

// hashAlphabet are the digits of such a hash (Nix manual, "Store path").
const hashAlphabet = "0123456789abcdfghijklmnpqrsvwxyz"

// hashDigits are the values of the digits, plus one.
var hashDigits = func() (t [256]byte) {
	for i := range hashAlphabet {
		t[hashAlphabet[i]] = byte(i + 1)
	}
	return t
}()

// HashDigit returns the value of a hash's digit, or -1.
func HashDigit(c byte) int { return int(hashDigits[c]) - 1 }

// HashLetter returns the digit of a value below 32.
func HashLetter(v int) byte { return hashAlphabet[v&31] }

// isHash reports whether b begins with a hash and the sign behind it.
func isHash(b []byte) bool {
	if len(b) <= HashSize || b[HashSize] != '-' {
		return false
	}
	for _, c := range b[:HashSize] {
		if hashDigits[c] == 0 {
			return false
		}
	}
	return true
}

// hashes finds references to store paths: they change in all files that refer
// to a package when that package is built anew, be it to the same content.
func (l *Layout) hashes() {
	const store = "/store/"
	for at := 0; ; {
		i := bytes.Index(l.text[at:], []byte(store))
		if i < 0 {
			return
		}
		at += i + len(store)
		if isHash(l.text[at:]) {
			l.add(uint64(at), Hash, 0)
			at += HashSize
		}
	}
}
