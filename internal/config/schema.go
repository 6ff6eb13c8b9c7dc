package config

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
)

// Schema returns the JSON Schema (draft 2020-12) of a definition file, made of
// the same tags that the parser follows. It holds the structure: keys, types,
// words, patterns and ranges of numbers. What concerns several keys, files or
// values with units is the parser's alone. A file that is included or a patch
// is a part of a definition and need not satisfy it.
func Schema() []byte {
	s := schemer{defs: map[string]any{}}
	root := s.structure(definitionType)
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["$id"] = "urn:instar:definition:1"
	root["title"] = "instar machine definition"
	root["$defs"] = s.defs
	text, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil // maps, lists, strings and numbers have an encoding
	}
	return append(text, '\n')
}

// A schemer collects the schemas of the struct types it meets.
type schemer struct{ defs map[string]any }

type object = map[string]any

func (s *schemer) structure(t reflect.Type) object {
	properties, required := object{}, []string{}
	for _, f := range fieldsOf(t) {
		p := s.field(f)
		p["description"] = f.doc + limits(f)
		if f.def != "" {
			p["default"] = literal(f.def).json()
		}
		if f.example != "" {
			p["examples"] = []any{literal(f.example).json()}
		}
		properties[f.key] = p
		if f.required {
			required = append(required, f.key)
		}
	}
	o := object{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		o["required"] = required
	}
	return o
}

// limits says in words what a schema cannot: the range of a value with a unit.
func limits(f field) string {
	if f.typ != sizeType && f.typ != durationType || f.min == "" && f.max == "" {
		return ""
	}
	return " " + strings.ToUpper(rangeHint(f)[:1]) + rangeHint(f)[1:] + "."
}

func (s *schemer) ref(t reflect.Type) object {
	if _, ok := s.defs[t.Name()]; !ok {
		s.defs[t.Name()] = nil // the types hold no circles, but two keys may have one type
		s.defs[t.Name()] = s.structure(t)
	}
	return object{"$ref": "#/$defs/" + t.Name()}
}

func (s *schemer) field(f field) object {
	switch {
	case f.typ == sizeType:
		return object{"type": "string", "pattern": sizePattern}
	case f.typ == modeType:
		return object{"type": "string", "pattern": modePattern}
	case f.typ == durationType:
		return object{"type": "string", "pattern": durationPattern}
	case f.typ == perArchType:
		return perArchSchema(f)
	case f.typ == restartType:
		return object{"anyOf": []any{text(fieldsOf(restartType)[0]), s.ref(restartType)}}
	}
	switch f.typ.Kind() {
	case reflect.Pointer:
		return s.ref(f.typ.Elem())
	case reflect.Struct:
		return s.ref(f.typ)
	case reflect.Slice:
		o := object{"type": "array", "items": s.field(f.element())}
		if f.unique {
			o["uniqueItems"] = true
		}
		if f.required {
			o["minItems"] = 1
		}
		return o
	case reflect.Map:
		o := object{"type": "object", "additionalProperties": s.field(f.element())}
		if f.keys != "" {
			o["propertyNames"] = constraint(f.keys)
		}
		if f.required {
			o["minProperties"] = 1
		}
		return o
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int, reflect.Int64:
		return ranged(object{"type": "integer"}, f)
	case reflect.Float64:
		return ranged(object{"type": "number"}, f)
	}
	return text(f)
}

// text is the schema of a string.
func text(f field) object {
	o := object{"type": "string"}
	switch {
	case f.enum != nil:
		o["enum"] = f.enum
	case f.is != "":
		o = constraint(f.is)
	}
	if f.or == "integer" {
		return object{"anyOf": []any{ranged(object{"type": "integer"}, f), o}}
	}
	return o
}

// constraint is the schema of a format.
func constraint(name string) object {
	if w := formats[name].words; w != nil {
		return object{"type": "string", "enum": w}
	}
	return object{"type": "string", "pattern": formats[name].pattern.String()}
}

func ranged(o object, f field) object {
	for key, limit := range map[string]string{"minimum": f.min, "maximum": f.max} {
		if limit != "" {
			o[key] = json.Number(limit)
		}
	}
	return o
}

func perArchSchema(f field) object {
	f.typ = reflect.TypeFor[string]()
	properties := object{}
	for _, arch := range arches() {
		properties[arch] = text(f)
	}
	byArch := object{"type": "object", "properties": properties, "additionalProperties": false, "minProperties": 1}
	return object{"anyOf": []any{text(f), byArch}}
}

// json is the value as encoding/json would have read it.
func (v *value) json() any {
	switch v.kind {
	case boolKind:
		return strings.EqualFold(v.text, "true")
	case intKind:
		if n, err := strconv.ParseInt(strings.TrimPrefix(v.text, "+"), 0, 64); err == nil {
			return n
		}
		return json.Number(strings.TrimLeft(v.text, "+"))
	case floatKind:
		x, err := strconv.ParseFloat(v.text, 64)
		if err != nil {
			return v.text
		}
		return x
	case stringKind:
		return v.text
	case listKind:
		all := make([]any, len(v.items))
		for i, item := range v.items {
			all[i] = item.json()
		}
		return all
	case mapKind:
		o := object{}
		for _, e := range v.entries {
			o[e.key] = e.value.json()
		}
		return o
	}
	return nil
}
