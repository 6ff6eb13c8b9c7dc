package licence

import "strings"

// Declared is the licence of a package that says an SPDX expression by itself,
// as those of Alpine do. One with words that SPDX does not have, or that is no
// expression, becomes a reference as a whole.
func Declared(expression string) Licence {
	words := strings.Fields(strings.NewReplacer("(", " ( ", ")", " ) ").Replace(expression))
	if len(words) == 0 || len(expression) > maxSynopsis {
		return Licence{}
	}
	l := Licence{References: map[string]Text{}}
	if out, ok := expressed(words); ok {
		l.Expression = strings.NewReplacer("( ", "(", " )", ")").Replace(strings.Join(out, " "))
		return l
	}
	l.Expression = l.refer(strings.Join(words, " "), "")
	return l
}

// expressed checks the grammar of an expression and spells its words as SPDX does.
func expressed(words []string) (out []string, ok bool) {
	depth, operand := 0, true // an operand is awaited
	last := ""
	for _, w := range words {
		switch {
		case last == "WITH":
			if w = exceptionID(w); w == "" {
				return nil, false
			}
			operand = false
		case operand && w == "(":
			depth++
		case operand:
			if w = identifier(w); w == "" || strings.Contains(w, " ") {
				return nil, false
			}
			operand = false
		case w == ")" && depth > 0:
			depth--
		case w == "AND" || w == "OR" || w == "WITH" && last != ")":
			operand = true
		default:
			return nil, false
		}
		out, last = append(out, w), w
	}
	return out, depth == 0 && !operand
}
