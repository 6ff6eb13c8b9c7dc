package licence

import (
	"regexp"
	"strings"
	"testing"
)

const head = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: x\n\n"

func TestParse(t *testing.T) {
	for _, row := range []struct{ name, text, want string }{
		{"one", "Files: *\nCopyright: x\nLicense: GPL-2+\n text\n", "GPL-2.0-or-later"},
		{"two parts", "Files: *\nLicense: Expat\n\nFiles: debian/*\nLicense: GPL-3\n\nLicense: Expat\n text\n", "GPL-3.0-only AND MIT"},
		{"the same twice", "Files: *\nLicense: ISC\n\nFiles: a\nLicense: ISC\n", "ISC"},
		{"a choice", "Files: *\nLicense: GPL-2+ or Artistic-2.0\n", "GPL-2.0-or-later OR Artistic-2.0"},
		{"a choice and more", "Files: *\nLicense: GPL-2+ or Artistic-2.0, and BSD-3-clause\n", "BSD-3-Clause AND (GPL-2.0-or-later OR Artistic-2.0)"},
		{"and binds closer", "Files: *\nLicense: GPL-2+ or ISC and Zlib\n", "GPL-2.0-or-later OR (ISC AND Zlib)"},
		{"perl", "Files: *\nLicense: Perl\n\nFiles: a\nLicense: Zlib\n", "(Artistic-1.0-Perl OR GPL-1.0-or-later) AND Zlib"},
		{"a list", "Files: *\nLicense: ISC and Zlib\n\nFiles: a\nLicense: Zlib and Expat\n", "ISC AND MIT AND Zlib"},
		{"perl within", "Files: *\nLicense: Perl and Zlib or ISC\n", "((Artistic-1.0-Perl OR GPL-1.0-or-later) AND Zlib) OR ISC"},
		{"an exception", "Files: *\nLicense: GPL-3+ with GCC-exception-3.1\n", "GPL-3.0-or-later WITH GCC-exception-3.1"},
		{"an exception, in words", "Files: *\nLicense: GPL-2 with Linux-syscall-note exception\n", "GPL-2.0-only WITH Linux-syscall-note"},
		{"point releases", "Files: *\nLicense: LGPL-2.1+\n\nFiles: a\nLicense: Apache-2\n\nFiles: b\nLicense: LGPLv3+\n", "Apache-2.0 AND LGPL-2.1-or-later AND LGPL-3.0-or-later"},
		{"documentation", "Files: *\nLicense: GFDL-NIV-1.3+\n", "GFDL-1.3-no-invariants-or-later"},
		{"header", "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			text := head + row.text
			if row.name == "header" {
				text, row.want = strings.TrimSpace(head)+"\nLicense: Zlib\n", "Zlib"
			}
			l := Parse([]byte(text))
			if l.Expression != row.want || len(l.References) != 0 {
				t.Errorf("%q %v, want %q", l.Expression, l.References, row.want)
			}
		})
	}
}

func TestReferences(t *testing.T) {
	l := Parse([]byte(head + "Files: *\nLicense: public-domain\n No\n .\n   rights.\n\nFiles: a\nLicense: GPL-2+ with OpenSSL exception\n\nLicense: GPL-2+ with OpenSSL exception\n as below\n"))
	want := regexp.MustCompile(`^LicenseRef-GPL-2-with-OpenSSL-exception-[0-9a-f]{12} AND LicenseRef-public-domain-[0-9a-f]{12}$`)
	if !want.MatchString(l.Expression) {
		t.Fatalf("%q", l.Expression)
	}
	for ref, text := range l.References {
		if name := strings.Contains(ref, "public"); name && text != (Text{"public-domain", "No\n\n  rights."}) || !name && text.Text != "as below" {
			t.Errorf("%s: %q", ref, text)
		}
	}
	free := "This package was debianized by somebody.\nIt is under the GPL."
	l = Parse([]byte(free))
	if len(l.References) != 1 || !strings.HasPrefix(l.Expression, "LicenseRef-copyright-") || l.References[l.Expression].Text != free {
		t.Errorf("%+v", l)
	}
	if other := Parse([]byte(free + "!")); other.Expression == l.Expression {
		t.Error("two texts have one reference")
	}
	if l := Parse([]byte(" \n")); l.Expression != "" {
		t.Errorf("nothing said gives %q", l.Expression)
	}
}

func TestDeclared(t *testing.T) {
	for in, want := range map[string]string{
		"MIT": "MIT", "gpl-2.0-or-later": "GPL-2.0-or-later", "(MIT OR Zlib) AND ISC": "(MIT OR Zlib) AND ISC",
		"GPL-3.0-or-later WITH GCC-exception-3.1": "GPL-3.0-or-later WITH GCC-exception-3.1", "": "",
	} {
		if l := Declared(in); l.Expression != want || len(l.References) > 0 {
			t.Errorf("%q: %q %v", in, l.Expression, l.References)
		}
	}
	for _, in := range []string{"custom", "MIT AND", "MIT MIT", "(MIT", "MIT)", "AND", "MIT WITH MIT", "(MIT) WITH LLVM-exception", "WITH LLVM-exception"} {
		if l := Declared(in); len(l.References) != 1 || l.References[l.Expression].Name == "" {
			t.Errorf("%q: %q %v", in, l.Expression, l.References)
		}
	}
}

// Every word of an expression is an identifier, a reference or an operator.
func FuzzParse(f *testing.F) {
	f.Add([]byte(head + "Files: *\nLicense: GPL-2+ or Artistic, and foo with bar exception\n text\n"))
	f.Add([]byte(head + "Files: *\nLicense: ,and or , and\n"))
	f.Add([]byte("free\xff text"))
	f.Fuzz(func(t *testing.T, b []byte) {
		l := Parse(b)
		words := strings.Fields(strings.NewReplacer("(", " ", ")", " ").Replace(l.Expression))
		used := map[string]bool{}
		for i, w := range words {
			_, isRef := l.References[w]
			used[w] = true
			switch {
			case isRef, ids[strings.ToLower(w)] == w:
			case w == "AND" || w == "OR" || w == "WITH":
				if i == 0 || i == len(words)-1 {
					t.Fatalf("%q", l.Expression)
				}
			case i > 0 && words[i-1] == "WITH":
			default:
				t.Fatalf("%q of %q", w, l.Expression)
			}
		}
		for ref := range l.References {
			if !used[ref] {
				t.Fatalf("%s is not in %q", ref, l.Expression)
			}
		}
	})
}
