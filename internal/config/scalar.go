package config

import (
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// scalar decodes a single value that is no list, map or struct.
func (d *decoder) scalar(dst reflect.Value, v *value, path string, f field) {
	switch {
	case f.typ == sizeType:
		d.size(dst, v, path, f)
	case f.typ == modeType:
		d.mode(dst, v, path, f)
	case f.typ == durationType:
		d.duration(dst, v, path, f)
	case f.typ.Kind() == reflect.Bool:
		d.boolean(dst, v, path, f)
	case f.typ.Kind() == reflect.Int || f.typ.Kind() == reflect.Int64:
		if d.is(v, intKind, path, f) {
			if n, ok := d.integer(v, path, f); ok {
				dst.SetInt(n)
			}
		}
	case f.typ.Kind() == reflect.Float64:
		d.number(dst, v, path, f)
	default:
		d.text(dst, v, path, f)
	}
}

func (d *decoder) text(dst reflect.Value, v *value, path string, f field) {
	if v.kind == intKind && f.or == "integer" {
		if n, ok := d.integer(v, path, f); ok {
			dst.SetString(strconv.FormatInt(n, 10))
		}
		return
	}
	if !d.is(v, stringKind, path, f) {
		return
	}
	switch {
	case f.enum != nil:
		if !d.enum(v.text, v.at, path, f.enum) {
			return
		}
	case f.is != "":
		if !d.format(v.text, v.at, path, f.is, "") {
			return
		}
	}
	dst.SetString(v.text)
}

// boolean takes the words of YAML 1.2. Those that were booleans in YAML 1.1
// are strings now, and get a hint.
func (d *decoder) boolean(dst reflect.Value, v *value, path string, f field) {
	if v.kind == boolKind {
		dst.SetBool(strings.EqualFold(v.text, "true"))
		return
	}
	old := map[string]string{"yes": "true", "y": "true", "on": "true", "no": "false", "n": "false", "off": "false", "true": "true", "false": "false"}
	if word := old[strings.ToLower(v.text)]; word != "" && v.kind == stringKind {
		d.add(v.at, path, fmt.Sprintf("%q is a string, not a boolean", v.text), "write "+word)
		return
	}
	d.is(v, boolKind, path, f)
}

// integer reads decimal, 0o and 0x. A leading zero is refused: YAML 1.1 took
// such a number for octal.
func (d *decoder) integer(v *value, path string, f field) (int64, bool) {
	digits := strings.TrimLeft(v.text, "+-")
	if len(digits) > 1 && digits[0] == '0' && digits[1] >= '0' && digits[1] <= '9' {
		d.beyond(v.at, path, v.text+" begins with a zero and could be taken for octal", "write it without the zero")
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimPrefix(v.text, "+"), 0, 64)
	if err != nil {
		d.beyond(v.at, path, v.text+" is too large", "")
		return 0, false
	}
	return n, d.between(float64(n), v, path, f, func(s string) float64 {
		x, _ := strconv.ParseFloat(s, 64)
		return x
	})
}

func (d *decoder) number(dst reflect.Value, v *value, path string, f field) {
	if v.kind != intKind && !d.is(v, floatKind, path, f) {
		return
	}
	x, err := strconv.ParseFloat(v.text, 64)
	if err != nil || math.IsInf(x, 0) || math.IsNaN(x) {
		d.add(v.at, path, v.text+" is no finite number", "write it as 0.5")
		return
	}
	parse := func(s string) float64 {
		x, _ := strconv.ParseFloat(s, 64)
		return x
	}
	if d.between(x, v, path, f, parse) {
		dst.SetFloat(x)
	}
}

func (d *decoder) size(dst reflect.Value, v *value, path string, f field) {
	if v.kind == intKind {
		d.add(v.at, path, v.text+" has no unit", "write the unit, as "+v.text+"MiB or "+v.text+"B")
		return
	}
	if !d.is(v, stringKind, path, f) {
		return
	}
	n, err := ParseSize(v.text)
	if err != nil {
		d.malformed(v, path, sizeForm, err, sizeHint(v.text))
		return
	}
	parse := func(s string) float64 {
		n, _ := ParseSize(s)
		return float64(n)
	}
	if d.between(float64(n), v, path, f, parse) {
		dst.SetInt(int64(n))
	}
}

// malformed reports a value with a unit that cannot be read.
func (d *decoder) malformed(v *value, path string, form *regexp.Regexp, err error, hint string) {
	report := d.add
	if form.MatchString(v.text) {
		report, hint = d.beyond, ""
	}
	report(v.at, path, fmt.Sprintf("%q: %s", v.text, err), hint)
}

// sizeHint rewrites the units of other tools: 64M, 64 MB, 64mib.
func sizeHint(s string) string {
	digits := strings.TrimRight(s, " abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
	letters := strings.ToUpper(strings.TrimSpace(s[len(digits):]))
	if digits == "" || letters == "" || strings.Trim(digits, "0123456789") != "" {
		return "write it as 64MiB"
	}
	if i := strings.IndexByte("KMGT", letters[0]); i >= 0 && slices.Contains([]string{"", "B", "IB"}, letters[1:]) {
		return "write " + digits + letters[:1] + "iB"
	}
	return "write it as 64MiB"
}

func (d *decoder) mode(dst reflect.Value, v *value, path string, f field) {
	if v.kind == intKind {
		d.add(v.at, path, "a mode is written in quotes", fmt.Sprintf("write %q", v.text))
		return
	}
	if !d.is(v, stringKind, path, f) {
		return
	}
	m, err := ParseMode(v.text)
	if err != nil {
		d.add(v.at, path, fmt.Sprintf("%q: %s", v.text, err), `write it as "0755"`)
		return
	}
	dst.SetUint(uint64(m))
}

func (d *decoder) duration(dst reflect.Value, v *value, path string, f field) {
	if v.kind == intKind || v.kind == floatKind {
		d.add(v.at, path, v.text+" has no unit", "write the unit, as "+v.text+"s or "+v.text+"ms")
		return
	}
	if !d.is(v, stringKind, path, f) {
		return
	}
	n, err := parseDuration(v.text)
	if err != nil {
		d.malformed(v, path, durationForm, err, "write it as 30s or 5ms")
		return
	}
	parse := func(s string) float64 {
		n, _ := time.ParseDuration(s)
		return float64(n)
	}
	if d.between(float64(n), v, path, f, parse) {
		dst.SetInt(int64(n))
	}
}

// between checks a value against the field's range.
func (d *decoder) between(x float64, v *value, path string, f field, parse func(string) float64) bool {
	low := f.min != "" && x < parse(f.min)
	high := f.max != "" && x > parse(f.max)
	if !low && !high {
		return true
	}
	reason := v.text + " is less than " + f.min
	if high {
		reason = v.text + " is more than " + f.max
	}
	if limits(f) != "" {
		d.beyond(v.at, path, reason, rangeHint(f))
	} else {
		d.add(v.at, path, reason, rangeHint(f))
	}
	return false
}

// rangeHint says what is allowed.
func rangeHint(f field) string {
	switch {
	case f.min != "" && f.max != "":
		return "use " + f.min + " to " + f.max
	case f.min != "":
		return "use " + f.min + " or more"
	}
	return "use " + f.max + " or less"
}

// typeName is what a field holds, in words.
func typeName(f field) string {
	switch {
	case f.typ == sizeType:
		return "a size"
	case f.typ == modeType:
		return "a mode"
	case f.typ == durationType:
		return "a duration"
	case f.typ == perArchType:
		return "a string, or a map from architecture to string"
	case f.typ == restartType:
		return "a word, or a map of keys"
	}
	switch f.typ.Kind() {
	case reflect.Bool:
		return "a boolean"
	case reflect.Int, reflect.Int64:
		return "an integer"
	case reflect.Float64:
		return "a number"
	case reflect.Slice:
		return "a list"
	case reflect.Map:
		return "a map"
	case reflect.Struct, reflect.Pointer:
		return "a map of keys"
	}
	if f.or == "integer" {
		return "a string or an integer"
	}
	return "a string"
}
