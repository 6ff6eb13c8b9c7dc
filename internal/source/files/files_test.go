package files_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/instar-os/instar/internal/source/files"
	"github.com/instar-os/instar/internal/source/files/sourcetest"
	"github.com/instar-os/instar/internal/source/untar"
	"github.com/instar-os/instar/internal/tree"
)

func TestDirSuite(t *testing.T) {
	sourcetest.Run(t, sourcetest.Source{Write: writeDir, Read: files.Dir})
}

func TestFileSuite(t *testing.T) {
	sourcetest.Run(t, sourcetest.Source{One: true, Read: files.File,
		Write: func(t *testing.T, dir string, w map[string]string, turn int) string {
			return filepath.Join(writeDir(t, dir, w, turn), "only")
		}})
}

func TestTarballSuite(t *testing.T) {
	sourcetest.Run(t, sourcetest.Source{Times: true, Read: files.Tarball,
		Write: func(t *testing.T, dir string, w map[string]string, turn int) string {
			p := filepath.Join(dir, "world.tar")
			write(t, p, string(pack(world(w)...)))
			return p
		}})
}

func write(t testing.TB, p, content string) {
	t.Helper()
	if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// writeDir writes a world; each turn has other times and permissions for others.
func writeDir(t *testing.T, dir string, w map[string]string, turn int) string {
	t.Helper()
	for p, content := range w {
		at := filepath.Join(dir, p)
		if err := os.MkdirAll(filepath.Dir(at), []os.FileMode{0o700, 0o775}[turn]); err != nil {
			t.Fatal(err)
		}
		write(t, at, content)
		if err := os.Chmod(at, []os.FileMode{0o600, 0o664}[turn]); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(at, time.Time{}, time.Unix(int64(turn+1)*1000, 0)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// item is one entry of an archive made for a test.
type item struct {
	name, body, link string
	kind             byte
	mode             int64
}

func world(w map[string]string) []item {
	var items []item
	for _, p := range slices.Sorted(maps.Keys(w)) {
		items = append(items, item{name: "./" + p, body: w[p]})
	}
	return items
}

func pack(items ...item) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, i := range items {
		h := &tar.Header{Name: i.name, Typeflag: i.kind, Linkname: i.link, Mode: i.mode, Size: int64(len(i.body)), ModTime: time.Unix(42, 0)}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(h); err != nil {
			panic(err) // the test's own items
		}
		w.Write([]byte(i.body))
	}
	w.Close()
	return b.Bytes()
}

// dump shows the entries of a tree, one a line.
func dump(t *tree.Tree) string {
	var b strings.Builder
	for p, e := range t.All() {
		fmt.Fprintf(&b, "%s %v %04o %d:%d @%d", p, e.Kind, e.Mode, e.UID, e.GID, e.MTime)
		if e.Target != "" {
			fmt.Fprintf(&b, " -> %s", e.Target)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func same(t *testing.T, got *tree.Tree, want string) {
	t.Helper()
	want = strings.ReplaceAll(strings.TrimPrefix(want, "\n"), "\t", "")
	if dump(got) != want {
		t.Errorf("the tree is\n%swant\n%s", dump(got), want)
	}
}

func TestDir(t *testing.T) {
	dir := t.TempDir()
	writeDir(t, dir, map[string]string{"etc/run": "#!/bin/sh\n", "etc/plain": "p"}, 1)
	if err := os.Chmod(filepath.Join(dir, "etc/run"), 0o4700); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"out": "../../outside", "abs": "/etc/passwd", "dir": "etc", "dangling": "nothing"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "void"), 0o700); err != nil {
		t.Fatal(err)
	}
	got, err := files.Dir(t.Context(), &sourcetest.Memory{}, dir, files.Options{To: "/a/b", Owner: "7:8", Epoch: 9})
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, `
	. dir 0755 0:0 @9
	a dir 0755 0:0 @9
	a/b dir 0755 7:8 @9
	a/b/abs symlink 0777 7:8 @9 -> /etc/passwd
	a/b/dangling symlink 0777 7:8 @9 -> nothing
	a/b/dir symlink 0777 7:8 @9 -> etc
	a/b/etc dir 0755 7:8 @9
	a/b/etc/plain file 0644 7:8 @9
	a/b/etc/run file 0755 7:8 @9
	a/b/out symlink 0777 7:8 @9 -> ../../outside
	a/b/void dir 0755 7:8 @9
	`)
}

func TestFile(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "program"), "p")
	if err := os.Chmod(filepath.Join(dir, "program"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("program", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		o    files.Options
		want string
	}{
		"link":    {files.Options{}, ". dir 0755 0:0 @0\nlink file 0755 0:0 @0\n"},
		"program": {files.Options{To: "/bin/x", Mode: 0o4711, Owner: "5"}, ". dir 0755 0:0 @0\nbin dir 0755 0:0 @0\nbin/x file 4711 5:5 @0\n"},
	} {
		got, err := files.File(t.Context(), &sourcetest.Memory{}, filepath.Join(dir, name), c.o)
		if err != nil {
			t.Fatal(err)
		}
		same(t, got, c.want)
	}
}

func TestTarball(t *testing.T) {
	archive := pack(
		item{name: "top/", kind: tar.TypeDir, mode: 0o700},
		item{name: "top/x", body: "x", mode: 0o4755},
		item{name: "top/sub/y", kind: tar.TypeLink, link: "top/x"},
		item{name: "top/z", kind: tar.TypeSymlink, link: "/x"},
	)
	for compression, content := range compressions(t, archive) {
		t.Run(compression, func(t *testing.T) {
			got, err := files.ReadTarball(t.Context(), &sourcetest.Memory{}, bytes.NewReader(content), files.Options{Strip: 1, To: "/opt/t", Epoch: 9})
			if err != nil {
				t.Fatal(err)
			}
			same(t, got, `
			. dir 0755 0:0 @9
			opt dir 0755 0:0 @9
			opt/t dir 0755 0:0 @9
			opt/t/sub dir 0755 0:0 @0
			opt/t/sub/y hardlink 0000 0:0 @0 -> opt/t/x
			opt/t/x file 4755 0:0 @42
			opt/t/z symlink 0777 0:0 @42 -> /x
			`)
			cut := content[:len(content)-5]
			if compression == "none" {
				cut = content[:700]
			}
			if _, err := files.ReadTarball(t.Context(), &sourcetest.Memory{}, bytes.NewReader(cut), files.Options{}); err == nil {
				t.Error("a truncated archive is accepted")
			}
		})
	}
}

// compressions packs an archive in each way there is a tool for.
func compressions(t *testing.T, b []byte) map[string][]byte {
	t.Helper()
	out := map[string][]byte{"none": b}
	var gz, zst bytes.Buffer
	g := gzip.NewWriter(&gz)
	g.Write(b)
	g.Close()
	z, err := zstd.NewWriter(&zst)
	if err != nil {
		t.Fatal(err)
	}
	z.Write(b)
	z.Close()
	out["gzip"], out["zstd"] = gz.Bytes(), zst.Bytes()
	for _, tool := range []string{"xz", "bzip2"} {
		cmd := exec.Command(tool, "-c")
		cmd.Stdin = bytes.NewReader(b)
		packed, err := cmd.Output()
		if err != nil {
			t.Skip(tool, err)
		}
		out[tool] = packed
	}
	return out
}

func TestRefused(t *testing.T) {
	dir := t.TempDir()
	sub := func(name string) string {
		p := filepath.Join(dir, name)
		if err := os.Mkdir(p, 0o755); err != nil {
			t.Fatal(err)
		}
		return p
	}
	l, err := net.Listen("unix", filepath.Join(sub("socket"), "sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := syscall.Mkfifo(filepath.Join(sub("pipe"), "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "file"), "f")
	writeDir(t, sub("many"), map[string]string{"1": "1", "2": "2", "3": "3"}, 0)
	for name, c := range map[string]struct {
		read func(o files.Options) error
		o    files.Options
		want string
	}{
		"socket":      {dirOf(t, dir, "socket"), files.Options{}, "sock: is a socket; only"},
		"pipe":        {dirOf(t, dir, "pipe"), files.Options{}, "fifo: is a named pipe; only"},
		"no dir":      {dirOf(t, dir, "file"), files.Options{}, "file is not a directory"},
		"owner":       {dirOf(t, dir, "many"), files.Options{Owner: "www-data"}, `owner "www-data" is not UID`},
		"owner -1":    {dirOf(t, dir, "many"), files.Options{Owner: "4294967295"}, "is not UID"},
		"entries":     {dirOf(t, dir, "many"), files.Options{Limits: untar.Limits{Entries: 3}}, "3: more than 3 entries"},
		"bytes":       {dirOf(t, dir, "many"), files.Options{Limits: untar.Limits{Bytes: 2}}, "3: contents exceed 2 bytes"},
		"dir as file": {fileOf(t, dir, "many"), files.Options{}, "many: is a special file, not a file"},
		"file mode":   {fileOf(t, dir, "file"), files.Options{Mode: 0o10000}, "mode 10000 is none"},
		"no tarball":  {tarOf(t, strings.Repeat("no tar", 500)), files.Options{}, "tar: after entry 0"},
		"empty":       {tarOf(t, ""), files.Options{}, "it is empty"},
		"stripped":    {tarOf(t, string(pack(item{name: "x", body: "x"}))), files.Options{Strip: 1}, "nothing is in it when 1 leading"},
		"escape":      {tarOf(t, string(pack(item{name: "../x", body: "x"}))), files.Options{}, `contains ".."`},
		"device":      {tarOf(t, string(pack(item{name: "x", kind: tar.TypeChar}))), files.Options{}, "device node"},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.read(c.o)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q in it", err, c.want)
			}
		})
	}
}

func dirOf(t *testing.T, dir, name string) func(files.Options) error {
	return func(o files.Options) error {
		_, err := files.Dir(t.Context(), &sourcetest.Memory{}, filepath.Join(dir, name), o)
		return err
	}
}

func fileOf(t *testing.T, dir, name string) func(files.Options) error {
	return func(o files.Options) error {
		_, err := files.File(t.Context(), &sourcetest.Memory{}, filepath.Join(dir, name), o)
		return err
	}
}

func tarOf(t *testing.T, content string) func(files.Options) error {
	return func(o files.Options) error {
		_, err := files.ReadTarball(t.Context(), &sourcetest.Memory{}, strings.NewReader(content), o)
		return err
	}
}

// A file that the tree is merged over keeps its place: the root is nobody's.
func TestMerge(t *testing.T) {
	base := tree.New()
	if err := base.Put(tree.Root, tree.Entry{Kind: tree.Dir, Mode: 0o700, Owner: "base"}); err != nil {
		t.Fatal(err)
	}
	dir := writeDir(t, t.TempDir(), map[string]string{"etc/x": "x"}, 0)
	got, err := files.Dir(t.Context(), &sourcetest.Memory{}, dir, files.Options{Owner: "5:5", Label: "conf"})
	if err != nil {
		t.Fatal(err)
	}
	if err := base.Merge(got, tree.LastWins); err != nil {
		t.Fatal(err)
	}
	if _, ok := base.Get("etc/x"); !ok {
		t.Error("the merged tree lacks etc/x")
	}
}

func FuzzTarball(f *testing.F) {
	good := pack(item{name: "a/b", body: "b"}, item{name: "c", kind: tar.TypeSymlink, link: "a"})
	f.Add(good, "/")
	var gz bytes.Buffer
	g := gzip.NewWriter(&gz)
	g.Write(good)
	g.Close()
	f.Add(gz.Bytes(), "/opt")
	f.Add([]byte("BZh9"), "")
	f.Add([]byte("\xfd7zXZ\x00"), "")
	f.Add([]byte("\x28\xb5\x2f\xfd\x00"), "")
	f.Fuzz(func(t *testing.T, b []byte, to string) {
		o := files.Options{To: to, Limits: untar.Limits{Entries: 1000, Bytes: 1 << 20, File: 1 << 20}}
		got, err := files.ReadTarball(t.Context(), &sourcetest.Memory{}, bytes.NewReader(b), o)
		if err != nil {
			return
		}
		if err := got.Check(); err != nil {
			t.Error(err)
		}
	})
}

func BenchmarkDir(b *testing.B) {
	dir := b.TempDir()
	for i := range 10_000 {
		at := filepath.Join(dir, fmt.Sprint(i%100))
		if err := os.MkdirAll(at, 0o755); err != nil {
			b.Fatal(err)
		}
		write(b, filepath.Join(at, fmt.Sprint(i)), strings.Repeat(fmt.Sprint(i), 800))
	}
	for b.Loop() {
		if _, err := files.Dir(b.Context(), &sourcetest.Memory{}, dir, files.Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
