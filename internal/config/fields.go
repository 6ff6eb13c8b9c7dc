package config

import (
	"reflect"
	"strings"
	"time"
)

// A field is what the tags of a struct field say.
type field struct {
	key      string
	index    int // in its struct
	typ      reflect.Type
	required bool
	doc      string
	def      string // YAML; "" for none
	example  string // YAML; "" for none
	enum     []string
	min, max string // YAML; "" for none
	is, keys string // formats of the value and of a map's keys
	or       string // "integer" where one is accepted as well
	unique   bool
	absent   *value // the default, where a decoder made it of def
}

// fieldsOf reads the tags of a struct type.
func fieldsOf(t reflect.Type) []field {
	var all []field
	for i := range t.NumField() {
		sf := t.Field(i)
		key, option, _ := strings.Cut(sf.Tag.Get("yaml"), ",")
		if key == "-" {
			continue
		}
		f := field{
			key: key, index: i, typ: sf.Type, required: option == "required",
			doc: sf.Tag.Get("doc"), def: sf.Tag.Get("default"), example: sf.Tag.Get("example"),
			min: sf.Tag.Get("min"), max: sf.Tag.Get("max"),
			is: sf.Tag.Get("is"), keys: sf.Tag.Get("keys"), or: sf.Tag.Get("or"),
			unique: sf.Tag.Get("unique") == "true",
		}
		if e := sf.Tag.Get("enum"); e != "" {
			f.enum = strings.Split(e, ",")
		}
		all = append(all, f)
	}
	return all
}

// element is the field of one element of a list or map.
func (f field) element() field {
	f.typ = f.typ.Elem()
	f.required, f.unique, f.keys, f.def, f.example = false, false, "", "", ""
	return f
}

// The types that are written in a way of their own.
var (
	sizeType       = reflect.TypeFor[Size]()
	modeType       = reflect.TypeFor[Mode]()
	durationType   = reflect.TypeFor[time.Duration]()
	perArchType    = reflect.TypeFor[PerArch]()
	restartType    = reflect.TypeFor[Restart]()
	definitionType = reflect.TypeFor[Definition]()
)

// arches are the architectures a definition may name.
func arches() []string { return archesIn(fieldsOf(definitionType)) }

// archesIn finds them among the fields of Definition.
func archesIn(fields []field) []string {
	for _, f := range fields {
		if f.key == "arch" {
			return f.enum
		}
	}
	return nil
}
