package tree

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/instar-os/instar/internal/digest"
)

var listed = digest.Of([]byte("content"))

func listedTree(t *testing.T) *Tree {
	t.Helper()
	tr := New()
	for p, e := range map[string]Entry{
		"dev": {Kind: Dir, Mode: 0o755}, "run": {Kind: Dir, Mode: 0o755}, "usr": {Kind: Dir, Mode: 0o755},
		"usr/bin":       {Kind: Dir, Mode: 0o755},
		"usr/bin/a":     {Kind: File, Mode: 0o4755, Size: 7, Digest: listed, MTime: 17, Owner: "somebody"},
		"usr/bin/b":     {Kind: Hardlink, Target: "usr/bin/a"},
		"usr/empty":     {Kind: File, Mode: 0o644},
		"bin":           {Kind: Symlink, Mode: 0o777, Target: "usr/bin \"x\"\n"},
		"dev/null":      {Kind: CharDevice, Mode: 0o666, Major: 1, Minor: 3},
		"dev/sda":       {Kind: BlockDevice, Mode: 0o660, GID: 6, Major: 8},
		"run/f":         {Kind: Fifo, Mode: 0o600, UID: 1000},
		"run/s":         {Kind: Socket, Mode: 0o600, MTime: -1},
		"odd \xff name": {Kind: Dir, Mode: 0o1777, Xattrs: map[string]string{"user.b": "2 \x00", "user.a": ""}},
	} {
		if err := tr.Put(p, e); err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

func TestListing(t *testing.T) {
	tr := listedTree(t)
	got, err := tr.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	want := `dir 0755 0:0 0 "."
symlink 0777 0:0 0 "bin" "usr/bin \"x\"\n"
dir 0755 0:0 0 "dev"
char 0666 0:0 0 "dev/null" 1:3
block 0660 0:6 0 "dev/sda" 8:0
dir 1777 0:0 0 "odd \xff name" "user.a"="" "user.b"="2 \x00"
dir 0755 0:0 0 "run"
fifo 0600 1000:0 0 "run/f"
socket 0600 0:0 -1 "run/s"
dir 0755 0:0 0 "usr"
dir 0755 0:0 0 "usr/bin"
file 4755 0:0 17 "usr/bin/a" 7 ` + listed.String() + `
hardlink 0000 0:0 0 "usr/bin/b" "usr/bin/a"
file 0644 0:0 0 "usr/empty" 0 -
`
	if string(got) != want {
		t.Errorf("listing\n%s\nwant\n%s", got, want)
	}
	sameAfterParse(t, tr, got)
}

type fatal interface{ Fatalf(string, ...any) }

func sameAfterParse(t fatal, tr *Tree, text []byte) {
	back, err := Parse(text)
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if back.Len() != tr.Len() {
		t.Fatalf("%d entries read back, want %d", back.Len(), tr.Len())
	}
	for p, e := range tr.All() {
		if b, ok := back.Get(p); !ok || !b.Equal(e) {
			t.Fatalf("%s: read back %+v, want %+v", p, b, e)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	root := "dir 0755 0:0 0 \".\"\n"
	for text, reason := range map[string]string{
		"":                            "empty",
		"dir 0755 0:0 0 \"a\"\n":      "not the root",
		"file 0644 0:0 0 \".\" 0 -\n": "must be a directory",
		root + root:                   "does not come after",
		root + "dir 0755 0:0 0 \"b\"\ndir 0755 0:0 0 \"a\"\n":        "does not come after",
		root + "dir 0755 0:0 0 \"a/b\"\n":                            "no directory",
		root + "dir 755 0:0 0 \"a\"\n":                               "canonical",
		root + "dir  0755 0:0 0 \"a\"\n":                             "no number",
		root + "dir 0755 0:0 0 \"a\" \n":                             "quoted string",
		root + "dir 0755 0:0 0 \"a\"":                                "canonical",
		root + "dir 10000 0:0 0 \"a\"\n":                             "12 bits",
		root + "dir 0755 4294967296:0 0 \"a\"\n":                     "32 bits",
		root + "dir 0755 0:0 x \"a\"\n":                              "no time",
		root + "door 0755 0:0 0 \"a\"\n":                             "unknown kind",
		root + "dir 0755 0:0 0 a\n":                                  "quoted string",
		root + "dir 0755 0:0 0 `a`\n":                                "canonical",
		root + "dir 0755 0:0 0 \"a/../b\"\n":                         "..",
		root + "dir 0755 0:0 0 \"..\"\n":                             "..",
		root + "dir 0755 0:0 0 \"a\" \"u\"=\"1\" \"u\"=\"1\"\n":      "canonical",
		root + "dir 0755 0:0 0 \"a\" \"v\"=\"1\" \"u\"=\"1\"\n":      "canonical",
		root + "dir 0755 0:0 0 \"a\" \"v\" \"1\"\n":                  "want '='",
		root + "file 0644 0:0 0 \"a\" 5 zz\n":                        "hexadecimal",
		root + "file 0644 0:0 0 \"a\" -5 -\n":                        "no number",
		root + "hardlink 0000 0:0 0 \"a\" \"b\"\n":                   "not a file of the tree",
		root + "file 0644 0:0 0 \"a\" 0 -\ndir 0755 0:0 0 \"a/b\"\n": "no directory",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%q: %v; want an error with %q", text, err, reason)
		}
	}
}

func TestListingRoundTrip(t *testing.T) {
	name := rapid.StringOfN(rapid.RuneFrom([]rune("ab \"\\\n\u00e9\u2028=:")), 1, 4, -1)
	rapid.Check(t, func(t *rapid.T) {
		tr := New()
		for range rapid.IntRange(0, 20).Draw(t, "entries") {
			p := strings.Join(rapid.SliceOfN(name, 1, 3).Draw(t, "path"), "/")
			e := Entry{
				Kind: rapid.SampledFrom([]Kind{File, Dir, Symlink, CharDevice, Fifo}).Draw(t, "kind"),
				Mode: rapid.Uint16Range(0, 0o7777).Draw(t, "mode"), UID: rapid.Uint32().Draw(t, "uid"),
				GID: rapid.Uint32().Draw(t, "gid"), MTime: rapid.Int64().Draw(t, "mtime"),
				Xattrs: rapid.MapOfN(rapid.String(), rapid.String(), 0, 2).Draw(t, "xattrs"),
			}
			switch e.Kind {
			case File:
				e.Size = rapid.Int64Min(0).Draw(t, "size")
				e.Digest = digest.Of([]byte(p))
			case Symlink:
				e.Target = rapid.String().Draw(t, "target")
			case CharDevice:
				e.Major, e.Minor = rapid.Uint32().Draw(t, "major"), rapid.Uint32().Draw(t, "minor")
			}
			_ = tr.Put(p, e) // below a file it fails, and the tree stays as it is
		}
		text, err := tr.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		sameAfterParse(t, tr, text)
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("dir 0755 0:0 0 \".\"\nfile 0644 0:0 1 \"a\" 7 " + listed.String() + " \"k\"=\"v\"\nhardlink 0000 0:0 0 \"b\" \"a\"\n"))
	f.Add([]byte("dir 0755 0:0 0 \".\"\nchar 0644 0:0 -1 \"c\" 1:3\nsymlink 0777 0:0 0 \"s\" \"t\"\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		tr, err := Parse(b)
		if err != nil {
			return
		}
		again, err := tr.MarshalText()
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%q was accepted and is listed as %q", b, again)
		}
	})
}
