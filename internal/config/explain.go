package config

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// An Explanation is what there is to know about one key.
type Explanation struct {
	Path     string        `json:"path"` // names in maps as *, elements of lists as []
	Type     string        `json:"type"` // in words
	Doc      string        `json:"doc"`
	Required bool          `json:"required,omitempty"`
	Default  string        `json:"default,omitempty"` // as it would be written
	Example  string        `json:"example,omitempty"`
	Allowed  []string      `json:"allowed,omitempty"` // the only words
	Form     string        `json:"form,omitempty"`    // how the value, or each element, is written
	Keys     string        `json:"keys,omitempty"`    // how the keys of a map are written
	Min      string        `json:"min,omitempty"`
	Max      string        `json:"max,omitempty"`
	Children []Explanation `json:"children,omitempty"` // one floor of them
}

// Explain explains a key. Elements of maps are written by any name or *, and
// elements of lists by [], a number or not at all: containers.broker.health,
// containers.*.tmpfs.path. The empty path is the whole definition.
func Explain(path string) (Explanation, error) {
	at := field{typ: definitionType, doc: "A machine."}
	canonical := ""
	for _, name := range segments(path) {
		next, below, ok := step(at, canonical, name)
		if !ok {
			return Explanation{}, unknown(path, name, at, canonical)
		}
		at, canonical = next, below
	}
	e := explain(canonical, at)
	prefix, t := inside(canonical, at.typ)
	if t.Kind() == reflect.Struct {
		for _, f := range fieldsOf(t) {
			e.Children = append(e.Children, explain(keyPath(prefix, f.key), f))
		}
	}
	return e, nil
}

var brackets = regexp.MustCompile(`\[([^\]]*)\]`)

// segments splits a path. Elements of lists are left out, numbered or not.
func segments(path string) []string {
	var all []string
	for _, s := range strings.Split(brackets.ReplaceAllString(quoted.ReplaceAllString(path, "*"), ""), ".") {
		if s != "" {
			all = append(all, s)
		}
	}
	return all
}

// step goes from a field to the one that name stands for in it.
func step(at field, canonical, name string) (field, string, bool) {
	if at.typ.Kind() == reflect.Map && at.typ != perArchType {
		return at.element(), canonical + ".*", true
	}
	if at.typ == perArchType {
		at.typ = reflect.TypeFor[string]()
		return at, canonical + ".*", name == "*" || slices.Contains(arches(), name)
	}
	prefix, t := inside(canonical, at.typ)
	if t.Kind() != reflect.Struct {
		return field{}, "", false
	}
	for _, f := range fieldsOf(t) {
		if f.key == name {
			return f, keyPath(prefix, f.key), true
		}
	}
	return field{}, "", false
}

// keyPath joins canonical paths, whose * and [] are not quoted.
func keyPath(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// inside follows pointers, lists and maps to the type whose keys stand below
// path.
func inside(path string, t reflect.Type) (string, reflect.Type) {
	for t != perArchType {
		switch t.Kind() {
		case reflect.Pointer:
			t = t.Elem()
		case reflect.Slice:
			path, t = path+"[]", t.Elem()
		case reflect.Map:
			path, t = path+".*", t.Elem()
		default:
			return path, t
		}
	}
	return path, t
}

func unknown(path, name string, at field, canonical string) error {
	where := "a definition"
	if canonical != "" {
		where = canonical
	}
	var known []string
	if at.typ == perArchType {
		known = arches()
	}
	if _, t := inside("", at.typ); t.Kind() == reflect.Struct {
		for _, f := range fieldsOf(t) {
			known = append(known, f.key)
		}
	}
	if len(known) == 0 {
		return fmt.Errorf("there is no key %s: %s has no keys", path, where)
	}
	return fmt.Errorf("there is no key %s in %s: %s", name, where, oneOf(name, known))
}

func explain(path string, f field) Explanation {
	e := Explanation{
		Path: path, Type: describe(f), Doc: f.doc, Required: f.required, Default: f.def, Example: f.example,
		Allowed: f.enum, Min: f.min, Max: f.max,
	}
	if form, ok := formats[f.is]; ok {
		if e.Form = form.hint; f.is == "name" {
			e.Form = ""
		}
		if form.words != nil {
			e.Allowed = form.words
		}
	}
	if form, ok := formats[f.keys]; ok {
		if e.Keys = form.hint; f.keys == "name" || f.keys == "source" {
			e.Keys = "names"
		}
		if form.words != nil {
			e.Keys = "one of " + strings.Join(form.words, ", ")
		}
	}
	return e
}

// describe is a field's type in words.
func describe(f field) string {
	switch {
	case f.typ == sizeType:
		return "size"
	case f.typ == modeType:
		return "mode"
	case f.typ == durationType:
		return "duration"
	case f.typ == perArchType:
		return "string, or map from architecture to string"
	case f.typ == restartType:
		return "word, or restart"
	}
	switch f.typ.Kind() {
	case reflect.Bool:
		return "boolean"
	case reflect.Int, reflect.Int64:
		return "integer"
	case reflect.Float64:
		return "number"
	case reflect.Slice:
		return "list of " + describe(f.element())
	case reflect.Map:
		return "map of " + describe(f.element())
	case reflect.Pointer, reflect.Struct:
		_, t := inside("", f.typ)
		return strings.ToLower(t.Name())
	}
	switch {
	case f.or == "integer":
		return "string or integer"
	case f.is == "name":
		return "name"
	}
	return "string"
}

// Fields explains every key of a definition, in the order of the types, each
// key before those below it. Children are left out.
func Fields() []Explanation {
	var all []Explanation
	var walk func(path string, t reflect.Type)
	walk = func(path string, t reflect.Type) {
		for _, f := range fieldsOf(t) {
			below := keyPath(path, f.key)
			all = append(all, explain(below, f))
			if prefix, t := inside(below, f.typ); t.Kind() == reflect.Struct {
				walk(prefix, t)
			}
		}
	}
	walk("", definitionType)
	return all
}
