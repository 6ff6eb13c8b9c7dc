package prune_test

import (
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/prune"
	"github.com/instar-os/instar/internal/tree"
)

func TestKeepUsed(t *testing.T) {
	lines := []string{
		"bin -> usr/bin", "lib -> usr/lib", "lib64 -> usr/lib64", "etc/passwd", "etc/other",
		"usr/lib64/ld.so!  (libc6 2 amd64)", "usr/lib/x86_64-linux-gnu/libc.so.6! /lib64/ld.so (libc6 2 amd64)",
		"usr/lib/x86_64-linux-gnu/libz.so.1 -> libz.so.1.3", "usr/lib/x86_64-linux-gnu/libz.so.1.3! libc.so.6 (zlib1g 1 amd64)",
		"usr/lib/x86_64-linux-gnu/libbig.so.1! libc.so.6 (big 1 amd64)",
		"usr/bin/prog! /lib64/ld.so libc.so.6 libz.so.1 (prog 1 amd64)", "usr/bin/alias -> prog", "usr/bin/big! libbig.so.1 (big 1 amd64)",
		"usr/bin/script: #!/usr/bin/env sh (prog 1 amd64)", "usr/bin/env! libc.so.6 (coreutils 1 amd64)", "usr/bin/sh -> dash", "usr/bin/dash! libc.so.6 (dash 1 amd64)",
		"usr/share/doc/prog/copyright (prog 1 amd64)", "usr/share/doc/prog/NEWS (prog 1 amd64)", "usr/share/doc/big/copyright (big 1 amd64)",
		"usr/share/doc/zlib1g -> zlib", "usr/share/doc/zlib/copyright (zlib 1 amd64)",
		"usr/share/zoneinfo/Asia/Tokyo (tzdata 1 all)", "srv/mine (tree conf)", "var/empty/", "usr/share/listed/a (x 1 all)",
	}
	for _, c := range []struct{ use, keep, want, missing string }{
		{"usr/bin/prog", "", "bin etc/passwd lib lib64 srv/mine usr/bin/alias usr/bin/prog usr/lib/x86_64-linux-gnu/libc.so.6 usr/lib/x86_64-linux-gnu/libz.so.1 " +
			"usr/lib/x86_64-linux-gnu/libz.so.1.3 usr/lib64/ld.so usr/share/doc/prog/copyright usr/share/doc/zlib/copyright usr/share/doc/zlib1g", ""},
		{"bin/script", "", "bin etc/passwd lib lib64 srv/mine usr/bin/dash usr/bin/env usr/bin/script usr/bin/sh usr/lib/x86_64-linux-gnu/libc.so.6 usr/lib64/ld.so usr/share/doc/prog/copyright", ""},
		{"usr/share/listed gone", "/usr/share/zoneinfo/**", "etc/passwd srv/mine usr/share/zoneinfo/Asia/Tokyo", "gone"},
	} {
		w := build(t, lines...)
		gone, missing, unused, err := prune.KeepUsed(w.tree, prune.Use{
			Paths: strings.Fields(c.use), Keep: ruleList(c.keep), Rule: prune.Rule{Text: "recorded", At: "site.yaml:9"},
			Spare: func(_ string, e tree.Entry) bool { return strings.HasPrefix(e.Owner, "tree ") },
		}, w, prune.Environment{Path: []string{"/usr/bin"}})
		if err != nil || len(unused) > 0 || strings.Join(missing, " ") != c.missing {
			t.Fatalf("%v, unused %v, missing %v", err, unused, missing)
		}
		if got := w.leaves(); got != c.want {
			t.Errorf("%s: left\n%s, want\n%s", c.use, got, c.want)
		}
		if _, there := w.tree.Get("var/empty"); !there {
			t.Error("an empty directory has gone")
		}
		if notes, err := prune.Prove(w.tree, gone, w, prune.Environment{Path: []string{"/usr/bin"}}); err != nil || len(notes) > 0 {
			t.Errorf("%s: what is left is not closed: %v %v", c.use, err, notes)
		}
	}
}

func TestAlias(t *testing.T) {
	w := build(t, "l/libz.so -> libz.so.1.3.1", "l/libz.so.1 -> libz.so.1.3.1", "l/libz.so.1.3.1", "m/other.so.1 -> ../l/libz.so.1.3.1", "l/plain", "l/link -> plain")
	links := prune.Links(w.tree)
	for p, want := range map[string]string{"l/libz.so.1.3.1": "l/libz.so.1", "l/plain": "l/plain", "l/none": "l/none"} {
		if got := prune.Alias(links, p); got != want {
			t.Errorf("%s: %s, want %s", p, got, want)
		}
	}
}
