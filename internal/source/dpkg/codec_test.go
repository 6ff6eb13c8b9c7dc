package dpkg

import (
	"bytes"
	"crypto/sha256"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/lock"
	"github.com/instar-os/instar/internal/tree"
)

func samplePackage(t testing.TB) *Package {
	p := &Package{
		Control: Control{Name: "a", Version: "1:2-3", Arch: "amd64", Source: "as", MultiArch: "same", Essential: true,
			Replaces: []Relation{{"b", "<<", "2"}, {"c", "", ""}}, Breaks: []Relation{{"d", "<=", "1~"}}, Provides: []string{"x"}},
		Scripts: map[string]string{"postinst": "#!/bin/sh\n", "conffiles": "/etc/a\n"},
		Tree:    tree.New(),
	}
	for name, e := range map[string]tree.Entry{
		tree.Root: {Kind: tree.Dir, Mode: 0o755, MTime: -5},
		"usr":     {Kind: tree.Dir, Mode: 0o755, MTime: 1},
		"usr/f":   {Kind: tree.File, Mode: 0o4755, UID: 7, GID: 70000, MTime: 1 << 33, Size: 3, Digest: digest.Of([]byte("abc")), Xattrs: map[string]string{"user.x": "1", "user.a": ""}},
		"usr/g":   {Kind: tree.Hardlink, Target: "usr/f"},
		"empty":   {Kind: tree.File, Mode: 0o600},
		"l":       {Kind: tree.Symlink, Mode: 0o777, Target: "usr/f"},
	} {
		e.Owner = p.String()
		if err := p.Tree.Put(name, e); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func TestCodec(t *testing.T) {
	p := samplePackage(t)
	b := encode(p)
	if !bytes.Equal(b, encode(samplePackage(t))) {
		t.Error("encoding is not deterministic")
	}
	back, err := decode(b)
	if err != nil || !reflect.DeepEqual(p, back) {
		t.Fatalf("%v\n got %+v\nwant %+v", err, back, p)
	}
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 1
		if _, err := decode(bad); err == nil {
			t.Errorf("bit flipped in byte %d: no error", i)
		}
		if _, err := decode(b[:i]); err == nil {
			t.Errorf("cut to %d bytes: no error", i)
		}
	}
}

func TestCache(t *testing.T) {
	p := samplePackage(t)
	present := true
	c := &Cache{Dir: filepath.Join(t.TempDir(), "x", "y"), Has: func(d digest.Digest) bool { return present && d == digest.Of([]byte("abc")) }}
	pkg := lock.Package{Name: "a", Version: "1:2-3", Arch: "amd64", SHA256: digest.Of(nil).String()}
	if _, ok := c.load(pkg); ok {
		t.Fatal("an empty cache has a package")
	}
	if err := c.save(pkg, p); err != nil {
		t.Fatal(err)
	}
	if got, ok := c.load(pkg); !ok || !reflect.DeepEqual(got, p) {
		t.Fatalf("got %+v, %v", got, ok)
	}
	other := pkg
	other.Version = "2"
	if _, ok := c.load(other); ok {
		t.Error("a record of another version counts")
	}
	if present = false; true {
		if _, ok := c.load(pkg); ok {
			t.Error("a record counts whose contents are gone")
		}
	}
	present = true
	b, err := os.ReadFile(c.path(pkg))
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2]++
	if err := os.WriteFile(c.path(pkg), b, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, ok := c.load(pkg); ok {
		t.Error("a damaged record counts")
	}
	if left, _ := filepath.Glob(filepath.Join(c.Dir, ".new-*")); len(left) > 0 {
		t.Errorf("temporary files stay: %q", left)
	}
	pkg.SHA256 = "../../x"
	if err := c.save(pkg, p); err != nil || c.path(pkg) != "" {
		t.Errorf("a digest that is a path: %v, %q", err, c.path(pkg))
	}
}

func FuzzDecode(f *testing.F) {
	b := encode(samplePackage(f))
	f.Add(b[len(codecMagic) : len(b)-sha256.Size])
	f.Fuzz(func(t *testing.T, body []byte) {
		sum := sha256.Sum256(append([]byte(codecMagic), body...))
		p, err := decode(append(append([]byte(codecMagic), body...), sum[:]...))
		if err != nil {
			return
		}
		if again, err := decode(encode(p)); err != nil || !reflect.DeepEqual(again, p) {
			t.Errorf("a decoded package does not survive: %v", err)
		}
	})
}
