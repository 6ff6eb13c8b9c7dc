package prune_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/needs"
	"github.com/instar-os/instar/internal/prune"
	"github.com/instar-os/instar/internal/tree"
)

// A world is a tree of which each line is an entry: "path", "path -> target",
// "path: script's first line", "path! library library @ run path" for a library
// or program; "(owner)" at the end.
type world struct {
	tree  *tree.Tree
	files map[digest.Digest]needs.File
	text  map[digest.Digest]string
}

var kind = needs.Kind{Class: 2, Order: 1, Machine: 62}

func build(t *testing.T, lines ...string) *world {
	t.Helper()
	w := &world{tree.New(), map[digest.Digest]needs.File{}, map[digest.Digest]string{}}
	for _, line := range lines {
		owner := "own 1 amd64"
		if l, o, ok := strings.Cut(line, " ("); ok {
			line, owner = l, strings.TrimSuffix(o, ")")
		}
		e := tree.Entry{Kind: tree.File, Mode: 0o755, Owner: owner}
		p := line
		switch {
		case strings.HasSuffix(line, "/"):
			p, e.Kind = strings.TrimSuffix(line, "/"), tree.Dir
		case strings.Contains(line, " -> "):
			p, e.Target, _ = strings.Cut(line, " -> ")
			e.Kind = tree.Symlink
		case strings.Contains(line, " = "):
			p, e.Target, _ = strings.Cut(line, " = ")
			e.Kind = tree.Hardlink
		default:
			p = w.file(&e, line)
		}
		if err := w.tree.Put(p, e); err != nil {
			t.Fatal(line, err)
		}
	}
	return w
}

func (w *world) file(e *tree.Entry, line string) string {
	content := line
	p, rest, elf := strings.Cut(line, "! ")
	var f needs.File
	if elf {
		libs, runpath, _ := strings.Cut(rest, "@")
		f.ELF = &needs.ELF{Kind: kind, RunPath: strings.Fields(runpath)}
		for _, l := range strings.Fields(libs) {
			if strings.HasPrefix(l, "/") {
				f.ELF.Interp = l
			} else {
				f.ELF.Needed = append(f.ELF.Needed, l)
			}
		}
	} else if q, first, script := strings.Cut(line, ": "); script {
		p = q
		if got, err := needs.Read(strings.NewReader(first), int64(len(first))); err == nil {
			f = got
		}
		content = first
	}
	e.Digest = digest.Of([]byte(content))
	e.Size = int64(len(content))
	w.files[e.Digest], w.text[e.Digest] = f, content
	return p
}

func (w *world) Needs(d digest.Digest) (needs.File, error) { return w.files[d], nil }

func (w *world) Bytes(d digest.Digest, limit int64) ([]byte, error) {
	if s := w.text[d]; int64(len(s)) <= limit {
		return []byte(s), nil
	}
	return nil, errors.New("too large")
}

// leaves lists what is no directory.
func (w *world) leaves() string {
	var out []string
	for p, e := range w.tree.All() {
		if e.Kind != tree.Dir {
			out = append(out, p)
		}
	}
	return strings.Join(out, " ")
}

func ruleList(texts string) []prune.Rule {
	var out []prune.Rule
	for i, text := range strings.Fields(texts) {
		out = append(out, prune.Rule{Text: text, At: fmt.Sprintf("site.yaml:%d", i+1)})
	}
	return out
}

func TestApply(t *testing.T) {
	everything := []string{"usr/share/doc/a/copyright (a 1 all)", "usr/share/doc/a/NEWS.gz (a 1 all)", "usr/share/man/man1/a.1.gz", "usr/share/locale/de/LC_MESSAGES/a.mo",
		"usr/lib/locale/C.utf8/LC_CTYPE", "usr/share/info/a.info.gz", "usr/share/lintian/overrides/a", "usr/lib/debug/.build-id/0.debug",
		"usr/lib/x86_64-linux-gnu/gconv/UTF-7.so (libc6 2 amd64)", "usr/lib/udev/hwdb.bin", "usr/share/zoneinfo/Asia/Tokyo", "usr/share/zoneinfo/UTC",
		"usr/share/terminfo/a/adm", "usr/share/terminfo/x/xterm", "usr/include/a.h", "usr/share/bash-completion/completions/a",
		"usr/lib/systemd/system/a.service", "usr/bin/a (a 1 all)", "usr/bin/b"}
	for _, c := range []struct{ drop, keep, gone, unused string }{
		{"docs", "", "usr/share/doc/a/NEWS.gz", ""},
		{"man", "", "usr/share/man/man1/a.1.gz", ""},
		{"locales", "", "usr/share/locale/de/LC_MESSAGES/a.mo", ""},
		{"info", "", "usr/share/info/a.info.gz", ""},
		{"lintian", "", "usr/share/lintian/overrides/a", ""},
		{"debug", "", "usr/lib/debug/.build-id/0.debug", ""},
		{"gconv", "", "usr/lib/x86_64-linux-gnu/gconv/UTF-7.so", ""},
		{"hwdb", "", "usr/lib/udev/hwdb.bin", ""},
		{"zoneinfo", "", "usr/share/zoneinfo/Asia/Tokyo", ""},
		{"zoneinfo", "/usr/share/zoneinfo/Asia/**", "", ""},
		{"terminfo", "", "usr/share/terminfo/a/adm", ""},
		{"headers", "", "usr/include/a.h", ""},
		{"completions", "", "usr/share/bash-completion/completions/a", ""},
		{"services", "", "usr/lib/systemd/system/a.service", ""},
		{"/usr/bin", "", "usr/bin/a usr/bin/b", ""},
		{"/usr/bin/**", "/usr/bin/b", "usr/bin/a", ""},
		{"a:/usr/bin/*", "", "usr/bin/a", ""},
		{"b:docs libc6:gconv", "", "usr/lib/x86_64-linux-gnu/gconv/UTF-7.so", ""},
		{"a:/**", "", "usr/bin/a usr/share/doc/a/NEWS.gz", ""},
		{"/usr/share/doc/**", "", "usr/share/doc/a/NEWS.gz usr/share/doc/a/copyright", ""},
		{"/opt /usr/bin/a", "/usr/bin/c", "usr/bin/a", "/opt /usr/bin/c"},
		{"b:/usr/bin/a", "", "", "b:/usr/bin/a"},
	} {
		w := build(t, everything...)
		gone, unused, err := prune.Apply(w.tree, ruleList(c.drop), ruleList(c.keep), prune.Everything)
		if err != nil {
			t.Fatal(err)
		}
		var files []string
		for _, p := range gone.Paths() {
			if gone[p].Entry.Kind != tree.Dir {
				files = append(files, p)
			}
			if _, there := w.tree.Get(p); there || gone[p].Rule.At == "" {
				t.Errorf("%s: %s is gone by %v and there is %v", c.drop, p, gone[p].Rule, there)
			}
		}
		var idle []string
		for _, r := range unused {
			idle = append(idle, r.Text)
		}
		if got := strings.Join(files, " "); got != c.gone || strings.Join(idle, " ") != c.unused {
			t.Errorf("%s, keep %s: gone %s, want %s; unused %v, want %s", c.drop, c.keep, got, c.gone, idle, c.unused)
		}
	}
}

func TestClassesComeFirst(t *testing.T) {
	w := build(t, "usr/share/man/a", "usr/bin/a")
	if _, unused, err := prune.Apply(w.tree, ruleList("man /usr/bin/a /none"), nil, prune.ClassesAlone); err != nil || len(unused) > 0 {
		t.Fatal(unused, err)
	}
	if got := w.leaves(); got != "usr/bin/a" {
		t.Errorf("left: %s", got)
	}
}

func TestHardLinks(t *testing.T) {
	w := build(t, "usr/bin/a! /lib/ld.so", "usr/bin/b = usr/bin/a", "usr/bin/c = usr/bin/a")
	gone, _, err := prune.Apply(w.tree, ruleList("/usr/bin/a /usr/bin/c"), nil, prune.Everything)
	if err != nil {
		t.Fatal(err)
	}
	if e, _ := w.tree.Get("usr/bin/b"); e.Kind != tree.File || e.Size == 0 {
		t.Errorf("the name that is left is %+v", e)
	}
	if gone["usr/bin/c"].Entry.Kind != tree.File || gone.Bytes() != gone["usr/bin/a"].Entry.Size {
		t.Errorf("gone: %+v, %d bytes", gone, gone.Bytes())
	}
}

func TestProve(t *testing.T) {
	base := []string{
		"lib -> usr/lib", "lib64 -> usr/lib64",
		"usr/lib64/ld.so! ", "usr/lib/x86_64-linux-gnu/libc.so.6! /lib64/ld.so",
		"usr/lib/x86_64-linux-gnu/libz.so.1 -> libz.so.1.3", "usr/lib/x86_64-linux-gnu/libz.so.1.3! libc.so.6",
		"usr/bin/prog! /lib64/ld.so libc.so.6 libz.so.1",
		"opt/app/bin/app! /lib64/ld.so libown.so @ $ORIGIN/../lib", "opt/app/lib/libown.so! libc.so.6",
		"etc/ld.so.conf: include /etc/ld.so.conf.d/*.conf", "etc/ld.so.conf.d/far.conf: /far/lib # far", "far/lib/libfar.so! ",
		"usr/bin/far! libfar.so",
		"usr/bin/sh! /lib64/ld.so", "usr/bin/env! /lib64/ld.so", "usr/bin/script: #!/usr/bin/sh -e", "usr/bin/snake: #!/usr/bin/env python3",
		"usr/bin/python3 -> python3.13", "usr/bin/python3.13! /lib64/ld.so",
	}
	for _, c := range []struct{ drop, lacks, rule string }{
		{"/usr/bin/prog /usr/bin/far", "", ""},
		{"/usr/lib/*/libz.so.1.3", "/usr/bin/prog (of own 1 amd64) needs the library libz.so.1, but /usr/lib/x86_64-linux-gnu/libz.so.1.3", "site.yaml:1"},
		{"/usr/lib/*/libz.so.1", "needs the library libz.so.1, but /usr/lib/x86_64-linux-gnu/libz.so.1 was left out", "keep: [/usr/lib/x86_64-linux-gnu/libz.so.1]"},
		{"/usr/lib64", "needs the loader /lib64/ld.so, but /usr/lib64", "/usr/lib64 (site.yaml:1)"},
		{"/lib64", "needs the loader /lib64/ld.so, but /lib64 was left out", ""},
		{"/opt/app/lib/**", "/opt/app/bin/app (of own 1 amd64) needs the library libown.so", ""},
		{"/far", "/usr/bin/far", ""},
		{"/usr/bin/sh", "/usr/bin/script (of own 1 amd64) needs the interpreter /usr/bin/sh", ""},
		{"/usr/bin/python3.13", "/usr/bin/snake (of own 1 amd64) needs the program python3, but /usr/bin/python3.13", ""},
		{"/usr/bin/env", "/usr/bin/snake (of own 1 amd64) needs the interpreter /usr/bin/env", ""},
	} {
		w := build(t, base...)
		gone, unused, err := prune.Apply(w.tree, ruleList(c.drop), nil, prune.Everything)
		if err != nil || len(unused) > 0 {
			t.Fatal(c.drop, unused, err)
		}
		notes, err := prune.Prove(w.tree, gone, w, prune.Environment{Path: []string{"/usr/bin"}})
		switch {
		case c.lacks == "" && (err != nil || len(notes) > 0):
			t.Errorf("%s: %v, notes %v", c.drop, err, notes)
		case c.lacks != "" && (err == nil || !strings.Contains(err.Error(), c.lacks) || !strings.Contains(err.Error(), c.rule)):
			t.Errorf("%s: %v, want %q and %q", c.drop, err, c.lacks, c.rule)
		}
	}
}

// What was never there is no reason to refuse, and is said.
func TestNeverThere(t *testing.T) {
	w := build(t, "usr/bin/a! libx.so", "usr/bin/b: #!/bin/sh", "usr/share/man/a")
	gone, _, err := prune.Apply(w.tree, ruleList("man"), nil, prune.Everything)
	if err != nil {
		t.Fatal(err)
	}
	notes, err := prune.Prove(w.tree, gone, w, prune.Environment{})
	if err != nil || len(notes) != 1 || !strings.Contains(notes[0], "/usr/bin/a needs the library libx.so, which no tree brings") {
		t.Errorf("notes %q, error %v", notes, err)
	}
}

// A plugin's library that only its host's run path leads to is found by name.
func TestInheritedSearch(t *testing.T) {
	lines := []string{"opt/bin/host! libhost.so @ $ORIGIN/../private", "opt/private/libhost.so! ", "opt/plugins/p.so! libhost.so"}
	w := build(t, lines...)
	if notes, err := prune.Prove(w.tree, prune.Gone{"x": {}}, w, prune.Environment{}); err != nil || len(notes) > 0 {
		t.Errorf("notes %q, error %v", notes, err)
	}
	gone, _, err := prune.Apply(w.tree, ruleList("/opt/private /opt/bin"), nil, prune.Everything)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = prune.Prove(w.tree, gone, w, prune.Environment{}); err == nil || !strings.Contains(err.Error(), "/opt/plugins/p.so") {
		t.Errorf("a plugin without the library of its host: %v", err)
	}
}

func TestClassNames(t *testing.T) {
	if !slices.Contains(prune.Classes(), "docs") || !slices.IsSorted(prune.Classes()) {
		t.Error(prune.Classes())
	}
	w := build(t, "usr/bin/a")
	if _, _, err := prune.Apply(w.tree, ruleList("everything"), nil, prune.Everything); err == nil {
		t.Error("an unknown class is known")
	}
	if _, _, err := prune.Apply(w.tree, ruleList("/usr/[a"), nil, prune.Everything); err == nil {
		t.Error("a broken pattern is taken")
	}
}
