package disk

import (
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf16"
)

// maxLongName is the longest name in UTF-16 units.
const maxLongName = 255

func checkLongName(s string) error {
	if len(utf16.Encode([]rune(s))) > maxLongName {
		return fmt.Errorf("name %q is longer than %d UTF-16 units", s, maxLongName)
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || strings.ContainsRune(`"*/:<>?\|`, r) }) ||
		strings.HasSuffix(s, ".") || strings.HasSuffix(s, " ") || s == "" {
		return fmt.Errorf("name %q cannot be on FAT", s)
	}
	return nil
}

// shortRune reports whether a byte may stand in a short name.
func shortRune(c byte) bool {
	return c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("!#$%&'()-@^_`{}~", c) >= 0
}

// exactShort returns the short name that is exactly s, if s is one.
func exactShort(s string) ([11]byte, bool) {
	base, ext, dot := strings.Cut(s, ".")
	if base == "" || len(base) > 8 || len(ext) > 3 || dot && ext == "" {
		return [11]byte{}, false
	}
	for _, part := range []string{base, ext} {
		for i := range len(part) {
			if !shortRune(part[i]) {
				return [11]byte{}, false
			}
		}
	}
	return pack(base, ext), true
}

func pack(base, ext string) (s [11]byte) {
	copy(s[:], base+strings.Repeat(" ", 8-len(base))+ext+strings.Repeat(" ", 3-len(ext)))
	return s
}

// makeShort invents a short name that is not taken: the name in upper case
// when that is one, else its first letters with a tail "~N".
func makeShort(name string, taken map[[11]byte]bool) [11]byte {
	upper := strings.ToUpper(name)
	if s, ok := exactShort(upper); ok && !taken[s] {
		return s
	}
	base, ext := strings.TrimLeft(upper, "."), ""
	if i := strings.LastIndexByte(base, '.'); i > 0 {
		base, ext = base[:i], base[i+1:]
	}
	base, ext = onlyShort(base, 8), onlyShort(ext, 3)
	for n := 1; ; n++ {
		tail := fmt.Sprintf("~%d", n)
		s := pack(base[:min(len(base), 8-len(tail))]+tail, ext)
		if !taken[s] {
			return s
		}
	}
}

// onlyShort drops spaces and dots, replaces what a short name cannot have, and cuts.
func onlyShort(s string, n int) string {
	var b []byte
	for _, r := range s {
		switch {
		case r == ' ' || r == '.':
		case r < 0x80 && shortRune(byte(r)):
			b = append(b, byte(r))
		default:
			b = append(b, '_')
		}
	}
	return string(b[:min(n, len(b))])
}

// longOffsets are where a long entry holds its 13 UTF-16 units.
var longOffsets = [13]int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30}

// appendLong appends the entries of a long name, the last part first.
func appendLong(b []byte, name []uint16, short [11]byte) []byte {
	n := (len(name) + 12) / 13
	sum := shortSum(short)
	for i := n; i > 0; i-- {
		var e [dirEntrySize]byte
		e[0], e[11], e[13] = byte(i), attrLFN, sum
		if i == n {
			e[0] |= 0x40
		}
		for j, off := range longOffsets {
			k, u := (i-1)*13+j, uint16(0xffff)
			if k < len(name) {
				u = name[k]
			} else if k == len(name) {
				u = 0
			}
			binary.LittleEndian.PutUint16(e[off:], u)
		}
		b = append(b, e[:]...)
	}
	return b
}

// shortSum is the checksum that ties long entries to their short one.
func shortSum(short [11]byte) byte {
	sum := byte(0)
	for _, c := range short {
		sum = sum>>1 | sum<<7
		sum += c
	}
	return sum
}
