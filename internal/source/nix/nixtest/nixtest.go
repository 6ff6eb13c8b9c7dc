// Package nixtest makes stores and binary caches for tests: by itself, and with
// nix where that is installed.
package nixtest

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/instar-os/instar/internal/source/nix/nar"
	"github.com/instar-os/instar/internal/source/nix/narinfo"
)

// Names of the paths of Store. Tool refers to Lib and to itself, Lib to Data.
const (
	Tool narinfo.Name = "00000000000000000000000000000aaa-tool-1.2"
	Lib  narinfo.Name = "00000000000000000000000000000bbb-lib-3"
	Data narinfo.Name = "00000000000000000000000000000ccc-data"
	Else narinfo.Name = "00000000000000000000000000000ddd-else" // nobody refers to it
)

// Store makes a directory with a nix/store.
func Store(t testing.TB) string {
	t.Helper()
	root := t.TempDir()
	dir := filepath.Join(root, "nix/store")
	for name, content := range map[string]string{
		string(Tool) + "/bin/tool":      "#!/bin/sh\nexec " + Lib.Path() + "/lib/run \"$@\"\n",
		string(Tool) + "/share/self":    strings.Repeat("x", 70_000) + Tool.Path() + "/bin",
		string(Tool) + "/share/nothing": "",
		string(Lib) + "/lib/run":        strings.Repeat("run\x00", 100_000),
		string(Data):                    "only data\n",
		string(Else) + "/x":             "x",
	} {
		at := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(at), 0o755))
		mode := os.FileMode(0o644)
		if strings.Contains(name, "/bin/") || strings.HasSuffix(name, "/run") {
			mode = 0o755
		}
		must(t, os.WriteFile(at, []byte(content), mode))
	}
	must(t, os.Symlink(Data.Path(), filepath.Join(dir, string(Lib), "data")))
	must(t, os.Symlink("tool", filepath.Join(dir, string(Tool), "bin/alias")))
	return root
}

// Infos describes the closure of Tool in such a store.
func Infos(t testing.TB, root string) []narinfo.Info {
	t.Helper()
	var out []narinfo.Info
	for _, x := range []struct {
		name narinfo.Name
		refs []narinfo.Name
	}{{Lib, []narinfo.Name{Data}}, {Tool, []narinfo.Name{Tool, Lib}}, {Data, nil}} {
		b := Pack(t, root, x.name)
		out = append(out, narinfo.Info{Name: x.name, NarHash: sha256.Sum256(b), NarSize: int64(len(b)), References: x.refs})
	}
	return out
}

// Pack returns the archive of a path.
func Pack(t testing.TB, root string, n narinfo.Name) []byte {
	t.Helper()
	var b bytes.Buffer
	must(t, nar.WriteFS(&b, os.DirFS(filepath.Join(root, "nix/store")), string(n)))
	return b.Bytes()
}

// Cache makes a binary cache of paths of a store, as `nix copy` would.
func Cache(t testing.TB, root, compression string, secret *narinfo.Secret, infos []narinfo.Info) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "nar"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "nix-cache-info"), []byte("StoreDir: /nix/store\n"), 0o644))
	for _, in := range infos {
		file := Compress(t, compression, Pack(t, root, in.Name))
		sum := narinfo.Hash(sha256.Sum256(file))
		in.URL, in.Compression, in.FileHash, in.FileSize = "nar/"+sum.Base32()+".nar", compression, &sum, int64(len(file))
		if secret != nil {
			in.Sign(*secret)
		}
		must(t, os.WriteFile(filepath.Join(dir, in.URL), file, 0o644))
		must(t, os.WriteFile(filepath.Join(dir, in.Name.Hash()+".narinfo"), in.Format(), 0o644))
	}
	return dir
}

// Compress compresses b; xz and bzip2 by the programs of that name.
func Compress(t testing.TB, compression string, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	switch compression {
	case "none":
		return b
	case "gzip":
		w = gzip.NewWriter(&out)
	case "zstd":
		z, err := zstd.NewWriter(&out)
		must(t, err)
		w = z
	default:
		cmd := exec.Command(compression, "-c")
		cmd.Stdin, cmd.Stdout = bytes.NewReader(b), &out
		must(t, cmd.Run())
		return out.Bytes()
	}
	_, err := w.Write(b)
	must(t, err)
	must(t, w.Close())
	return out.Bytes()
}

// Secret makes a key, always the same.
func Secret(t testing.TB, name string) *narinfo.Secret {
	t.Helper()
	s, err := narinfo.NewSecret(name, bytes.Repeat([]byte{42}, 32))
	must(t, err)
	return &s
}

// Nix returns a function that runs a program of nix, or skips the test. It
// builds without a sandbox and asks no cache.
func Nix(t testing.TB) func(program string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("nix"); err != nil {
		t.Skip("no nix: scripts/test-tools installs nix-bin")
	}
	home := t.TempDir()
	return func(program string, args ...string) string {
		t.Helper()
		cmd := exec.Command(program, args...)
		cmd.Env = append(os.Environ(), "HOME="+home, "NIX_CONFIG=build-users-group =\nsandbox = false\nexperimental-features = nix-command\nsubstituters =\n")
		var said bytes.Buffer
		cmd.Stderr = &said
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s %s: %v\n%s%s", program, strings.Join(args, " "), err, out, said.String())
		}
		return strings.TrimSpace(string(out))
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
