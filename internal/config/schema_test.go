package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"
)

func compiled(t testing.TB) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("definition.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("definition.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// structural decodes a value as the parser does, without the checks between
// keys, and returns the errors that a schema can see.
func structural(root *value) []string {
	c := newCollector()
	newDecoder(c).definition(root)
	var all []string
	for _, e := range c.errs.List {
		if !e.beyond {
			all = append(all, e.Path+": "+e.Reason)
		}
	}
	return all
}

// asJSON writes and reads a value, so that the schema sees what an editor would.
func asJSON(t testing.TB, v *value) any {
	t.Helper()
	text, err := json.Marshal(v.json())
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestSchemaSamples(t *testing.T) {
	schema := compiled(t)
	for _, s := range append(samples(t, "testdata/broken.txtar"), samples(t, "testdata/good.txtar")...) {
		class, _, _ := strings.Cut(s.name, "/")
		root := newCollector().load("site.yaml", s.files["site.yaml"].Data)
		if class == "text" || class == "files" || root == nil || slices.Contains([]string{"include", "patch-repairs"}, class) {
			continue // the schema sees one file, and no text
		}
		err := schema.Validate(asJSON(t, root))
		if want := class != "structure"; (err == nil) != want {
			t.Errorf("%s: the schema says %v", s.name, err)
		}
		if got := structural(root); (len(got) == 0) != (err == nil) {
			t.Errorf("%s: the parser says %q, the schema %v", s.name, got, err)
		}
	}
}

// Every value of the sample everything is replaced by what hardly fits.
func TestSchemaOfEachValue(t *testing.T) {
	schema := compiled(t)
	var text []byte
	for _, s := range samples(t, "testdata/good.txtar") {
		if s.name == "everything" {
			text = s.files["site.yaml"].Data
		}
	}
	refused := 0
	root := newCollector().load("site.yaml", text)
	for _, at := range nodes(root) {
		for _, other := range []string{"-1", "70000000000", "x y", "[]"} {
			before := *at
			*at = value{kind: literal(other).kind, text: other, at: at.at}
			verdict, got := schema.Validate(asJSON(t, root)), structural(root)
			if (len(got) == 0) != (verdict == nil) {
				t.Fatalf("%s for %s: parser %q, schema %v", other, at.at, got, verdict)
			}
			if verdict != nil {
				refused++
			}
			*at = before
		}
	}
	if refused < 700 {
		t.Errorf("%d values were refused", refused)
	}
}

// nodes returns a value and all below it.
func nodes(v *value) []*value {
	all := []*value{v}
	for _, e := range v.entries {
		all = append(all, nodes(e.value)...)
	}
	for _, item := range v.items {
		all = append(all, nodes(item)...)
	}
	return all
}

// Every mutation of a good definition is taken or refused by both.
func TestSchemaAgreesWithParser(t *testing.T) {
	schema := compiled(t)
	var good [][]byte
	for _, s := range samples(t, "testdata/good.txtar") {
		if len(s.files) == 1 || s.name == "everything" {
			good = append(good, s.files["site.yaml"].Data)
		}
	}
	refused := 0
	rapid.Check(t, func(t *rapid.T) {
		root := newCollector().load("site.yaml", good[rapid.IntRange(0, len(good)-1).Draw(t, "sample")])
		for range rapid.IntRange(1, 3).Draw(t, "mutations") {
			mutate(t, root)
		}
		text, _ := json.Marshal(root.json())
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		verdict, got := schema.Validate(doc), structural(root)
		if (len(got) == 0) != (verdict == nil) {
			t.Fatalf("parser: %q\nschema: %v\n%s", got, verdict, text)
		}
		if verdict != nil {
			refused++
		}
	})
	if refused == 0 {
		t.Error("no mutation was refused")
	}
}

var scalars = []string{
	"5", "0", "-1", "9", "70000", "4294967295", "1.5", "0.001", "true", "false", "yes", "~", "a", "A b", `""`, `"5"`, `"0755"`, `"true"`,
	"64MiB", "64MB", "99999999999TiB", "0B", "5ms", "5 s", "1h1m", "-5s", "/a", "a/b", "/a/../b", "amd64", "arm64", "debian", "host", "uefi",
	"always", "never", "declared", "NET_ADMIN", "TERM", "nofile", "192.0.2.1", "192.0.2.1/24", "http://a/", "https://a/b", "1:2", "[]", "{}", "[a]", "[a, a]",
	"{a: b}", "{amd64: a}", "{amd65: a}", "[[a]]", "[{}]", "{path: /a}", "0x10", "+3", "x1234567890123456",
}

// mutate changes one value somewhere in v.
func mutate(t *rapid.T, v *value) {
	all := nodes(v)
	v = all[rapid.IntRange(0, len(all)-1).Draw(t, "at")]
	other := newCollector().load("", []byte(rapid.SampledFrom(scalars).Draw(t, "value")))
	known := []string{"path", "command", "trees", "from", "memory", "a", "A_b", "amd64", "restart", "policy", "x y", "nofile"}
	switch what := rapid.IntRange(0, 5).Draw(t, "what"); {
	case what == 0 && len(v.entries) > 0:
		i := rapid.IntRange(0, len(v.entries)-1).Draw(t, "gone")
		v.entries = slices.Delete(v.entries, i, i+1)
	case what == 1 && len(v.items) > 0:
		v.items = append(v.items, v.items[0])
	case what == 2 && len(v.items) > 0:
		v.items = append(v.items, other)
	case what <= 3 && v.kind == mapKind:
		if key := rapid.SampledFrom(known).Draw(t, "key"); v.find(key) < 0 {
			v.entries = append(v.entries, entry{key: key, value: other})
		}
	case what == 4 && len(v.entries) > 0:
		key := rapid.SampledFrom(known).Draw(t, "key")
		if v.find(key) < 0 {
			v.entries[rapid.IntRange(0, len(v.entries)-1).Draw(t, "renamed")].key = key
		}
	default:
		*v = *other
	}
}

// The tags themselves: defaults and examples are values of their field, words
// and formats exist, everything is described.
func TestTags(t *testing.T) {
	var walk func(path string, typ reflect.Type)
	walk = func(path string, typ reflect.Type) {
		for _, f := range fieldsOf(typ) {
			at := keyPath(path, f.key)
			for name, text := range map[string]string{"default": f.def, "example": f.example} {
				if text == "" {
					continue
				}
				c := newCollector()
				newDecoder(c).into(reflect.New(f.typ).Elem(), literal(text), at, f)
				if err := c.result(); err != nil && !strings.Contains(err.Error(), ": is missing") {
					t.Errorf("%s of %s: %v", name, at, err)
				}
			}
			if !strings.HasSuffix(f.doc, ".") && !strings.HasSuffix(f.doc, "…") {
				t.Errorf("%s: doc %q is no sentence", at, f.doc)
			}
			for _, name := range []string{f.is, f.keys} {
				if _, ok := formats[name]; name != "" && !ok {
					t.Errorf("%s: there is no format %q", at, name)
				}
			}
			if below, typ := inside(at, f.typ); typ.Kind() == reflect.Struct {
				walk(below, typ)
			}
		}
	}
	walk("", definitionType)
}

// Every key is in the schema, and Explain knows it.
func TestFieldsEverywhere(t *testing.T) {
	var schema map[string]any
	if err := json.Unmarshal(Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	fields := Fields()
	if len(fields) < 100 {
		t.Errorf("%d fields", len(fields))
	}
	for _, f := range fields {
		e, err := Explain(f.Path)
		if e.Children = nil; err != nil || !reflect.DeepEqual(e, f) {
			t.Errorf("Explain(%s) = %+v, %v", f.Path, e, err)
		}
		if at, ok := inSchema(schema, schema, segments(f.Path)); !ok || !strings.HasPrefix(fmt.Sprint(at["description"]), f.Doc) {
			t.Errorf("%s is not in the schema", f.Path)
		}
	}
}

// inSchema follows a path through a schema's references and alternatives.
func inSchema(root, at map[string]any, path []string) (map[string]any, bool) {
	if len(path) == 0 {
		return at, true
	}
	var next []any
	if ref, ok := at["$ref"].(string); ok {
		next = append(next, root["$defs"].(map[string]any)[strings.TrimPrefix(ref, "#/$defs/")])
	}
	if alternatives, ok := at["anyOf"].([]any); ok {
		next = append(next, alternatives...)
	}
	next = append(next, at["items"])
	for _, n := range next {
		if n, ok := n.(map[string]any); ok {
			if found, ok := inSchema(root, n, path); ok {
				return found, true
			}
		}
	}
	var below any = at["additionalProperties"]
	if path[0] != "*" {
		properties, _ := at["properties"].(map[string]any)
		below = properties[path[0]]
	}
	n, ok := below.(map[string]any)
	if !ok {
		return nil, false
	}
	return inSchema(root, n, path[1:])
}
