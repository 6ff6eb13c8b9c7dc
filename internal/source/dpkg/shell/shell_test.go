package shell

import (
	"fmt"
	"strings"
	"testing"
)

// dump writes statements as nested lists.
func dump(n Node) string {
	switch n := n.(type) {
	case nil:
		return "-"
	case *List:
		var b strings.Builder
		for i, it := range n.Items {
			b.WriteString(dump(it))
			if op := n.Ops[i]; op != ";" || i < len(n.Items)-1 {
				b.WriteString(" " + op + " ")
			}
		}
		return strings.TrimSpace(b.String())
	case *Simple:
		var w []string
		for _, a := range n.Assigns {
			w = append(w, a.Name+"="+a.Word)
		}
		w = append(w, n.Words...)
		for _, r := range n.Redirs {
			w = append(w, fmt.Sprintf("%s%q", r.Op, r.Word))
		}
		return "[" + strings.Join(w, " ") + "]"
	case *Pipeline:
		var c []string
		for _, x := range n.Cmds {
			c = append(c, dump(x))
		}
		s := strings.Join(c, " | ")
		if n.Not {
			return "not " + s
		}
		return s
	case *If:
		return "if(" + dump(n.Cond) + ")(" + dump(n.Then) + ")(" + dump(n.Else) + ")"
	case *Case:
		s := "case " + n.Word
		for _, a := range n.Arms {
			s += " " + strings.Join(a.Patterns, "|") + ")" + dump(a.Body)
		}
		return s
	case *Loop:
		return fmt.Sprintf("loop %s %q (%s)(%s)", n.Name, n.Words, dump(n.Cond), dump(n.Body))
	case *Func:
		return n.Name + "()" + dump(n.Body)
	case *Group:
		s := "{" + dump(n.Body) + "}"
		for _, r := range n.Redirs {
			s += fmt.Sprintf("%s%q", r.Op, r.Word)
		}
		return s
	}
	return "?"
}

func TestParse(t *testing.T) {
	for in, want := range map[string]string{
		"a b; c":                      "[a b] ; [c]",
		"# x\na 'b c' \"d $e\" # y\n": `[a 'b c' "d $e"]`,
		"a && b || c &":               "[a] && [b] || [c] &",
		"a \\\n  b":                   "[a b]",
		"x=1 y=$(a; b \")\") c":       `[x=1 y=$(a; b ")") c]`,
		"! a | b":                     "not [a] | [b]",
		"if a; then b; elif c; then d; else e; fi": "if([a])([b])(if([c])([d])([e]))",
		"case \"$1\" in (a|b) c;; *) ;; esac":      `case "$1" a|b)[c] *)`,
		"case x in a) b; esac":                     "case x a)[b]",
		"for i in a $b; do c; done":                `loop i ["a" "$b"] (-)([c])`,
		"for i\ndo c\ndone":                        "loop i [] (-)([c])",
		"while a; do b; done < f > g":              `{loop  [] ([a])([b])}<"f">"g"`,
		"f() { a; }\nf (x)":                        "",
		"f() { a; }\nf x":                          "f(){[a]} ; [f x]",
		"f () (a)":                                 "f(){[a]}",
		"cat <<E >f\nx $y\nE\nb":                   `[cat <<"x $y\n" >"f"] ; [b]`,
		"cat > f <<-'E'\n\tx\n\tE\nb":              `[cat >"f" <<-"x\n"] ; [b]`,
		"a 2>/dev/null >&2":                        `[a >"/dev/null" >&"2"]`,
		"a2>x":                                     `[a2 >"x"]`,
		"(a; b) || { c; }":                         "{[a] ; [b]} || {[c]}",
		"a `b \"c\"` ${d:-'}'}":                    "[a `b \"c\"` ${d:-'}'}]",
		"echo $((1+(2)))":                          "[echo $((1+(2)))]",
		"a &&\n\nb":                                "[a] && [b]",
		"echo if then fi":                          "[echo if then fi]",
		"> f":                                      `[>"f"]`,
		"if a; then":                               "",
		"a 'b":                                     "",
		"a )":                                      "",
		"cat <<E\nx":                               "",
		"&& a":                                     "",
		"[[ a ]]":                                  "",
		"case x in":                                "",
	} {
		got, err := Parse(in)
		if want == "" {
			if err == nil {
				t.Errorf("%q: got %s, want an error", in, dump(got))
			}
			continue
		}
		if err != nil || dump(got) != want {
			t.Errorf("%q:\n got %s, %v\nwant %s", in, dump(got), err, want)
		}
	}
}

func TestLimits(t *testing.T) {
	for _, s := range []string{strings.Repeat("if ", 1000), strings.Repeat("(", 100_000), strings.Repeat("$(", 10_000),
		strings.Repeat("f() ", 1000) + "{ a; }", strings.Repeat("${", 10_000), strings.Repeat("if a; then b; el", 1000)} {
		if _, err := Parse(s); err == nil {
			t.Errorf("%.20q… is accepted", s)
		}
	}
	if _, err := Parse("a\nb\nfoo )"); err == nil || !strings.HasPrefix(err.Error(), "line 3: ") {
		t.Errorf("the error has no line: %v", err)
	}
}

func TestUnquote(t *testing.T) {
	for in, want := range map[string]string{`a`: "a", `'a b'"c"`: "a bc", `a\ b`: "a b", `"\$x"`: "$x", `'\x'`: `\x`} {
		if got := Unquote(in); got != want {
			t.Errorf("Unquote(%s) = %q, want %q", in, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("if [ \"$1\" = configure ]; then cat <<E > f\nx\nE\nfi")
	f.Add("f() { case $x in a|b) c;; esac; }; f | while read y; do z `w`; done 2>/dev/null")
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := Parse(s); err == nil {
			_ = dump(n)
		}
	})
}
