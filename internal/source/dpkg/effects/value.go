package effects

import (
	"strings"
)

// value is the text of a word, as far as it is known. What is not known may be
// what the merged tree decides (later), or what nothing decides.
type value struct {
	s     string
	known bool
	later bool
}

func literal(s string) value { return value{s: s, known: true} }

func open(s string) value { return value{s: s} }

// expander turns a word as written into fields.
type expander struct {
	m      *machine
	fields []value
	cur    strings.Builder
	known  bool
	later  bool // what is not known is decided by the tree
	any    bool // cur is a field even when empty
}

// fields expands a word: quotes, variables, command substitutions, field
// splitting. What cannot be known stays in the text as written.
func (m *machine) fields(word string) []value {
	x := &expander{m: m, known: true}
	x.expand(word, false)
	x.flush()
	return x.fields
}

// one expands a word to a single value, without splitting.
func (m *machine) one(word string) value {
	x := &expander{m: m, known: true}
	x.expand(word, true)
	return x.value()
}

func (x *expander) value() value {
	return value{x.cur.String(), x.known, !x.known && x.later}
}

// Limits of one word: what grows beyond them is not known. No package's script
// comes near.
const (
	maxWord   = 1 << 20 // bytes
	maxFields = 10_000
)

func (x *expander) flush() {
	if (x.any || x.cur.Len() > 0) && len(x.fields) < maxFields {
		x.fields = append(x.fields, x.value())
	}
	x.cur.Reset()
	x.known, x.later, x.any = true, false, false
}

func (x *expander) expand(w string, quoted bool) {
	for i := 0; i < len(w); {
		n := unit(w[i:])
		u := w[i : i+n]
		i += n
		switch {
		case u[0] == '\\' && len(u) == 2:
			if u[1] != '\n' {
				x.add(u[1:])
			}
		case u[0] == '\'' && len(u) > 1:
			x.any = true
			x.cur.WriteString(u[1 : len(u)-1])
		case u[0] == '"' && len(u) > 1:
			x.any = true
			x.double(u[1 : len(u)-1])
		case (u[0] == '$' || u[0] == '`') && len(u) > 1:
			x.dollar(u, quoted)
		default:
			x.add(u)
		}
	}
}

func (x *expander) add(s string) { x.cur.WriteString(s) }

// double expands what stands between double quotes.
func (x *expander) double(w string) {
	for i := 0; i < len(w); {
		if w[i] == '\\' && i+1 < len(w) {
			if !strings.ContainsRune("$`\"\\\n", rune(w[i+1])) {
				x.cur.WriteByte('\\')
			}
			if w[i+1] != '\n' {
				x.cur.WriteByte(w[i+1])
			}
			i += 2
			continue
		}
		if w[i] != '$' && w[i] != '`' {
			x.cur.WriteByte(w[i])
			i++
			continue
		}
		n := unit(w[i:])
		if w[i:i+n] == "$@" {
			for k, p := range x.m.args {
				if k > 0 {
					x.flush()
					x.any = true
				}
				x.put(p)
			}
		} else {
			x.dollar(w[i:i+n], true)
		}
		i += n
	}
}

// put appends a value to the current field.
func (x *expander) put(v value) {
	if x.cur.Len()+len(v.s) > maxWord {
		v = open("…")
	}
	x.cur.WriteString(v.s)
	if !v.known {
		x.later = v.later && (x.known || x.later)
	}
	x.known = x.known && v.known
}

// dollar expands "$x", "${…}", "$(…)" or "`…`"; outside quotes what is known is
// split at white space.
func (x *expander) dollar(u string, quoted bool) {
	if u == "$" {
		x.add(u)
		return
	}
	if !quoted && (u == "$@" || u == "$*") {
		for _, p := range x.m.args {
			x.put(p)
			x.flush()
		}
		return
	}
	v := x.m.expansion(u)
	if quoted || !v.known {
		x.put(v)
		return
	}
	words := strings.Fields(v.s)
	if v.s != "" && strings.TrimLeft(v.s, " \t\n") != v.s {
		x.flush()
	}
	for k, w := range words {
		if k > 0 {
			x.flush()
		}
		x.put(literal(w))
	}
	if v.s != "" && strings.TrimRight(v.s, " \t\n") != v.s {
		x.flush()
	}
}

// expansion returns the value of one expansion as written.
func (m *machine) expansion(u string) value {
	unknown := open(u)
	switch {
	case u[0] == '`':
		return m.substitute(strings.ReplaceAll(u[1:len(u)-1], "\\`", "`"), u)
	case strings.HasPrefix(u, "$(("):
		return unknown
	case strings.HasPrefix(u, "$("):
		return m.substitute(u[2:len(u)-1], u)
	case strings.HasPrefix(u, "${"):
		return m.braces(u)
	}
	return m.parameter(u[1:], unknown)
}

// braces evaluates ${name}, ${name:-word}, ${name:+word}; other forms are unknown.
func (m *machine) braces(u string) value {
	body := u[2 : len(u)-1]
	n := 0
	for n < len(body) && (body[n] == '_' || body[n] >= '0' && body[n] <= '9' || body[n]|0x20 >= 'a' && body[n]|0x20 <= 'z') {
		n++
	}
	unknown := open(u)
	if n == 0 {
		return unknown
	}
	v, rest := m.parameter(body[:n], unknown), body[n:]
	op := strings.TrimPrefix(rest, ":")
	switch {
	case rest == "" || !v.known && op != "" && op[0] != '+':
		return v
	case op == "" || !v.known:
		return unknown
	case op[0] == '-' || op[0] == '=':
		if v.s == "" {
			return m.one(op[1:])
		}
		return v
	case op[0] == '+':
		if v.s != "" {
			return m.one(op[1:])
		}
		return literal("")
	}
	return unknown
}

// parameter returns a variable or positional parameter; what was never set is empty.
func (m *machine) parameter(name string, unknown value) value {
	if len(name) == 1 && name[0] >= '1' && name[0] <= '9' {
		if i := int(name[0] - '1'); i < len(m.args) {
			return m.args[i]
		}
		return literal("")
	}
	switch name {
	case "?", "#", "$", "!", "-":
		return unknown
	case "0":
		return literal(m.script)
	}
	if v, ok := m.vars[name]; ok {
		if !v.known {
			unknown.later = v.later
			return unknown
		}
		return v
	}
	return literal("")
}

// unit returns the length of the quotation, expansion or character at the start
// of a word that the parser has accepted.
func unit(s string) int {
	switch {
	case s[0] == '\\':
		return min(2, len(s))
	case s[0] == '\'':
		if i := strings.IndexByte(s[1:], '\''); i >= 0 {
			return i + 2
		}
	case s[0] == '"':
		return closed(s, 1, '"')
	case s[0] == '`':
		return closed(s, 1, '`')
	case strings.HasPrefix(s, "$("):
		return closed(s, 2, ')')
	case strings.HasPrefix(s, "${"):
		return closed(s, 2, '}')
	case s[0] == '$' && len(s) > 1:
		n := 1
		for n < len(s) && (s[n] == '_' || s[n]|0x20 >= 'a' && s[n]|0x20 <= 'z' || n > 1 && s[n] >= '0' && s[n] <= '9') {
			n++
		}
		if n == 1 && strings.IndexByte("0123456789?#$!@*-", s[1]) >= 0 {
			n = 2
		}
		return n
	}
	return 1
}

// closed passes nested units up to end.
func closed(s string, at int, end byte) int {
	for at < len(s) {
		switch c := s[at]; {
		case c == end:
			return at + 1
		case c == '\\':
			at = min(at+2, len(s))
		case c == '\'' && end == '"':
			at++
		case c == '(' && end == ')':
			at += closed(s[at:], 1, ')')
		case c == '`' && end == '`':
			return at + 1
		case strings.IndexByte("'\"`$", c) >= 0:
			at += unit(s[at:])
		default:
			at++
		}
	}
	return len(s)
}
