package tree

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestMerge(t *testing.T) {
	for name, c := range map[string]struct {
		first, second []string
		rule          Rule
		want          string
		conflict      string
	}{
		"disjoint":  {[]string{"a/b"}, []string{"a/c", "d"}, SameOrConflict, "a/ a/b a/c d", ""},
		"same file": {[]string{"a : 1"}, []string{"a : 1"}, SameOrConflict, "a :1", ""},
		"conflict": {[]string{"a : 1"}, []string{"a : 2"}, SameOrConflict, "",
			"/a: one brings a file (mode 0644, 0:0, 1 bytes"},
		"last wins": {[]string{"a : 1", "b -> x"}, []string{"a : 22", "b"}, LastWins, "a :2 b", ""},
		"directory over file": {[]string{"a"}, []string{"a/b"}, LastWins, "",
			"/a: one brings a file (mode 0644, 0:0, 0 bytes, 000000000000), two brings a dir (mode 0755, 0:0)"},
		"file over directory": {[]string{"a/b"}, []string{"a"}, LastWins, "", "/a: one brings a dir"},
		"usr-merge": {[]string{"usr/lib/", "lib -> usr/lib"}, []string{"lib/", "lib/x/y", "usr/lib/z"}, SameOrConflict,
			"lib -> usr/lib usr/ usr/lib/ usr/lib/x/ usr/lib/x/y usr/lib/z", ""},
		"link and file": {[]string{"l -> f", "f"}, []string{"l/x"}, SameOrConflict, "", "/l: one brings a symlink"},
		"nested links": {[]string{"usr/lib/", "lib -> usr/lib", "usr/lib/a/", "usr/lib/b -> a"}, []string{"lib/b/x"}, SameOrConflict,
			"lib -> usr/lib usr/ usr/lib/ usr/lib/a/ usr/lib/a/x usr/lib/b -> a", ""},
		"hard link to a later path": {[]string{"usr/bin/", "bin -> usr/bin"}, []string{"usr/bin/b : 1", "bin/a = usr/bin/b"}, SameOrConflict,
			"bin -> usr/bin usr/ usr/bin/ usr/bin/a = usr/bin/b usr/bin/b :1", ""},
		"hard link moves with its target": {[]string{"usr/lib/", "lib -> usr/lib"}, []string{"lib/a : 1", "x/b = lib/a"}, SameOrConflict,
			"lib -> usr/lib usr/ usr/lib/ usr/lib/a :1 x/ x/b = usr/lib/a", ""},
		"inode replaced": {[]string{"a : 1", "b = a"}, []string{"a : 22"}, LastWins, "a :2 b :1", ""},
		"link to what is a link already": {[]string{"a : 1", "b = a"}, []string{"b : 1", "c = b"},
			func(_ string, first, _ Entry) (Entry, error) { return first, nil }, "a :1 b = a c = a", ""},
		"link to what is no file": {[]string{"b -> x"}, []string{"b : 1", "c = b"},
			func(_ string, first, _ Entry) (Entry, error) { return first, nil }, "", "/c: hard link to /b"},
		"rule turns a directory into a file": {[]string{"a/b"}, []string{"a"},
			func(_ string, _, second Entry) (Entry, error) { return second, nil }, "a", ""},
	} {
		got := build(t, "one", c.first...)
		err := got.Merge(build(t, "two", c.second...), c.rule)
		if c.conflict != "" {
			if err == nil || !strings.Contains(err.Error(), c.conflict) {
				t.Errorf("%s: %v, want %q", name, err, c.conflict)
			}
			continue
		}
		if err != nil || dump(got) != c.want {
			t.Errorf("%s: %v\n got %s\nwant %s", name, err, dump(got), c.want)
			continue
		}
		if err := got.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMergeReportsAll(t *testing.T) {
	got := build(t, "one", "a : 1", "b : 1", "c : 1")
	err := got.Merge(build(t, "two", "a : 2", "b : 1", "c : 2"), SameOrConflict)
	var c *Conflict
	if !errors.As(err, &c) || c.First.Owner != "one" || c.Second.Owner != "two" {
		t.Fatalf("error %v", err)
	}
	if n := strings.Count(err.Error(), "\n") + 1; n != 2 {
		t.Errorf("%d conflicts, want 2: %v", n, err)
	}
}

func TestPrune(t *testing.T) {
	lines := []string{"usr/share/doc/a/copyright", "usr/share/doc/a/NEWS.gz", "usr/share/doc/b/x/README",
		"usr/share/man/de/man1/ls.1.gz", "usr/share/man/man1/ls.1.gz", "usr/bin/ls : 1", "usr/bin/dir = usr/bin/ls", "a.pyc", "x/y/z.pyc"}
	for name, c := range map[string]struct {
		drop, keep []string
		want       string // what is left
	}{
		"nothing": {nil, nil, dump(build(t, "", lines...))},
		"docs but copyright": {[]string{"usr/share/doc/**", "usr/share/man"}, []string{"usr/share/doc/*/copyright"},
			"a.pyc usr/ usr/bin/ usr/bin/dir = usr/bin/ls usr/bin/ls :1 usr/share/ usr/share/doc/ usr/share/doc/a/ usr/share/doc/a/copyright x/ x/y/ x/y/z.pyc"},
		"any depth":     {[]string{"**/*.pyc", "usr"}, nil, "x/ x/y/"},
		"inode":         {[]string{"usr/share", "usr/bin/ls", "x", "*.pyc"}, nil, "usr/ usr/bin/ usr/bin/dir :1"},
		"keep wins all": {[]string{"**"}, []string{"usr/bin"}, "usr/ usr/bin/ usr/bin/dir = usr/bin/ls usr/bin/ls :1"},
	} {
		tr := build(t, "", lines...)
		before := tr.Len()
		gone, err := tr.Prune(c.drop, c.keep)
		if err != nil || dump(tr) != c.want {
			t.Errorf("%s: %v\n got %s\nwant %s", name, err, dump(tr), c.want)
		}
		if len(gone) != before-tr.Len() || !slices.IsSortedFunc(gone, ComparePaths) {
			t.Errorf("%s: removed %q", name, gone)
		}
		if err := tr.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := New().Prune([]string{"a["}, nil); err == nil {
		t.Error("a broken pattern is accepted")
	}
}

func FuzzPrune(f *testing.F) {
	f.Add("usr/**", "*/b")
	f.Add("**/**/x", "[a-b]")
	f.Fuzz(func(t *testing.T, drop, keep string) {
		if strings.Count(drop+keep, "**") > 4 {
			return // every "**" multiplies the work; patterns are the owner's own
		}
		tr := build(t, "", "a/b/c : 1", "d = a/b/c", "x -> a", "usr/b")
		if _, err := tr.Prune([]string{drop}, []string{keep}); err == nil {
			if err := tr.Check(); err != nil {
				t.Errorf("drop %q keep %q: %v", drop, keep, err)
			}
		}
	})
}
