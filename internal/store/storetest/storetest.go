// Package storetest holds every store to the same behaviour.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/tree"
)

// Run runs the suite. open returns a new, empty store each time; the suite
// does not close it.
func Run(t *testing.T, open func(t *testing.T) *store.Store) {
	for name, f := range map[string]func(*testing.T, *store.Store){
		"put and get":             putAndGet,
		"put is idempotent":       putTwice,
		"concurrent puts":         putConcurrently,
		"failing readers":         failingReader,
		"damage is seen":          damage,
		"image and back":          imageAndBack,
		"image needs its objects": imageNeedsObjects,
		"systems and roots":       systemsAndRoots,
	} {
		t.Run(name, func(t *testing.T) { f(t, open(t)) })
	}
}

// Manifest returns a system whose every container has the given image, and
// whose kernel's parts are small objects put into s.
func Manifest(t testing.TB, s *store.Store, images ...system.Object) *system.Manifest {
	t.Helper()
	object := func(content string) system.Object {
		content = strings.Repeat(content+"\n", 40)
		d, err := s.PutBytes([]byte(content))
		if err != nil {
			t.Fatal(err)
		}
		return system.Object{Digest: d, Size: int64(len(content))}
	}
	m := &system.Manifest{
		Version: system.Version, Machine: "test", Arch: "amd64", Default: "day",
		Kernel: system.Kernel{
			Release: "6.12.0", Image: object("kernel"), Initrd: object("initrd"), Stub: object("stub"),
			Loader: object("loader"), Init: object("init"), Command: []string{}, Modules: []string{},
		},
		Boot: system.Boot{Slots: 2, SlotSize: 1 << 20, DataFS: object("data")},
	}
	day := system.Configuration{Name: "day", Containers: []system.Container{}}
	for i, image := range images {
		day.Containers = append(day.Containers, system.Container{
			Name: fmt.Sprintf("c%d", i), Image: image, Args: []string{"/bin/true"}, Dir: "/",
			Root: system.ReadOnly, Network: system.NoNetwork,
		})
	}
	m.Configurations = []system.Configuration{day}
	return m
}

// PutTree puts files, a map of paths to contents, and returns their tree.
func PutTree(t testing.TB, s *store.Store, files map[string]string) *tree.Tree {
	t.Helper()
	tr := tree.New()
	for p, content := range files {
		d, err := s.PutBytes([]byte(content))
		if err != nil {
			t.Fatal(err)
		}
		if content == "" {
			d = digest.Digest{} // as package tree has it
		}
		if err := tr.Put(p, tree.Entry{Kind: tree.File, Mode: 0o644, Size: int64(len(content)), Digest: d}); err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

// sizes are around the borders of blocks and of what Put holds in memory.
var sizes = []int{0, 1, 64, 65, 4095, 4096, 4097, 256<<10 - 1, 256 << 10, 256<<10 + 1, 1 << 20}

func content(n int) []byte { return bytes.Repeat([]byte{byte(n), byte(n >> 8), 7}, n/3+1)[:n] }

func putAndGet(t *testing.T, s *store.Store) {
	for _, commit := range []bool{false, true} {
		for _, n := range sizes {
			b := content(n)
			d, size, err := s.Put(bytes.NewReader(b))
			if err != nil || size != int64(n) || d != digest.Of(b) {
				t.Fatalf("Put of %d bytes = %s, %d, %v", n, d, size, err)
			}
		}
		if commit {
			if err := s.Commit(); err != nil {
				t.Fatal(err)
			}
		}
		for _, n := range sizes {
			readBack(t, s, content(n))
		}
	}
	for _, n := range sizes {
		info, err := os.Stat(s.ObjectPath(digest.Of(content(n))))
		if err != nil || info.Size() != int64(n) || info.Mode() != 0o555 {
			t.Errorf("object of %d bytes after Commit: %v, %v", n, info, err)
		}
	}
	if _, err := s.Bytes(digest.Of([]byte("absent")), 10); !errors.Is(err, store.ErrMissing) {
		t.Errorf("Bytes of an absent object: %v", err)
	}
	if _, err := s.Bytes(digest.Of(content(4097)), 4096); err == nil {
		t.Error("Bytes went over its limit")
	}
}

func readBack(t *testing.T, s *store.Store, want []byte) {
	t.Helper()
	d := digest.Of(want)
	if !s.Has(d) {
		t.Fatalf("Has(%s) is false for %d bytes", d, len(want))
	}
	if got, err := s.Bytes(d, 1<<21); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("Bytes = %d bytes, %v; want %d", len(got), err, len(want))
	}
	r, err := s.Verified(d)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("Verified = %d bytes, %v; want %d", len(got), err, len(want))
	}
}

func putTwice(t *testing.T, s *store.Store) {
	b := content(5000)
	for range 3 {
		if _, err := s.PutBytes(b); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Put(bytes.NewReader(content(1 << 20))); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Commit(); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(s.ObjectPath(digest.Of(b)))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.PutFile(s.ObjectPath(digest.Of(b))); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(s.ObjectPath(digest.Of(b))); err != nil || !os.SameFile(before, after) {
		t.Errorf("the object was written again: %v", err)
	}
}

func putConcurrently(t *testing.T, s *store.Store) {
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 50 {
				b := content(3*i + w%2)
				if _, _, err := s.Put(bytes.NewReader(b)); err != nil {
					t.Error(err)
				}
				if i%20 == 0 {
					if err := s.Commit(); err != nil {
						t.Error(err)
					}
				}
				if got, err := s.Bytes(digest.Of(b), 1000); err != nil || !bytes.Equal(got, b) {
					t.Errorf("read back %d bytes, %v", len(got), err)
				}
			}
		})
	}
	wg.Wait()
}

type brokenReader struct{ left int }

func (r *brokenReader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n := min(len(p), r.left)
	r.left -= n
	return n, nil
}

func failingReader(t *testing.T, s *store.Store) {
	for _, n := range []int{10, 1 << 20} {
		if _, _, err := s.Put(&brokenReader{n}); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("Put from a reader that breaks after %d bytes: %v", n, err)
		}
		if s.Has(digest.Of(make([]byte, n))) {
			t.Errorf("the broken %d bytes became an object", n)
		}
	}
}

func damage(t *testing.T, s *store.Store) {
	b := content(10000)
	d, err := s.PutBytes(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(); err != nil {
		t.Fatal(err)
	}
	Damage(t, s.ObjectPath(d))
	var damaged *store.DamageError
	if _, err := s.Bytes(d, 1<<20); !errors.As(err, &damaged) {
		t.Errorf("Bytes of a damaged object: %v", err)
	}
	r, err := s.Verified(d)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.ReadAll(r); !errors.As(err, &damaged) {
		t.Errorf("reading a damaged object: %v", err)
	}
}

// Damage changes one byte of a file.
func Damage(t testing.TB, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func imageAndBack(t *testing.T, s *store.Store) {
	tr := PutTree(t, s, map[string]string{
		"etc/empty": "", "etc/small": "small", "usr/bin/big": strings.Repeat("big", 1000),
	})
	for p, e := range map[string]tree.Entry{
		"usr/bin/same": {Kind: tree.Hardlink, Target: "usr/bin/big"},
		"zzz":          {Kind: tree.Hardlink, Target: "usr/bin/big"},
		"bin":          {Kind: tree.Symlink, Mode: 0o777, Target: "usr/bin"},
		"dev/tty":      {Kind: tree.CharDevice, Mode: 0o620, GID: 5, Major: 5, Minor: 300},
		"tmp":          {Kind: tree.Dir, Mode: 0o1777, Xattrs: map[string]string{"trusted.overlay.opaque": "y"}},
		"pipe":         {Kind: tree.Fifo, Mode: 0o600, MTime: 17},
	} {
		if err := tr.Put(p, e); err != nil {
			t.Fatal(err)
		}
	}
	for _, commit := range []bool{false, true} {
		if commit {
			if err := s.Commit(); err != nil {
				t.Fatal(err)
			}
		}
		o, err := s.PutImage(context.Background(), tr)
		if err != nil {
			t.Fatal(err)
		}
		back, err := s.Image(o.Digest)
		if err != nil {
			t.Fatal(err)
		}
		sameTree(t, back, tr)
	}
}

func sameTree(t *testing.T, got, want *tree.Tree) {
	t.Helper()
	for p, e := range want.All() {
		if g, ok := got.Get(p); !ok || !g.Equal(e) {
			t.Errorf("%s: read back %+v, want %+v", p, g, e)
		}
	}
	if got.Len() != want.Len() {
		t.Errorf("%d entries, want %d", got.Len(), want.Len())
	}
}

func imageNeedsObjects(t *testing.T, s *store.Store) {
	for _, n := range []int{5, 5000} {
		tr := tree.New()
		e := tree.Entry{Kind: tree.File, Mode: 0o644, Size: int64(n), Digest: digest.Of(content(n))}
		if err := tr.Put("a/b", e); err != nil {
			t.Fatal(err)
		}
		_, err := s.PutImage(context.Background(), tr)
		if !errors.Is(err, store.ErrMissing) || !strings.Contains(err.Error(), "/a/b") {
			t.Errorf("image of a file of %d bytes that nobody put: %v", n, err)
		}
	}
}

func systemsAndRoots(t *testing.T, s *store.Store) {
	o, err := s.PutImage(context.Background(), PutTree(t, s, map[string]string{"f": strings.Repeat("f", 100)}))
	if err != nil {
		t.Fatal(err)
	}
	m := Manifest(t, s, o)
	d, err := s.PutSystem(m)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := s.System(d); err != nil || back.Configurations[0].Containers[0].Image != o {
		t.Errorf("System = %+v, %v", back, err)
	}
	if list, err := s.Systems(); err != nil || len(list) != 1 || list[0] != d {
		t.Errorf("Systems = %v, %v", list, err)
	}
	for range 2 {
		if err := s.SetRoot("current", d); err != nil {
			t.Fatal(err)
		}
	}
	for _, bad := range []string{"", ".x", "a/b"} {
		if err := s.SetRoot(bad, d); err == nil {
			t.Errorf("SetRoot(%q) succeeded", bad)
		}
	}
	if err := s.SetRoot("none", digest.Of([]byte("no system"))); !errors.Is(err, store.ErrMissing) {
		t.Errorf("SetRoot to a missing system: %v", err)
	}
	if roots, err := s.Roots(); err != nil || len(roots) != 1 || roots[0] != (store.Root{Name: "current", System: d}) {
		t.Errorf("Roots = %v, %v", roots, err)
	}
	for range 2 {
		if err := s.DeleteRoot("current"); err != nil {
			t.Fatal(err)
		}
	}
	if roots, err := s.Roots(); err != nil || len(roots) != 0 {
		t.Errorf("Roots = %v, %v", roots, err)
	}
	m.Kernel.Image.Digest = digest.Of([]byte("no kernel"))
	if _, err := s.PutSystem(m); !errors.Is(err, store.ErrMissing) {
		t.Errorf("PutSystem without its kernel: %v", err)
	}
}
