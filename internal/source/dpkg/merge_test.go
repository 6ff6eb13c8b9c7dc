package dpkg_test

import (
	"archive/tar"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/source/dpkg"
	"github.com/instar-os/instar/internal/source/dpkg/dpkgtest"
	"github.com/instar-os/instar/internal/tree"
)

// made unpacks a package made from control fields and items.
func made(t testing.TB, control string, items ...item) *dpkg.Package {
	t.Helper()
	words := strings.Fields(control)
	p, err := unpack(t, words[1], words[3], dpkgtest.Deb(control, nil, items...))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func dir(name string, mode int64) item {
	return item{Name: name, Kind: tar.TypeDir, Mode: mode}
}

func link(name, target string) item { return item{Name: name, Kind: tar.TypeSymlink, Link: target} }

func TestMerge(t *testing.T) {
	const a, b = "Package: a\nVersion: 1", "Package: b\nVersion: 2"
	for name, c := range map[string]struct {
		pkgs []*dpkg.Package
		path string
		want string // of the path, or part of the error
	}{
		"usr-merge":        {[]*dpkg.Package{made(t, a, item{Name: "./lib/x/y", Body: "1"})}, "usr/lib/x/y", "file 0644 a"},
		"layout":           {[]*dpkg.Package{made(t, a)}, "lib64", "symlink 0777 the declared layout usr/lib64"},
		"lib stays a link": {[]*dpkg.Package{made(t, a, dir("./lib/", 0o755), item{Name: "./lib/x"})}, "lib", "symlink 0777 the declared layout usr/lib"},
		"run":              {[]*dpkg.Package{made(t, a, dir("./var/run/", 0o755), dir("./var/run/x", 0o700))}, "run/x", "dir 0700 a"},
		"base-files' link": {[]*dpkg.Package{made(t, "Package: base-files\nVersion: 1", link("./bin", "usr/bin"))}, "bin", "symlink 0777 base-files usr/bin"},
		"same file":        {[]*dpkg.Package{made(t, a, item{Name: "x", Body: "1"}), made(t, b, item{Name: "x", Body: "1"})}, "x", "file 0644 a"},
		"conflict": {[]*dpkg.Package{made(t, a, item{Name: "x", Body: "1"}), made(t, b, item{Name: "x", Body: "2"})}, "",
			"/x: a 1 amd64 brings a file"},
		"replaces": {[]*dpkg.Package{made(t, a+"\nReplaces: b", item{Name: "x", Body: "1"}), made(t, b, item{Name: "x", Body: "22"})}, "x", "file 0644 a"},
		"replaces earlier": {[]*dpkg.Package{made(t, a, item{Name: "x", Body: "1"}), made(t, b+"\nReplaces: z, a (<< 2)", item{Name: "x", Body: "22"})}, "x",
			"file 0644 b"},
		"replaces others": {[]*dpkg.Package{made(t, a, item{Name: "x", Body: "1"}), made(t, b+"\nReplaces: a (<< 1)", item{Name: "x", Body: "22"})}, "",
			"/x: a 1 amd64 brings a file"},
		"directory attributes":          {[]*dpkg.Package{made(t, a, dir("d", 0o755)), made(t, b, dir("d", 0o700))}, "d", "dir 0700 b"},
		"base-files says of the root":   {[]*dpkg.Package{made(t, a, dir("./", 0o700)), made(t, "Package: base-files\nVersion: 1", dir("./", 0o755))}, ".", "dir 0755 base-files"},
		"directories that disagree":     {[]*dpkg.Package{made(t, a, dir("d", 0o750)), made(t, b, dir("d", 0o700))}, "", "/d: a 1 amd64 brings a dir (mode 0750"},
		"file and directory":            {[]*dpkg.Package{made(t, a, dir("d", 0o755)), made(t, b+"\nReplaces: a", item{Name: "d"})}, "", "/d: a 1 amd64 brings a dir"},
		"a package's link to elsewhere": {[]*dpkg.Package{made(t, a, link("./bin", "opt/bin"))}, "", "/bin: the declared layout brings a symlink"},
	} {
		for range 3 {
			rand.Shuffle(len(c.pkgs), func(i, j int) { c.pkgs[i], c.pkgs[j] = c.pkgs[j], c.pkgs[i] })
			got, err := dpkg.Merge(c.pkgs)
			if c.path == "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%s: got %v, want %q", name, err, c.want)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			e, _ := got.Get(c.path)
			owner, _, _ := strings.Cut(e.Owner, " 1")
			owner, _, _ = strings.Cut(owner, " 2")
			s := strings.TrimSpace(fmt.Sprintf("%v %04o %s %s", e.Kind, e.Mode, owner, e.Target))
			if s != c.want {
				t.Errorf("%s: got %q, want %q", name, s, c.want)
			}
		}
	}
}

// TestMergeReal merges the list of the benchmark, in two orders.
func TestMergeReal(t *testing.T) {
	if testing.Short() {
		t.Skip("150 archives")
	}
	objects := &dpkgtest.Memory{}
	pkgs := unpackAll(t, objects, nil, dpkgtest.Archives(t, dpkgtest.Size145()...))
	first, err := dpkg.Merge(pkgs)
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(pkgs)
	second, err := dpkg.Merge(pkgs)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Check(); err != nil {
		t.Error(err)
	}
	if first.Len() != second.Len() {
		t.Fatalf("%d and %d entries", first.Len(), second.Len())
	}
	for p, e := range first.All() {
		if o, _ := second.Get(p); !o.Equal(e) || o.Owner != e.Owner {
			t.Errorf("%s: %+v in one order, %+v in the other", p, e, o)
		}
	}
	for p, want := range map[string]string{"bin/sh": "usr/bin/dash", "lib64/ld-linux-x86-64.so.2": "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"} {
		if got, ok := first.Resolve(p); !ok || got != want {
			t.Errorf("/%s is %s, want %s", p, got, want)
		}
	}
	if e, _ := first.Get("tmp"); e.Kind != tree.Dir || e.Mode != 0o1777 {
		t.Errorf("/tmp is %+v", e)
	}
}
