package config

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"time"
)

// Size is a number of bytes, written with a binary unit: 64MiB.
type Size int64

// Mode is a file mode, written as an octal string: "0755".
type Mode uint32

// PerArch is a word that may differ between architectures. The key "" holds a
// value given without architecture.
type PerArch map[string]string

// For returns the value for an architecture, "" when there is none.
func (p PerArch) For(arch string) string {
	if v, ok := p[arch]; ok {
		return v
	}
	return p[""]
}

// The written forms of values with units, as the schema states them.
const (
	sizePattern     = `^(0|[1-9][0-9]*)(B|KiB|MiB|GiB|TiB)$`
	modePattern     = `^[0-7]{3,4}$`
	durationPattern = `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`
)

var (
	sizeForm     = regexp.MustCompile(sizePattern)
	modeForm     = regexp.MustCompile(modePattern)
	durationForm = regexp.MustCompile(durationPattern)
)

// A unit is a binary multiple of a byte.
type unit struct {
	name  string
	bytes int64
}

var units = []unit{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// ParseSize reads a number of bytes with its unit: 4096B, 64KiB, 1GiB.
func ParseSize(s string) (Size, error) {
	m := sizeForm.FindStringSubmatch(s)
	if m == nil {
		return 0, errors.New("a size is a whole number with one of the units B, KiB, MiB, GiB, TiB")
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		return 0, errors.New("the size is too large")
	}
	for _, u := range units {
		if u.name == m[2] && n > math.MaxInt64/u.bytes {
			return 0, errors.New("the size is too large")
		} else if u.name == m[2] {
			n *= u.bytes
			break
		}
	}
	return Size(n), nil
}

// String writes the size with the largest unit that divides it.
func (s Size) String() string {
	for _, u := range units {
		if s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return "0B"
}

// ParseMode reads three or four octal digits.
func ParseMode(s string) (Mode, error) {
	if !modeForm.MatchString(s) {
		return 0, errors.New("a mode is three or four octal digits in quotes")
	}
	n, err := strconv.ParseUint(s, 8, 32)
	return Mode(n), err
}

// String writes the mode as four octal digits.
func (m Mode) String() string { return fmt.Sprintf("%04o", uint32(m)) }

// parseDuration reads a duration as Go writes them, without sign.
func parseDuration(s string) (time.Duration, error) {
	if !durationForm.MatchString(s) {
		return 0, errors.New("a duration is a number with one of the units ns, us, ms, s, m, h")
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, errors.New("the duration is too long")
	}
	return d, nil
}
