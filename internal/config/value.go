package config

import (
	"fmt"
	"regexp"
)

// Limits of a definition.
const (
	maxFile  = 1 << 20 // bytes of one file
	maxDepth = 32      // lists and maps within each other
	maxNodes = 20_000  // values of all files together, aliases followed
)

// A kind is the type of a YAML value by the core schema of YAML 1.2.2, 10.3.
type kind string

const (
	brokenKind kind = "" // an error was reported instead
	nullKind   kind = "nothing"
	boolKind   kind = "a boolean"
	intKind    kind = "an integer"
	floatKind  kind = "a number"
	stringKind kind = "a string"
	listKind   kind = "a list"
	mapKind    kind = "a map"
)

// A value is a YAML value with the place where it is written.
type value struct {
	kind    kind
	text    string // of a scalar, without quotes
	quoted  bool
	at      Position
	items   []*value
	entries []entry
}

// An entry is a key of a map and its value.
type entry struct {
	key   string
	at    Position // of the key
	value *value
}

// find returns the index of a key, or -1.
func (v *value) find(key string) int {
	for i := range v.entries {
		if v.entries[i].key == key {
			return i
		}
	}
	return -1
}

// keys returns the keys of a map in the order in which they are written.
func (v *value) keys() []string {
	all := make([]string, len(v.entries))
	for i, e := range v.entries {
		all[i] = e.key
	}
	return all
}

// The forms of plain scalars in YAML 1.2.2, 10.3.2.
var (
	nullForm  = regexp.MustCompile(`^(null|Null|NULL|~|)$`)
	boolForm  = regexp.MustCompile(`^(true|True|TRUE|false|False|FALSE)$`)
	intForm   = regexp.MustCompile(`^([-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$`)
	floatForm = regexp.MustCompile(`^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$`)
)

// plainKind resolves a scalar without quotes.
func plainKind(s string) kind {
	switch {
	case nullForm.MatchString(s):
		return nullKind
	case boolForm.MatchString(s):
		return boolKind
	case intForm.MatchString(s):
		return intKind
	case floatForm.MatchString(s):
		return floatKind
	}
	return stringKind
}

var plainKey = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// join returns the path of a key below path. Keys that could be taken for
// several are quoted.
func join(path, key string) string {
	if !plainKey.MatchString(key) {
		key = fmt.Sprintf("%q", key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// index returns the path of a list's element.
func index(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }
