// The architecture as tests: who may import whom, and what no file may say.
package instar_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/instar-os/instar/"

type pkg struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
	Deps         []string
	Standard     bool
}

func list(t *testing.T, args ...string) []pkg {
	t.Helper()
	out, err := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,TestImports,XTestImports,Deps,Standard"}, args...)...).Output()
	if err != nil {
		var ee *exec.ExitError
		if errors.As(err, &ee) {
			t.Fatalf("go list: %v\n%s", err, ee.Stderr)
		}
		t.Fatal(err)
	}
	var pkgs []pkg
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

// layout is layers.txt: the rooms in their order and the floor of each, and
// the walls of third-party modules.
type layout struct {
	order map[string]int
	floor map[string]string
	walls map[string][]string
}

func readLayout(t *testing.T) layout {
	t.Helper()
	text, err := os.ReadFile("layers.txt")
	if err != nil {
		t.Fatal(err)
	}
	l := layout{map[string]int{}, map[string]string{}, map[string][]string{}}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, rest, ok := strings.Cut(line, ":")
		if !ok {
			t.Fatalf("layers.txt: no colon in %q", line)
		}
		if mod, isWall := strings.CutPrefix(name, "wall "); isWall {
			l.walls[mod] = strings.Fields(rest)
			continue
		}
		for _, room := range strings.Fields(rest) {
			l.order[room] = len(l.order)
			l.floor[room] = name
		}
	}
	return l
}

// room returns the room of layers.txt that a package belongs to: its path below
// internal/, or the longest prefix of it that is listed.
func (l layout) room(importPath string) string {
	p, ok := strings.CutPrefix(importPath, module+"internal/")
	if !ok {
		return ""
	}
	for q := p; q != ""; {
		if _, ok := l.order[q]; ok {
			return q
		}
		i := strings.LastIndexByte(q, '/')
		if i < 0 {
			break
		}
		q = q[:i]
	}
	return p
}

func TestLayers(t *testing.T) {
	l := readLayout(t)
	seen := map[string]bool{}
	for _, p := range list(t, "./internal/...") {
		from := l.room(p.ImportPath)
		if _, ok := l.order[from]; !ok {
			t.Errorf("%s is not in layers.txt", p.ImportPath)
			continue
		}
		seen[from] = true
		for _, imp := range p.Imports {
			to := l.room(imp)
			if to == "" || to == from {
				continue
			}
			if l.order[to] > l.order[from] {
				t.Errorf("%s imports %s, which stands after it in layers.txt", from, to)
			}
			if l.floor[from] == "device" && l.floor[to] == "builder" {
				t.Errorf("device room %s imports builder room %s", from, to)
			}
		}
	}
	for room := range l.order {
		if !seen[room] {
			t.Errorf("layers.txt names %s, which does not exist", room)
		}
	}
}

func TestWalls(t *testing.T) {
	l := readLayout(t)
	for _, p := range list(t, "./...") {
		for _, imp := range p.Imports {
			if strings.HasPrefix(imp, module) || !strings.Contains(strings.SplitN(imp, "/", 2)[0], ".") {
				continue
			}
			wall := ""
			for mod := range l.walls {
				if (imp == mod || strings.HasPrefix(imp, mod+"/")) && len(mod) > len(wall) {
					wall = mod
				}
			}
			if wall == "" {
				t.Errorf("%s imports %s: no wall in layers.txt names that module", p.ImportPath, imp)
				continue
			}
			self := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "internal/")
			if !slices.ContainsFunc(l.walls[wall], func(w string) bool {
				return w == "*" || w == self || strings.HasPrefix(self, w+"/")
			}) {
				t.Errorf("%s imports %s, which belongs behind the wall of %v", self, imp, l.walls[wall])
			}
		}
	}
}

// PID 1 parses nothing foreign from a network and holds no heavy library.
func TestInitIsSmall(t *testing.T) {
	for _, p := range list(t, "./cmd/instar-init") {
		for _, d := range p.Deps {
			switch {
			case d == "net/http", d == "crypto/tls", d == "os/exec":
				t.Errorf("instar-init depends on %s", d)
			case strings.HasPrefix(d, module), strings.HasPrefix(d, "golang.org/x/sys"):
			case strings.Contains(strings.SplitN(d, "/", 2)[0], ".") && !strings.HasPrefix(d, "vendor/"):
				t.Errorf("instar-init depends on %s; it uses the standard library and golang.org/x/sys", d)
			}
		}
	}
}

// Only cmd reads flags and the environment, prints to the standard streams and
// exits; PID 1's console is a field.
func TestOnlyCmdPrintsAndExits(t *testing.T) {
	bad := regexp.MustCompile(`(^|[^.\w])(os\.Exit|os\.Getenv|os\.LookupEnv|fmt\.Print(f|ln)?|log\.(Fatal|Print|Panic)\w*|flag\.Parse)\(`)
	for _, f := range tracked(t, "internal/*.go") {
		if strings.HasSuffix(f, "_test.go") || strings.Contains(f, "/testdata/") || strings.Contains(f, "test/") {
			continue
		}
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(text), "\n") {
			if bad.MatchString(line) && !strings.HasPrefix(strings.TrimSpace(line), "//") {
				t.Errorf("%s:%d: %s", f, i+1, strings.TrimSpace(line))
			}
		}
	}
}

// No file names a machine of one developer or a registry's host; Debian's two
// public names stand in one place as built-in defaults.
func TestNoForeignNames(t *testing.T) {
	bad := regexp.MustCompile(`deb\.` + `debian\.org|proxy\.` + `golang\.org|registry\.` + `npmjs\.org|/(wo` + `rk)/(main|shared)`)
	defaults := regexp.MustCompile(`ftp\.` + `debian\.org|security\.` + `debian\.org`)
	for _, f := range tracked(t, ".") {
		text, err := os.ReadFile(f)
		if err != nil || bytes.IndexByte(text, 0) >= 0 {
			continue
		}
		if m := bad.Find(text); m != nil {
			t.Errorf("%s: contains %s", f, m)
		}
		if strings.HasSuffix(f, ".go") && defaults.Match(text) && !strings.HasPrefix(f, "internal/source/deb/") {
			t.Errorf("%s: the archive's default address belongs in internal/source/deb", f)
		}
	}
}

func tracked(t *testing.T, pathspec string) []string {
	t.Helper()
	out, err := exec.Command("git", "ls-files", "-z", "--", pathspec).Output()
	if err != nil {
		t.Skipf("needs a git checkout: %v", err)
	}
	return strings.FieldsFunc(string(out), func(r rune) bool { return r == 0 })
}
