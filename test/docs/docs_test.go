// Package docs keeps documents true: pages of formats whose fields come from
// the Go types that read and write them, and links that lead somewhere.
package docs

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the generated parts anew")

const root = "../.."

// pages have a generated part: the fields of these types of a package, under
// the names that a tag gives them.
var pages = []struct {
	page, pkg, tag string
}{
	{"docs/format/manifest.md", "internal/system", "json"},
	{"docs/format/lock.md", "internal/lock", "yaml"},
	{"docs/format/control.md", "internal/wire", "json"},
	{"docs/format/record.md", "internal/record", "json"},
}

const begin, end = "<!-- generated from the types -->\n", "<!-- end of the generated part -->\n"

func TestFormatPages(t *testing.T) {
	for _, p := range pages {
		name := filepath.Join(root, p.page)
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		head, rest, ok1 := strings.Cut(string(b), begin)
		_, tail, ok2 := strings.Cut(rest, end)
		if !ok1 || !ok2 {
			t.Fatalf("%s has no generated part", p.page)
		}
		want := head + begin + fields(t, filepath.Join(root, p.pkg), p.tag) + end + tail
		if want == string(b) {
			continue
		}
		if !*update {
			t.Errorf("%s does not have the fields of %s; go test ./test/docs -update writes them", p.page, p.pkg)
			continue
		}
		if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// fields renders every exported struct of a package that has tagged fields.
func fields(t *testing.T, dir, tag string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	fset := token.NewFileSet()
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.TYPE {
				for _, s := range g.Specs {
					structure(&out, g, s.(*ast.TypeSpec), tag)
				}
			}
		}
	}
	return out.String()
}

func structure(out *strings.Builder, g *ast.GenDecl, s *ast.TypeSpec, tag string) {
	st, ok := s.Type.(*ast.StructType)
	if !ok || !s.Name.IsExported() {
		return
	}
	var rows []string
	for _, f := range st.Fields.List {
		if f.Tag == nil || len(f.Names) == 0 {
			continue
		}
		m := regexp.MustCompile(tag + `:"([^",]+)`).FindStringSubmatch(f.Tag.Value)
		if m == nil {
			continue
		}
		rows = append(rows, fmt.Sprintf("| `%s` | %s | %s |\n", m[1], typeName(f.Type), comment(f)))
	}
	if len(rows) == 0 {
		return
	}
	text := g.Doc.Text()
	if s.Doc != nil {
		text = s.Doc.Text()
	}
	fmt.Fprintf(out, "### %s\n\n%s\n\n| field | type | meaning |\n|---|---|---|\n%s\n", s.Name.Name, oneLine(text), strings.Join(rows, ""))
}

func comment(f *ast.Field) string {
	return oneLine(strings.TrimSpace(f.Doc.Text() + " " + f.Comment.Text()))
}

func oneLine(s string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(s), " "), "|", `\|`)
}

func typeName(e ast.Expr) string {
	switch v := e.(type) {
	case *ast.Ident:
		return v.Name
	case *ast.StarExpr:
		return typeName(v.X)
	case *ast.ArrayType:
		return "list of " + typeName(v.Elt)
	case *ast.MapType:
		return "map of " + typeName(v.Key) + " to " + typeName(v.Value)
	case *ast.SelectorExpr:
		return typeName(v.X) + "." + v.Sel.Name
	}
	return "value"
}

var link = regexp.MustCompile(`\]\(([^)#\s]+)`)

// Every link of every document to a file of the repository leads somewhere.
func TestLinks(t *testing.T) {
	var files []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md", "examples/*/*.md"} {
		more, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, more...)
	}
	if len(files) < 10 {
		t.Fatalf("only %d documents", len(files))
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(name), m[1])); err != nil {
				t.Errorf("%s: %s leads nowhere", name, m[1])
			}
		}
	}
}

// Every page of the guide is in its index, and every command has its page.
func TestGuideIsWhole(t *testing.T) {
	index, err := os.ReadFile(filepath.Join(root, "docs/guide/README.md"))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob(filepath.Join(root, "docs/guide/*.md"))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, p := range pages {
		text, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
		if base := filepath.Base(p); base != "README.md" && !strings.Contains(string(index), "("+base+")") {
			t.Errorf("docs/guide/README.md does not list %s", base)
		}
	}
	for _, c := range commands(t) {
		if !regexp.MustCompile(`(?m)\binstar\b.*\s` + c + `\b`).MatchString(all.String()) {
			t.Errorf("no page of the guide runs instar %s", c)
		}
	}
}

// commands are the names that cobra commands of cmd/instar are used by.
func commands(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "cmd/instar/*.go"))
	if err != nil {
		t.Fatal(err)
	}
	use := regexp.MustCompile(`(?m)^\s*Use:\s+"([a-z-]+)`)
	var out []string
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range use.FindAllStringSubmatch(string(text), -1) {
			if m[1] != "instar" && !slices.Contains(out, m[1]) {
				out = append(out, m[1])
			}
		}
	}
	if len(out) < 15 {
		t.Fatalf("only %d commands: %v", len(out), out)
	}
	return out
}
