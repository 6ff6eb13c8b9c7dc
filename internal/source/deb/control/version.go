package control

import (
	"cmp"
	"fmt"
	"strings"
)

// Compare orders two version numbers as dpkg does: negative when a is older
// than b. It takes any strings; CheckVersion says which are versions.
func Compare(a, b string) int {
	if a == b {
		return 0
	}
	ea, ua, ra := splitVersion(a)
	eb, ub, rb := splitVersion(b)
	if c := compareNumbers(ea, eb); c != 0 {
		return c
	}
	if c := compareParts(ua, ub); c != 0 {
		return c
	}
	return compareParts(ra, rb)
}

// splitVersion cuts [epoch:]upstream[-revision].
func splitVersion(v string) (epoch, upstream, revision string) {
	if e, rest, ok := strings.Cut(v, ":"); ok {
		epoch, v = e, rest
	}
	if i := strings.LastIndexByte(v, '-'); i >= 0 {
		return epoch, v[:i], v[i+1:]
	}
	return epoch, v, ""
}

// compareParts compares runs of non-digits and runs of digits in turn
// (deb-version(7), "Sorting algorithm").
func compareParts(a, b string) int {
	for a != "" || b != "" {
		for (a != "" && !isDigit(a[0])) || (b != "" && !isDigit(b[0])) {
			if c := cmp.Compare(weight(a), weight(b)); c != 0 {
				return c
			}
			a, b = a[1:], b[1:] // equal weights: neither is at its end or at a digit
		}
		na, nb := digits(a), digits(b)
		if c := compareNumbers(a[:na], b[:nb]); c != 0 {
			return c
		}
		a, b = a[na:], b[nb:]
	}
	return 0
}

// weight orders the first byte of s: "~" before the end, the end (or a digit)
// before letters, letters before everything else.
func weight(s string) int {
	if s == "" || isDigit(s[0]) {
		return 0
	}
	c := s[0]
	switch {
	case c == '~':
		return -1
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		return int(c)
	}
	return int(c) + 256
}

func digits(s string) int {
	n := 0
	for n < len(s) && isDigit(s[n]) {
		n++
	}
	return n
}

// compareNumbers compares decimal numbers of any length; "" is 0.
func compareNumbers(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	if c := cmp.Compare(len(a), len(b)); c != 0 {
		return c
	}
	return strings.Compare(a, b)
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// CheckVersion says what is wrong with a version number.
func CheckVersion(v string) error {
	bad := func(why string) error { return fmt.Errorf("version %q: %s", v, why) }
	epoch, rest, hasEpoch := strings.Cut(v, ":")
	if !hasEpoch {
		epoch, rest = "", v
	}
	if hasEpoch && (epoch == "" || digits(epoch) != len(epoch) || len(epoch) > 9) {
		return bad("the epoch is no number")
	}
	upstream, revision := rest, ""
	if i := strings.LastIndexByte(rest, '-'); i >= 0 {
		if upstream, revision = rest[:i], rest[i+1:]; revision == "" {
			return bad("the revision is empty")
		}
	}
	if upstream == "" || !isDigit(upstream[0]) {
		return bad("it does not begin with a digit")
	}
	if i := strings.IndexFunc(upstream+revision, func(r rune) bool { return !versionRune(r) }); i >= 0 {
		return bad("it has a character that no version has")
	}
	return nil
}

func versionRune(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune(".+-~:", r)
}
