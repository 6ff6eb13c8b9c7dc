package config

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
)

const referenceHead = `<!-- generated from the types of internal/config; go test ./internal/config -update writes it -->
# Reference of the definition

Every key of a definition, as ` + "`instar explain`" + ` shows it. In paths, ` + "`*`" + ` is a name that you choose, and
` + "`[]`" + ` an element of a list. A key without default means nothing when it is absent, unless its text says otherwise.

How values are written:

| type | written as |
|---|---|
| size | a whole number with one of the units ` + "`B`, `KiB`, `MiB`, `GiB`, `TiB`" + `: ` + "`64MiB`" + ` |
| duration | numbers with the units ` + "`ns`, `us`, `ms`, `s`, `m`, `h`: `5ms`, `1m30s`" + ` |
| mode | three or four octal digits in quotes: ` + "`\"0755\"`" + ` |
| boolean | ` + "`true` or `false`" + `; ` + "`yes` and `on`" + ` are strings |
| name | lower-case letters, digits and dashes, a letter first, at most 63 characters |
| string | a word, in quotes where YAML would take it for something else: ` + "`\"5\"`" + ` |
`

// Reference returns the whole reference of the definition in Markdown.
func Reference() []byte {
	var b bytes.Buffer
	b.WriteString(referenceHead)
	var section func(path string, doc string, t reflect.Type)
	section = func(path, doc string, t reflect.Type) {
		title := "The definition"
		if path != "" {
			title = "`" + path + "`"
		}
		fmt.Fprintf(&b, "\n## %s\n\n", title)
		if doc != "" {
			fmt.Fprintf(&b, "%s\n\n", doc)
		}
		b.WriteString("| key | type | default | meaning |\n|---|---|---|---|\n")
		for _, f := range fieldsOf(t) {
			row(&b, explain(f.key, f))
		}
		for _, f := range fieldsOf(t) {
			if below, t := inside(keyPath(path, f.key), f.typ); t.Kind() == reflect.Struct {
				section(below, f.doc, t)
			}
		}
	}
	section("", "", definitionType)
	return b.Bytes()
}

func row(b *bytes.Buffer, e Explanation) {
	def := ""
	switch {
	case e.Required:
		def = "required"
	case e.Default != "":
		def = code(e.Default)
	}
	meaning := []string{cell(e.Doc)}
	if len(e.Allowed) > 0 {
		words := make([]string, len(e.Allowed))
		for i, w := range e.Allowed {
			words[i] = code(w)
		}
		meaning = append(meaning, "One of "+strings.Join(words, ", ")+".")
	} else if e.Form != "" {
		meaning = append(meaning, cell(sentence(e.Form)))
	}
	if e.Keys != "" {
		meaning = append(meaning, cell("Keys: "+e.Keys+"."))
	}
	if f := (field{min: e.Min, max: e.Max}); e.Min != "" || e.Max != "" {
		meaning = append(meaning, cell(sentence(rangeHint(f))))
	}
	if e.Example != "" {
		meaning = append(meaning, "Example: "+code(e.Example)+".")
	}
	fmt.Fprintf(b, "| %s | %s | %s | %s |\n", code(e.Path), cell(e.Type), def, strings.Join(meaning, " "))
}

// sentence makes one of a hint.
func sentence(s string) string { return strings.ToUpper(s[:1]) + s[1:] + "." }

func code(s string) string { return "`" + cell(s) + "`" }

// cell keeps text within its cell of a table.
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
