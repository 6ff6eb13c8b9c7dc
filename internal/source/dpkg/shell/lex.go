package shell

import (
	"fmt"
	"strings"
)

// token kinds
const (
	tokEOF = iota
	tokWord
	tokOp // operators, and "\n"
)

type token struct {
	kind int
	text string
	line int
}

// lexer cuts a script into words and operators. Words keep their quotes.
type lexer struct {
	s       string
	at      int
	line    int
	pending []*Redir // here-documents whose bodies start after the next line feed
}

// operators, the longest first.
var operators = []string{"<<-", "&&", "||", ";;", "<<", ">>", "<&", ">&", "<>", ">|", "&", "|", ";", "<", ">", "(", ")"}

func (l *lexer) errorf(format string, args ...any) error {
	return fmt.Errorf("line %d: %s", l.line, fmt.Sprintf(format, args...))
}

func (l *lexer) next() (token, error) {
	l.skipBlanks()
	if l.at >= len(l.s) {
		return token{tokEOF, "", l.line}, nil
	}
	start := l.line
	if l.s[l.at] == '\n' {
		l.at++
		l.line++
		return token{tokOp, "\n", start}, l.heredocs()
	}
	for _, op := range operators {
		if strings.HasPrefix(l.s[l.at:], op) {
			l.at += len(op)
			return token{tokOp, op, start}, nil
		}
	}
	w, err := l.word()
	return token{tokWord, w, start}, err
}

func (l *lexer) skipBlanks() {
	for l.at < len(l.s) {
		switch c := l.s[l.at]; {
		case c == ' ' || c == '\t' || c == '\r':
			l.at++
		case c == '\\' && strings.HasPrefix(l.s[l.at:], "\\\n"):
			l.at += 2
			l.line++
		case c == '#':
			for l.at < len(l.s) && l.s[l.at] != '\n' {
				l.at++
			}
		default:
			return
		}
	}
}

// word reads to the next blank or operator outside quotes.
func (l *lexer) word() (string, error) {
	start := l.at
	for l.at < len(l.s) && !strings.ContainsRune(" \t\r\n;&|<>()", rune(l.s[l.at])) {
		if err := l.unit(); err != nil {
			return "", err
		}
	}
	w := l.s[start:l.at]
	l.line += strings.Count(w, "\n")
	return w, nil
}

// unit passes one character, quotation or expansion.
func (l *lexer) unit() error {
	n, err := unitLen(l.s[l.at:], 0)
	if err != nil {
		return l.errorf("%v", err)
	}
	l.at += n
	return nil
}

// maxNest is how deep quotations and expansions may nest.
const maxNest = 50

// unitLen returns the length of the character, quotation or expansion that s
// starts with.
func unitLen(s string, depth int) (int, error) {
	if depth > maxNest {
		return 0, fmt.Errorf("quotations nest more than %d deep", maxNest)
	}
	switch {
	case s[0] == '\\':
		return min(2, len(s)), nil
	case s[0] == '\'':
		if i := strings.IndexByte(s[1:], '\''); i >= 0 {
			return i + 2, nil
		}
		return 0, fmt.Errorf("a ' is not closed")
	case s[0] == '"':
		return until(s, 1, "\"", "\\$`", depth)
	case s[0] == '`':
		return until(s, 1, "`", "\\", depth)
	case strings.HasPrefix(s, "$(("):
		if n, err := until(s, 3, "))", "\\$`'\"(", depth); err == nil {
			return n, nil
		}
		return until(s, 2, ")", "\\$`'\"(", depth)
	case strings.HasPrefix(s, "$("):
		return until(s, 2, ")", "\\$`'\"(#", depth)
	case strings.HasPrefix(s, "${"):
		return until(s, 2, "}", "\\$`'\"", depth)
	}
	return 1, nil
}

// until passes units up to the closing string; nested are the characters that
// start a unit of more than one character here.
func until(s string, at int, closing, nested string, depth int) (int, error) {
	for at < len(s) {
		if strings.HasPrefix(s[at:], closing) {
			return at + len(closing), nil
		}
		switch c := s[at]; {
		case !strings.ContainsRune(nested, rune(c)):
			at++
		case c == '(':
			n, err := until(s[at:], 1, ")", nested, depth+1)
			if err != nil || depth > maxNest {
				return 0, fmt.Errorf("a ( is not closed")
			}
			at += n
		case c == '#':
			if at > 0 && strings.ContainsRune(" \t\n;(", rune(s[at-1])) {
				for at < len(s) && s[at] != '\n' {
					at++
				}
			} else {
				at++
			}
		default:
			n, err := unitLen(s[at:], depth+1)
			if err != nil {
				return 0, err
			}
			at += n
		}
	}
	return 0, fmt.Errorf("a %q is not closed by %q", s[:min(len(s), 2)], closing)
}

// heredocs reads the bodies of the pending here-documents.
func (l *lexer) heredocs() error {
	for _, r := range l.pending {
		end := Unquote(r.Word)
		var body strings.Builder
		for {
			if l.at >= len(l.s) {
				return l.errorf("the here-document has no end %q", end)
			}
			line, _, found := strings.Cut(l.s[l.at:], "\n")
			l.at += len(line)
			if found {
				l.at++
				l.line++
			}
			if r.Op == "<<-" {
				line = strings.TrimLeft(line, "\t")
			}
			if line == end {
				break
			}
			body.WriteString(line + "\n")
		}
		r.Quoted = end != r.Word
		r.Word = body.String()
	}
	l.pending = nil
	return nil
}

// Unquote removes quotation marks and backslashes from a word without expanding it.
func Unquote(w string) string {
	var b strings.Builder
	for i, quote := 0, byte(0); i < len(w); i++ {
		switch c := w[i]; {
		case quote == 0 && (c == '\'' || c == '"'):
			quote = c
		case c == quote:
			quote = 0
		case c == '\\' && quote != '\'' && i+1 < len(w):
			i++
			b.WriteByte(w[i])
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
