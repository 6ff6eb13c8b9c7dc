package nar_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	oracle "github.com/nix-community/go-nix/pkg/nar"

	"github.com/instar-os/instar/internal/source/nix/nar"
)

// world is a directory with all that an archive can hold.
func world(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "w")
	for _, d := range []string{"", "bin", "empty", "a", "a.b"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range map[string]string{
		"bin/run": "#!/bin/sh\n", "none": "", "one": "1", "eight": "12345678", "a/x": "x", "a.b/x": "y", "big": strings.Repeat("big", 100_000),
		"ümlaut": "u", "sp ace": "s",
	} {
		mode := os.FileMode(0o644)
		if strings.HasPrefix(name, "bin/") {
			mode = 0o755
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"link": "bin/run", "a/out": "/nix/store/elsewhere"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func pack(t testing.TB, dir string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := nar.WriteFS(&b, os.DirFS(filepath.Dir(dir)), filepath.Base(dir)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// list reads an archive to text, a line an entry.
func list(r io.Reader) (string, error) {
	var b strings.Builder
	in := nar.NewReader(r, nar.Limits{})
	for {
		h, err := in.Next()
		if err == io.EOF {
			return b.String(), nil
		}
		if err != nil {
			return b.String(), err
		}
		content, err := io.ReadAll(in)
		if err != nil {
			return b.String(), err
		}
		if int64(len(content)) != h.Size {
			return b.String(), fmt.Errorf("%s has %d bytes, not %d", h.Path, len(content), h.Size)
		}
		if len(content) > 12 {
			content = content[:12]
		}
		fmt.Fprintf(&b, "%d %q %v %d %q %q\n", h.Kind, h.Path, h.Executable, h.Size, h.Target, content)
	}
}

// Nix writes the same bytes of the same tree.
func TestWriteAsNix(t *testing.T) {
	nix, err := exec.LookPath("nix-store")
	if err != nil {
		t.Skip("no nix-store: scripts/test-tools installs nix-bin")
	}
	dir := world(t)
	for _, at := range []string{dir, filepath.Join(dir, "bin/run"), filepath.Join(dir, "link")} {
		want, err := exec.Command(nix, "--dump", at).Output()
		if err != nil {
			t.Fatal(err)
		}
		if got := pack(t, at); !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, nix-store --dump writes %d others", at, len(got), len(want))
		}
	}
}

func TestReadWhatIsWritten(t *testing.T) {
	got, err := list(bytes.NewReader(pack(t, world(t))))
	if err != nil {
		t.Fatal(err)
	}
	const want = `2 "" false 0 "" ""
2 "a" false 0 "" ""
3 "a/out" false 0 "/nix/store/elsewhere" ""
1 "a/x" false 1 "" "x"
2 "a.b" false 0 "" ""
1 "a.b/x" false 1 "" "y"
1 "big" false 300000 "" "bigbigbigbig"
2 "bin" false 0 "" ""
1 "bin/run" true 10 "" "#!/bin/sh\n"
1 "eight" false 8 "" "12345678"
2 "empty" false 0 "" ""
3 "link" false 0 "bin/run" ""
1 "none" false 0 "" ""
1 "one" false 1 "" "1"
1 "sp ace" false 1 "" "s"
1 "ümlaut" false 1 "" "u"
`
	if got != want {
		t.Errorf("got\n%s", got)
	}
}

// Every cut and every changed byte of structure is an error, or leaves an
// archive that is written back as it was read.
func TestDamage(t *testing.T) {
	whole := pack(t, filepath.Join(world(t), "bin"))
	for n := range whole {
		if _, err := list(bytes.NewReader(whole[:n])); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
	if _, err := list(bytes.NewReader(append(bytes.Clone(whole), 0))); err == nil {
		t.Error("a byte behind the archive is accepted")
	}
	for i := range whole {
		b := bytes.Clone(whole)
		b[i] ^= 1
		same(t, b)
	}
}

// same checks that what is read is written back byte for byte, and that go-nix
// reads the same.
func same(t *testing.T, b []byte) {
	t.Helper()
	if _, err := list(bytes.NewReader(b)); err != nil {
		return
	}
	var out bytes.Buffer
	r, w := nar.NewReader(bytes.NewReader(b), nar.Limits{}), nar.NewWriter(&out)
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = w.WriteHeader(h)
		}
		if err == nil {
			_, err = io.Copy(w, r)
		}
		if err != nil {
			t.Fatalf("%v\n%q", err, b)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	// A file without content may be written without that token.
	if !bytes.Equal(out.Bytes(), b) && !bytes.Contains(out.Bytes(), []byte("contents\x00\x00\x00\x00\x00\x00\x00\x00")) {
		t.Fatalf("read\n%q\nwritten\n%q", b, out.Bytes())
	}
	compare(t, out.Bytes())
}

func compare(t *testing.T, b []byte) {
	t.Helper()
	theirs, err := oracle.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatalf("go-nix: %v\n%q", err, b)
	}
	ours := nar.NewReader(bytes.NewReader(b), nar.Limits{})
	for {
		o, oerr := ours.Next()
		h, herr := theirs.Next()
		if oerr != nil || herr != nil {
			// go-nix refuses some names and targets that Nix takes.
			if oerr != io.EOF && herr == io.EOF {
				t.Fatalf("go-nix ends with %v, we with %v\n%q", herr, oerr, b)
			}
			return
		}
		path := strings.TrimPrefix(h.Path, "/")
		if o.Path != path || o.Size != h.Size || o.Executable != h.Executable || o.Target != h.LinkTarget {
			t.Fatalf("%+v, go-nix has %+v", o, h)
		}
	}
}

func TestAsGoNix(t *testing.T) { compare(t, pack(t, world(t))) }

func FuzzReader(f *testing.F) {
	f.Add(pack(f, filepath.Join(world(f), "bin")))
	f.Add(pack(f, filepath.Join(world(f), "a")))
	var b bytes.Buffer
	w := nar.NewWriter(&b)
	w.WriteHeader(nar.Header{Kind: nar.Symlink, Target: "x"})
	w.Close()
	f.Add(bytes.Clone(b.Bytes()))
	f.Fuzz(func(t *testing.T, b []byte) { same(t, b) })
}

func TestWriterRefuses(t *testing.T) {
	for name, hs := range map[string][]nar.Header{
		"no root":     {{Path: "x", Kind: nar.Dir}},
		"order":       {{Kind: nar.Dir}, {Path: "b", Kind: nar.Dir}, {Path: "a", Kind: nar.Dir}},
		"twice":       {{Kind: nar.Dir}, {Path: "b", Kind: nar.Dir}, {Path: "b", Kind: nar.Dir}},
		"no parent":   {{Kind: nar.Dir}, {Path: "b/c", Kind: nar.Dir}},
		"below file":  {{Kind: nar.File}, {Path: "b", Kind: nar.Dir}},
		"short":       {{Kind: nar.Dir}, {Path: "a", Kind: nar.File, Size: 1}},
		"closed":      {{Kind: nar.Dir}, {Path: "a", Kind: nar.Dir}, {Path: "b", Kind: nar.Dir}, {Path: "a/x", Kind: nar.Dir}},
		"no kind":     {{}},
		"second root": {{Kind: nar.Dir}, {Kind: nar.Dir}},
		"nothing":     {},
	} {
		w := nar.NewWriter(io.Discard)
		var err error
		for _, h := range hs {
			if err == nil {
				err = w.WriteHeader(h)
			}
		}
		if err == nil {
			err = w.Close()
		}
		if err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}
