package control

import (
	"fmt"
	"strings"
	"testing"
)

func show(s string) string {
	groups, err := ParseRelations(s)
	if err != nil {
		return "error: " + err.Error()
	}
	var out []string
	for _, g := range groups {
		text := g.String()
		for _, r := range g {
			if r.Arches != nil {
				text += fmt.Sprint(r.Arches)
			}
			if r.Profiles != nil {
				text += fmt.Sprint(r.Profiles)
			}
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

func TestParseRelations(t *testing.T) {
	rows := []struct{ text, want string }{
		{"", ""}, {" \n ", ""}, {",", ""}, {"a", "a"}, {"a,b", "a, b"}, {"a, ", "a"}, {", a,, b", "a, b"},
		{"a|b | c", "a | b | c"},
		{"libc6 (>= 2.36), x(<<1:2~), y ( = 3 )", "libc6 (>= 2.36), x (<< 1:2~), y (= 3)"},
		{"a (> 1), b (< 2), c (3)", "a (>= 1), b (<= 2), c (= 3)"},
		{"python3:any (>= 3.5~), perl:native", "python3:any (>= 3.5~), perl:native"},
		{"a [amd64 !i386] <!nocheck> <cross stage1>", "a[amd64 !i386][[!nocheck] [cross stage1]]"},
		{"a\n | b\n (>= 1)", "a | b (>= 1)"},
		{"a b", `error: relation: a comma or a bar is missing before "b"`},
		{"a |", `error: relation: a package's name is missing before ""`},
		{"a || b", `error: relation: a package's name is missing before "| b"`},
		{"a | , b", `error: relation: a package's name is missing before ", b"`},
		{"A", `error: relation: a package's name is missing before "A"`},
		{"a (>= 1", `error: relation: ')' is missing before ">= 1"`},
		{"a (=> 1)", `error: relation: "=>" compares nothing before ""`},
		{"a (>=)", `error: relation: "" is no version before ""`},
		{"a (>= 1 2)", `error: relation: "1 2" is no version before ""`},
		{"a [amd64", `error: relation: ']' is missing before "amd64"`},
		{"a <x", `error: relation: '>' is missing before "x"`},
		{strings.Repeat("a,", maxRelations+1), "error: more than 10000 relations in one field"},
	}
	for _, row := range rows {
		if got := show(row.text); got != row.want {
			t.Errorf("%.40q:\ngot  %.200s\nwant %s", row.text, got, row.want)
		}
	}
}

func TestAccepts(t *testing.T) {
	for op, want := range map[string][3]bool{"<<": {true, false, false}, "<=": {true, true, false}, "=": {false, true, false}, ">=": {false, true, true}, ">>": {false, false, true}, "": {true, true, true}} {
		for i, v := range []string{"1~", "1", "1+"} {
			if got := (Relation{Op: op, Version: "1"}).Accepts(v); got != want[i] {
				t.Errorf("%s %s 1: %v", v, op, got)
			}
		}
	}
}

func TestCounts(t *testing.T) {
	rows := []struct {
		text, arch, profile string
		want                bool
	}{
		{"a", "amd64", "", true}, {"a [amd64]", "amd64", "", true}, {"a [arm64 i386]", "amd64", "", false},
		{"a [!amd64]", "amd64", "", false}, {"a [!arm64]", "amd64", "", true}, {"a [linux-any]", "amd64", "", true},
		{"a [any-amd64]", "amd64", "", true}, {"a [hurd-any]", "amd64", "", false}, {"a [any]", "arm64", "", true},
		{"a [linux-amd64]", "amd64", "", true}, {"a [hurd-amd64]", "hurd-amd64", "", true},
		{"a <!nocheck>", "amd64", "", true}, {"a <!nocheck>", "amd64", "nocheck", false}, {"a <stage1>", "amd64", "", false},
		{"a <stage1> <!cross>", "amd64", "", true}, {"a <stage1 !nocheck>", "amd64", "stage1", true},
	}
	for _, row := range rows {
		g, err := ParseRelations(row.text)
		if err != nil {
			t.Fatal(err)
		}
		if got := g[0][0].Counts(row.arch, strings.Fields(row.profile)...); got != row.want {
			t.Errorf("%s on %s with %q: %v", row.text, row.arch, row.profile, got)
		}
	}
}

func TestIsName(t *testing.T) {
	for name, want := range map[string]bool{"a": true, "libstdc++6": true, "0ad": true, "linux-image-6.12": true, "": false, "+a": false, "A": false, "a_b": false, "a/b": false, "..": false} {
		if IsName(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}

// What is written again is read as the same.
func FuzzParseRelations(f *testing.F) {
	for _, s := range []string{"a (>= 1) | b:any, c [!amd64] <x !y>", "a,,b", "a(<<1:2~)", "x <a> <b>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		groups, err := ParseRelations(s)
		if err != nil {
			return
		}
		var parts []string
		for _, g := range groups {
			parts = append(parts, g.String())
			for _, r := range g {
				r.Counts("amd64", "nocheck")
			}
		}
		text := strings.Join(parts, ", ")
		again, err := ParseRelations(text)
		if err != nil || len(again) != len(groups) {
			t.Fatalf("%q became %q: %v", s, text, err)
		}
		for i := range again {
			if again[i].String() != groups[i].String() {
				t.Errorf("%q became %q", groups[i], again[i])
			}
		}
	})
}
