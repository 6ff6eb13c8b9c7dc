package tree

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/instar-os/instar/internal/digest"
)

// build makes a tree of lines "path", "path/" (directory), "path -> target"
// (symlink), "path = target" (hard link), "path : content".
func build(t testing.TB, owner string, lines ...string) *Tree {
	t.Helper()
	tr := New()
	for _, l := range lines {
		e := Entry{Kind: File, Mode: 0o644, Owner: owner}
		p := l
		if a, b, ok := strings.Cut(l, " -> "); ok {
			p, e = a, Entry{Kind: Symlink, Mode: 0o777, Target: b, Owner: owner}
		} else if a, b, ok := strings.Cut(l, " = "); ok {
			p, e = a, Entry{Kind: Hardlink, Target: b, Owner: owner}
		} else if a, b, ok := strings.Cut(l, " : "); ok {
			p, e.Size, e.Digest = a, int64(len(b)), digest.Of([]byte(b))
		} else if a, ok := strings.CutSuffix(l, "/"); ok {
			p, e = a, Entry{Kind: Dir, Mode: 0o755, Owner: owner}
		}
		if err := tr.Put(p, e); err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

// dump is the reverse of build, without the root.
func dump(t *Tree) string {
	var lines []string
	for p, e := range t.All() {
		switch {
		case p == Root:
		case e.Kind == Dir:
			lines = append(lines, p+"/")
		case e.Kind == Symlink:
			lines = append(lines, p+" -> "+e.Target)
		case e.Kind == Hardlink:
			lines = append(lines, p+" = "+e.Target)
		case e.Size > 0:
			lines = append(lines, p+" :"+fmt.Sprint(e.Size))
		default:
			lines = append(lines, p)
		}
	}
	return strings.Join(lines, " ")
}

func TestClean(t *testing.T) {
	long := strings.Repeat("n", MaxName)
	for in, want := range map[string]string{
		"": Root, ".": Root, "/": Root, "./": Root, "//": Root, "./usr/bin/": "usr/bin", "/usr//bin/.": "usr/bin",
		"a..b": "a..b", "...": "...", long: long,
	} {
		if got, err := Clean(in); err != nil || got != want {
			t.Errorf("Clean(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"..", "a/../b", "/..", "a/..", "a\x00b", long + "n", strings.Repeat("abcdefg/", 600)} {
		if got, err := Clean(in); err == nil {
			t.Errorf("Clean(%.20q) = %.20q, want an error", in, got)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add("./a//b/../c")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := Clean(s)
		if err != nil {
			return
		}
		if q, err := Clean(p); err != nil || q != p {
			t.Errorf("Clean(%q) = %q, and that becomes %q, %v", s, p, q, err)
		}
		if err := New().Put(p, Entry{Kind: Dir}); err != nil {
			t.Error(err)
		}
	})
}

func TestPut(t *testing.T) {
	tr := build(t, "me", "a/b/c", "l -> a")
	if e, _ := tr.Get("a/b"); e.Kind != Dir || e.Mode != 0o755 || e.Owner != "me" {
		t.Errorf("made parent %+v", e)
	}
	for p, want := range map[string]string{"a/b/c/d": "not a directory", "l/x": "not a directory", "./x": "not clean", "../x": `".."`} {
		if err := tr.Put(p, Entry{Kind: File}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Put(%q) = %v, want %q", p, err, want)
		}
	}
	if err := tr.Put(Root, Entry{Kind: File}); err == nil {
		t.Error("the root became a file")
	}
	if err := tr.Put("a", Entry{Kind: File}); err != nil || dump(tr) != "a l -> a" {
		t.Errorf("a file over a directory: %v, %s", err, dump(tr))
	}
}

func TestRemove(t *testing.T) {
	for name, c := range map[string]struct {
		lines  []string
		remove string
		want   string
	}{
		"file":              {[]string{"a", "b"}, "a", "b"},
		"absent":            {[]string{"a"}, "x", "a"},
		"directory":         {[]string{"a/b/c", "a.x", "ab/c"}, "a", "a.x ab/ ab/c"},
		"root":              {[]string{"a/b", "c"}, Root, ""},
		"inode":             {[]string{"a : 1", "b = a", "c = a"}, "a", "b :1 c = b"},
		"link only":         {[]string{"a : 1", "b = a"}, "b", "a :1"},
		"inode in a subdir": {[]string{"d/a : 1", "d/b = d/a", "c = d/a"}, "d", "c :1"},
	} {
		tr := build(t, "me", c.lines...)
		tr.Remove(c.remove)
		if got := dump(tr); got != c.want {
			t.Errorf("%s: %s; want %s", name, got, c.want)
		}
		if err := tr.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOrder(t *testing.T) {
	tr := build(t, "", "a-b/x", "a/x", "a.c", "b", "a/")
	if got, want := dump(tr), "a/ a/x a-b/ a-b/x a.c b"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := tr.Children("a"); !slices.Equal(got, []string{"x"}) {
		t.Errorf("children of a: %q", got)
	}
	if got := tr.Children(Root); !slices.Equal(got, []string{"a", "a-b", "a.c", "b"}) {
		t.Errorf("children of the root: %q", got)
	}
}

func TestComparePathsIsAnOrder(t *testing.T) {
	gen := rapid.SliceOfN(rapid.StringMatching(`[a/.-]{1,6}`), 3, 3)
	rapid.Check(t, func(t *rapid.T) {
		var p [3]string
		for i, s := range gen.Draw(t, "paths") {
			c, err := Clean(strings.ReplaceAll(s, "..", ""))
			if err != nil {
				t.Skip()
			}
			p[i] = c
		}
		ab, bc, ac := ComparePaths(p[0], p[1]), ComparePaths(p[1], p[2]), ComparePaths(p[0], p[2])
		if ab != 0 && ab < 0 == (ComparePaths(p[1], p[0]) < 0) || (ab == 0) != (p[0] == p[1]) {
			t.Errorf("%q and %q: %d and back", p[0], p[1], ab)
		}
		if ab <= 0 && bc <= 0 && ac > 0 {
			t.Errorf("%q is not transitive", p)
		}
	})
}

func TestResolve(t *testing.T) {
	tr := build(t, "", "usr/bin/sh", "bin -> usr/bin", "sbin -> /usr/bin", "up -> ../../usr", "a -> b", "b -> a",
		"dangling -> nowhere", "usr/lib/x = usr/bin/sh", "var/run -> /run", "run/", "chain -> bin/../bin", "file -> usr/bin/sh")
	for p, want := range map[string]string{
		"bin/sh": "usr/bin/sh", "/sbin/sh": "usr/bin/sh", "up/bin": "usr/bin", "../usr": "usr", "chain/sh": "usr/bin/sh",
		"var/run": "run", ".": Root, "": Root, "usr/..": Root, "usr/../../bin": "usr/bin", "file": "usr/bin/sh",
	} {
		if got, ok := tr.Resolve(p); !ok || got != want {
			t.Errorf("Resolve(%q) = %q, %v; want %q", p, got, ok, want)
		}
	}
	for _, p := range []string{"a", "b/x", "dangling", "bin/none", "bin/none/x", "usr/bin/sh/x"} {
		if got, ok := tr.Resolve(p); ok {
			t.Errorf("Resolve(%q) = %q, want nothing there", p, got)
		}
	}
	if e, ok := tr.Stat("usr/lib/x"); !ok || e.Kind != File {
		t.Errorf("Stat of a hard link: %+v", e)
	}
}

func TestCheck(t *testing.T) {
	for want, entries := range map[string]map[string]Entry{
		"its parent a is not a directory": {Root: {Kind: Dir}, "a/b": {Kind: File}},
		"unknown kind 0":                  {Root: {Kind: Dir}, "a": {}},
		"not a file of the tree":          {Root: {Kind: Dir}, "a": {Kind: Hardlink, Target: "b"}, "b": {Kind: Hardlink, Target: "a"}},
		"is not a directory":              {Root: {Kind: Dir}, "a": {Kind: File}, "a/b": {Kind: File}},
	} {
		if err := (&Tree{entries: entries}).Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestEqualAndBytes(t *testing.T) {
	a := Entry{Kind: File, Mode: 0o644, Owner: "x", Xattrs: map[string]string{"user.a": "1"}}
	b := a
	b.Owner, b.Xattrs = "y", map[string]string{"user.a": "1"}
	if !a.Equal(b) {
		t.Error("owners make entries differ")
	}
	if b.Xattrs["user.a"] = "2"; a.Equal(b) {
		t.Error("attributes do not make entries differ")
	}
	if b = a; b.MTime == 0 {
		b.MTime = 5
	}
	if a.Equal(b) || !a.sameContent(b) {
		t.Error("times must matter to Equal alone")
	}
	if n := build(t, "", "a : 123", "b = a", "c : 45").Bytes(); n != 5 {
		t.Errorf("%d bytes, want 5", n)
	}
}
