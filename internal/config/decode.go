package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// A place is where a key and its value are written. For the element of a list
// both are the element.
type place struct{ key, value Position }

// A decoder fills a Definition from a value and reports what does not fit.
type decoder struct {
	*collector
	places map[string]place
	types  map[reflect.Type][]field // what fields has read so far
}

func newDecoder(c *collector) *decoder {
	return &decoder{c, map[string]place{}, map[reflect.Type][]field{}}
}

// fields is fieldsOf with the defaults parsed, once a type.
func (d *decoder) fields(t reflect.Type) []field {
	all, known := d.types[t]
	if !known {
		all = fieldsOf(t)
		for i := range all {
			if all[i].def != "" {
				all[i].absent = literal(all[i].def)
			}
		}
		d.types[t] = all
	}
	return all
}

// definition decodes a whole definition and fills in the defaults of the tags.
func (d *decoder) definition(root *value) *Definition {
	var def Definition
	d.places[""] = place{root.at, root.at}
	d.structure(reflect.ValueOf(&def).Elem(), root, "")
	return &def
}

// key decodes one key of a definition for its errors alone.
func (d *decoder) key(e entry, key string) {
	for _, f := range d.fields(definitionType) {
		if f.key == key {
			d.into(reflect.New(f.typ).Elem(), e.value, key, f)
		}
	}
}

// structure decodes a map into a struct.
func (d *decoder) structure(dst reflect.Value, v *value, path string) {
	fields := d.fields(dst.Type())
	known := make([]string, len(fields))
	for i, f := range fields {
		known[i] = f.key
	}
	meant := d.unknown(v, path, known)
	for _, f := range fields {
		below := join(path, f.key)
		if j := v.find(f.key); j >= 0 {
			e := v.entries[j]
			d.places[below] = place{e.at, e.value.at}
			d.into(dst.Field(f.index), e.value, below, f)
			continue
		}
		d.fill(dst.Field(f.index), f)
		if f.required && !d.bad[below] && !slices.Contains(meant, f.key) {
			d.add(d.places[path].key, below, "is missing", example(f))
		}
	}
}

// unknown reports the keys of a map that are not known, and returns those that
// were probably meant.
func (d *decoder) unknown(v *value, path string, known []string) []string {
	var meant []string
	for _, e := range v.entries {
		if !slices.Contains(known, e.key) {
			d.add(e.at, join(path, e.key), "there is no such key here", oneOf(e.key, known))
			meant = append(meant, suggest(e.key, known))
		}
	}
	return meant
}

// example is a hint that shows how a key is written.
func example(f field) string {
	if f.example != "" {
		return "write it as " + f.key + ": " + f.example
	}
	return f.doc
}

// fill sets what an absent key means. No file is a default's place.
func (d *decoder) fill(dst reflect.Value, f field) {
	switch {
	case f.absent != nil:
		(&decoder{newCollector(), map[string]place{}, d.types}).into(dst, f.absent, f.key, f)
	case dst.Kind() == reflect.Struct:
		for _, below := range d.fields(dst.Type()) {
			d.fill(dst.Field(below.index), below)
		}
	}
}

// literal is the value of YAML in a tag; a test holds that it is one.
func literal(text string) *value {
	if v := newCollector().load("", []byte(text)); v != nil {
		return v
	}
	return &value{}
}

// into decodes v into dst, which has f's type.
func (d *decoder) into(dst reflect.Value, v *value, path string, f field) {
	if v.kind == brokenKind {
		d.bad[path] = true
		return
	}
	if v.kind == nullKind {
		d.add(v.at, path, "has no value", "remove the key, or give it "+typeName(f))
		return
	}
	switch {
	case dst.Type() == perArchType:
		d.perArch(dst, v, path, f)
	case dst.Type() == restartType && v.kind != mapKind:
		d.fill(dst, f)
		policy := d.fields(restartType)[0]
		d.into(dst.Field(policy.index), v, path, policy)
	case dst.Kind() == reflect.Pointer:
		dst.Set(reflect.New(dst.Type().Elem()))
		f.typ = f.typ.Elem()
		d.into(dst.Elem(), v, path, f)
	case dst.Kind() == reflect.Struct:
		if d.is(v, mapKind, path, f) {
			d.structure(dst, v, path)
		}
	case dst.Kind() == reflect.Map:
		d.mapping(dst, v, path, f)
	case dst.Kind() == reflect.Slice:
		d.list(dst, v, path, f)
	default:
		d.scalar(dst, v, path, f)
	}
}

// is reports whether v has the kind, and adds an error otherwise.
func (d *decoder) is(v *value, want kind, path string, f field) bool {
	if v.kind == want {
		return true
	}
	hint := ""
	words := f.enum
	if form := formats[f.is]; form.words != nil {
		words = form.words
	}
	switch {
	case words != nil && want == stringKind:
		hint = oneOf(v.text, words)
	case want == stringKind && (v.kind == intKind || v.kind == floatKind || v.kind == boolKind):
		hint = fmt.Sprintf("write it in quotes: %q", v.text)
	case want == listKind && v.kind == stringKind:
		hint = "write [" + strings.Join(strings.Fields(v.text), ", ") + "]"
	case want == mapKind && v.kind == listKind:
		hint = "write keys with values, not elements with dashes"
	case f.example != "":
		hint = "write it as " + f.example
	}
	d.add(v.at, path, "is "+string(v.kind)+", not "+typeName(f), hint)
	return false
}

func (d *decoder) mapping(dst reflect.Value, v *value, path string, f field) {
	if !d.is(v, mapKind, path, f) || d.empty(len(v.entries), v, path, f) {
		return
	}
	dst.Set(reflect.MakeMap(f.typ))
	for _, e := range v.entries {
		below := join(path, e.key)
		d.places[below] = place{e.at, e.value.at}
		if f.keys != "" {
			d.format(e.key, e.at, below, f.keys, "the key ")
		}
		one := reflect.New(f.typ.Elem()).Elem()
		d.into(one, e.value, below, f.element())
		dst.SetMapIndex(reflect.ValueOf(e.key), one)
	}
}

func (d *decoder) list(dst reflect.Value, v *value, path string, f field) {
	if !d.is(v, listKind, path, f) || d.empty(len(v.items), v, path, f) {
		return
	}
	dst.Set(reflect.MakeSlice(f.typ, len(v.items), len(v.items)))
	seen := map[string]kind{}
	for i, item := range v.items {
		below := index(path, i)
		d.places[below] = place{item.at, item.at}
		d.into(dst.Index(i), item, below, f.element())
		if first, twice := seen[item.text]; f.unique && twice && !d.bad[below] {
			report := d.add
			if first != item.kind {
				report = d.beyond // to a schema, 5 and "5" differ
			}
			report(item.at, below, strconv.Quote(item.text)+" stands here twice", "remove one of the two")
			continue
		}
		seen[item.text] = item.kind
	}
}

// empty reports an empty list or map where something must stand.
func (d *decoder) empty(n int, v *value, path string, f field) bool {
	if n > 0 || !f.required {
		return false
	}
	d.add(v.at, path, "is empty", example(f))
	return true
}

// perArch decodes a word, or a map from architecture to word.
func (d *decoder) perArch(dst reflect.Value, v *value, path string, f field) {
	p := PerArch{}
	dst.Set(reflect.ValueOf(p))
	f.typ = reflect.TypeFor[string]()
	if v.kind != mapKind {
		s := reflect.New(f.typ).Elem()
		d.into(s, v, path, f)
		p[""] = s.String()
		return
	}
	if len(v.entries) == 0 {
		d.add(v.at, path, "is empty", "name each architecture, or write one word for all")
	}
	for _, e := range v.entries {
		below := join(path, e.key)
		d.places[below] = place{e.at, e.value.at}
		if d.enum(e.key, e.at, below, archesIn(d.fields(definitionType))) {
			s := reflect.New(f.typ).Elem()
			d.into(s, e.value, below, f)
			p[e.key] = s.String()
		}
	}
}

// enum reports a word that is none of those allowed.
func (d *decoder) enum(s string, at Position, path string, words []string) bool {
	for _, w := range words {
		if s == w {
			return true
		}
	}
	d.add(at, path, fmt.Sprintf("%q is none of %s", s, strings.Join(words, ", ")), oneOf(s, words))
	return false
}

// format reports a word that does not look as it must.
func (d *decoder) format(s string, at Position, path, name, what string) bool {
	f := formats[name]
	if f.words != nil {
		for _, w := range f.words {
			if s == w {
				return true
			}
		}
		bare := strings.ToUpper(strings.TrimPrefix(strings.TrimPrefix(strings.ToUpper(s), "SIG"), "CAP_"))
		if name == "rlimit" {
			bare = strings.ToLower(strings.TrimPrefix(strings.ToUpper(s), "RLIMIT_"))
		}
		d.add(at, path, fmt.Sprintf("%s%q is not %s", what, s, f.want), oneOf(bare, f.words))
		return false
	}
	if !f.pattern.MatchString(s) {
		d.add(at, path, fmt.Sprintf("%s%q is not %s", what, s, f.want), f.hint)
		return false
	}
	if f.check != nil {
		if reason := f.check(s); reason != "" {
			d.beyond(at, path, fmt.Sprintf("%s%q: %s", what, s, reason), f.fix)
			return false
		}
	}
	return true
}
