package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// A loader turns the YAML nodes of one file into values.
type loader struct {
	*collector
	file string
	full bool // a limit was exceeded and reported
}

// load reads one file's text. It returns nil after an error that leaves no
// value; further errors are in c.
func (c *collector) load(file string, text []byte) *value {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	c.open(file, string(text))
	l := &loader{collector: c, file: file}
	if !l.checkText(text) {
		return nil
	}
	doc := l.document(text)
	if doc == nil {
		return nil
	}
	v := l.value(doc, "", 0)
	if l.full {
		return nil
	}
	return v
}

func (l *loader) at(line, column int) Position {
	return Position{File: l.file, Line: line, Column: column}
}

// checkText refuses what is not text before the YAML library sees it, which
// would report it without its place.
func (l *loader) checkText(text []byte) bool {
	if len(text) > maxFile {
		l.add(l.at(1, 1), "", "the file is larger than 1 MiB", "")
		return false
	}
	line, column := 1, 1
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRune(text[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			l.add(l.at(line, column), "", fmt.Sprintf("byte 0x%02x is not UTF-8", text[i]), "save the file as UTF-8")
			return false
		case r == '\r' && (i+1 == len(text) || text[i+1] != '\n'), !printable(r):
			l.add(l.at(line, column), "", fmt.Sprintf("the character %U may not stand in a definition", r), `write it as an escape within double quotes`)
			return false
		case column == 1 && r == '%':
			l.add(l.at(line, column), "", "YAML directives are not used here", "remove the line")
			return false
		}
		i += n
		if column++; r == '\n' {
			line, column = line+1, 1
		}
	}
	return true
}

// printable reports whether YAML 1.2.2, 5.1 allows the character unescaped,
// less the breaks that only YAML 1.1 knows and marks that reorder the line.
func printable(r rune) bool {
	switch {
	case r == '\t', r == '\n', r == '\r':
		return true
	case r < 0x20, r == 0x7f, 0x80 <= r && r <= 0x9f:
		return false
	case r == 0x2028, r == 0x2029, 0x202a <= r && r <= 0x202e, 0x2066 <= r && r <= 0x2069:
		return false
	case r == 0xfffe, r == 0xffff, r == 0xfeff:
		return false
	}
	return true
}

// document parses the text, which must be one YAML document.
func (l *loader) document(text []byte) *yaml.Node {
	loader, err := yaml.NewLoader(bytes.NewReader(text))
	if err != nil {
		l.syntax(err)
		return nil
	}
	var doc, second yaml.Node
	if err := loader.Load(&doc); errors.Is(err, io.EOF) {
		l.add(l.at(1, 1), "", "the file holds no definition", "instar init writes one to begin with")
		return nil
	} else if err != nil {
		l.syntax(err)
		return nil
	}
	if err := loader.Load(&second); err == nil {
		l.add(l.at(second.Line, second.Column), "", "a second YAML document begins here", "use include to divide a definition into files")
		return nil
	} else if !errors.Is(err, io.EOF) {
		l.syntax(err)
		return nil
	}
	if len(doc.Content) != 1 {
		l.add(l.at(1, 1), "", "the file holds no definition", "instar init writes one to begin with")
		return nil
	}
	return doc.Content[0]
}

// syntax reports an error of the YAML library.
func (l *loader) syntax(err error) {
	var e *yaml.LoadError
	if !errors.As(err, &e) {
		l.add(l.at(1, 1), "", "not YAML: "+err.Error(), "")
		return
	}
	reason := "not YAML: " + e.Message
	if e.ContextMsg != "" {
		reason += " " + e.ContextMsg
	}
	mark, hint := e.Mark, syntaxHint(e.Message)
	switch from := e.ContextMark; {
	case mark.Line == 0:
		mark = from
	case hint == "" && from.Line > 0 && from != mark:
		hint = fmt.Sprintf("it begins at line %d, column %d", from.Line, from.Column)
	}
	l.add(l.at(mark.Line, mark.Column), "", reason, hint)
}

// syntaxHint explains the YAML library's commonest messages.
func syntaxHint(message string) string {
	switch {
	case strings.Contains(message, "mapping values are not allowed"):
		return "indent all keys of a map alike, and quote a value that holds a colon and a space"
	case strings.Contains(message, "cannot start any token"):
		return "indent with spaces, and quote a value that begins with a tab, @ or `"
	}
	return ""
}

// value converts a node and everything in it.
func (l *loader) value(n *yaml.Node, path string, depth int) *value {
	at := l.at(n.Line, n.Column)
	broken := &value{at: at}
	l.nodes++
	switch {
	case l.full:
		return broken
	case l.nodes > maxNodes:
		l.full = true
		l.add(at, path, fmt.Sprintf("more than %d values, aliases followed", maxNodes), "")
		return broken
	case depth > maxDepth:
		l.full = true
		l.add(at, path, fmt.Sprintf("nested deeper than %d levels", maxDepth), "")
		return broken
	case n.Style&yaml.TaggedStyle != 0 || strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!"):
		l.add(at, path, "YAML tags are not used here", "remove "+n.Tag)
		return broken
	}
	switch n.Kind {
	case yaml.AliasNode:
		v := l.value(n.Alias, path, depth+1)
		v.at = at
		return v
	case yaml.SequenceNode:
		return l.list(n, at, path, depth)
	case yaml.MappingNode:
		return l.mapping(n, at, path, depth)
	}
	if strings.ContainsRune(n.Value, 0) {
		l.add(at, path, "the text holds a NUL character", "")
		return broken
	}
	v := &value{kind: stringKind, text: n.Value, at: at}
	v.quoted = n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
	if !v.quoted {
		v.kind = plainKind(n.Value)
	}
	return v
}

func (l *loader) list(n *yaml.Node, at Position, path string, depth int) *value {
	v := &value{kind: listKind, at: at}
	for i, item := range n.Content {
		v.items = append(v.items, l.value(item, index(path, i), depth+1))
	}
	return v
}

func (l *loader) mapping(n *yaml.Node, at Position, path string, depth int) *value {
	v := &value{kind: mapKind, at: at}
	seen := map[string]Position{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, ok := l.key(n.Content[i], path)
		if !ok {
			continue
		}
		at := l.at(n.Content[i].Line, n.Content[i].Column)
		below := join(path, key)
		if first, twice := seen[key]; twice {
			l.add(at, below, fmt.Sprintf("is set already at %s", first.Short()), "remove one of the two")
			continue
		}
		seen[key] = at
		v.entries = append(v.entries, entry{key, at, l.value(n.Content[i+1], below, depth+1)})
	}
	return v
}

// key returns the text of a map's key, which must be a plain or quoted scalar.
func (l *loader) key(n *yaml.Node, path string) (string, bool) {
	at := l.at(n.Line, n.Column)
	switch {
	case n.Kind != yaml.ScalarNode:
		l.add(at, path, "a key must be a word", "")
	case n.Style&yaml.TaggedStyle != 0:
		l.add(at, path, "YAML tags are not used here", "remove "+n.Tag)
	case n.Tag == "!!merge":
		l.add(at, join(path, "<<"), "merge keys are not used here", "use include or patches, or write the keys out")
	case n.Value == "" || strings.ContainsRune(n.Value, 0):
		l.add(at, path, "a key must be a word", "")
	default:
		return n.Value, true
	}
	return "", false
}
