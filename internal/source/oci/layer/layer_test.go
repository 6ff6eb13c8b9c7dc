package layer_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/source/oci/layer"
	. "github.com/instar-os/instar/internal/source/oci/ocitest"
	"github.com/instar-os/instar/internal/source/untar"
	"github.com/instar-os/instar/internal/tree"
)

// memory keeps contents.
type memory struct {
	mu sync.Mutex
	m  map[digest.Digest]string
}

func newMemory() *memory { return &memory{m: map[digest.Digest]string{}} }

func (m *memory) Put(r io.Reader) (digest.Digest, int64, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return digest.Digest{}, 0, err
	}
	d, err := m.PutBytes(b)
	return d, int64(len(b)), err
}

func (m *memory) PutBytes(b []byte) (digest.Digest, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := digest.Of(b)
	m.m[d] = string(b)
	return d, nil
}

// lay reads layers and lays them over each other.
func lay(m *memory, o layer.Options, archives ...[]byte) (*tree.Tree, error) {
	s := layer.NewStack(o.Limits)
	for _, a := range archives {
		l, err := layer.Read(context.Background(), bytes.NewReader(a), m, o)
		if err != nil {
			return nil, err
		}
		if err := s.Apply(l); err != nil {
			return nil, err
		}
	}
	t, err := s.Tree()
	if err == nil {
		err = t.Check()
	}
	return t, err
}

// dump lists a tree, one line an entry, without the root when it is ordinary.
func dump(t *tree.Tree, m *memory) string {
	var b strings.Builder
	for p, e := range t.All() {
		if p == tree.Root && e.Mode == 0o755 {
			continue
		}
		fmt.Fprintf(&b, "%s", p)
		switch e.Kind {
		case tree.File:
			fmt.Fprintf(&b, " %q", m.m[e.Digest])
		case tree.Dir:
			b.WriteString("/")
		case tree.Symlink:
			fmt.Fprintf(&b, " -> %s", e.Target)
		case tree.Hardlink:
			fmt.Fprintf(&b, " = %s", e.Target)
		default:
			fmt.Fprintf(&b, " %v", e.Kind)
		}
		if e.Kind != tree.Hardlink && e.Kind != tree.Symlink && e.Mode != 0o755 && e.Mode != 0o644 {
			fmt.Fprintf(&b, " %04o", e.Mode)
		}
		if e.UID+e.GID != 0 {
			fmt.Fprintf(&b, " %d:%d", e.UID, e.GID)
		}
		for _, k := range slices.Sorted(maps.Keys(e.Xattrs)) {
			fmt.Fprintf(&b, " %s=%q", k, e.Xattrs[k])
		}
		b.WriteString("\n")
	}
	return b.String()
}

func mode(m int64) func(*tar.Header) { return func(h *tar.Header) { h.Mode = m } }

func layers(all ...[]Item) [][]Item { return all }

// worlds are stacks of layers and what they give. The umoci test reads them too.
var worlds = map[string]struct {
	layers [][]Item
	want   string
}{
	"one file over another": {layers([]Item{File("a", "1")}, []Item{File("a", "2")}), "a \"2\"\n"},
	"whiteout": {layers([]Item{Dir("d"), File("d/a", "1"), File("d/b", "2")}, []Item{Gone("d/a")}),
		"d/\nd/b \"2\"\n"},
	"whiteout of a directory": {layers([]Item{Dir("d"), Dir("d/e"), File("d/e/a", "1"), File("x", "")}, []Item{Gone("d")}), "x \"\"\n"},
	"whiteout of nothing":     {layers([]Item{File("a", "1")}, []Item{Gone("b"), Gone("c/d"), Gone("a/x")}), "a \"1\"\n"},
	"whiteout before its own layer's file": {layers([]Item{File("a", "1")}, []Item{Gone("a"), File("a", "2")}),
		"a \"2\"\n"},
	"whiteout after its own layer's file": {layers([]Item{File("a", "1")}, []Item{File("a", "2"), Gone("a")}),
		"a \"2\"\n"},
	"whiteout after a file within the directory": {
		layers([]Item{Dir("d"), File("d/old", "1")}, []Item{Dir("d"), File("d/new", "2"), Gone("d")}),
		"d/\nd/new \"2\"\n"},
	"whiteout, later again": {layers([]Item{File("a", "1")}, []Item{Gone("a")}, []Item{File("a", "3")}), "a \"3\"\n"},
	"opaque first": {layers([]Item{Dir("d"), File("d/old", "1"), Dir("d/e"), File("d/e/f", "1")}, []Item{Dir("d"), Opaque("d"), File("d/new", "2")}),
		"d/\nd/new \"2\"\n"},
	"opaque last": {layers([]Item{Dir("d"), File("d/old", "1"), Dir("d/e"), File("d/e/f", "1")}, []Item{Dir("d"), Dir("d/e"), File("d/e/g", "2"), Opaque("d")}),
		"d/\nd/e/\nd/e/g \"2\"\n"},
	"opaque without lower":            {layers([]Item{Dir("d"), File("d/a", "1"), Opaque("d")}), "d/\nd/a \"1\"\n"},
	"directory becomes file":          {layers([]Item{Dir("d"), File("d/a", "1")}, []Item{File("d", "f")}), "d \"f\"\n"},
	"file becomes directory":          {layers([]Item{File("d", "f")}, []Item{Dir("d"), File("d/a", "1")}), "d/\nd/a \"1\"\n"},
	"symlink becomes directory":       {layers([]Item{Dir("x"), Symlink("d", "x")}, []Item{Dir("d"), File("d/a", "1")}), "d/\nd/a \"1\"\nx/\n"},
	"directory becomes symlink":       {layers([]Item{Dir("d"), File("d/a", "1"), Dir("x")}, []Item{Symlink("d", "x")}), "d -> x\nx/\n"},
	"symlink becomes file":            {layers([]Item{File("x", "1"), Symlink("d", "x")}, []Item{File("d", "2")}), "d \"2\"\nx \"1\"\n"},
	"entry behind a symlinked parent": {layers([]Item{Dir("usr"), Dir("usr/lib"), Symlink("lib", "usr/lib")}, []Item{File("lib/a", "1")}), "lib -> usr/lib\nusr/\nusr/lib/\nusr/lib/a \"1\"\n"},
	"whiteout behind a symlinked parent": {layers([]Item{Dir("usr"), Dir("usr/lib"), Symlink("lib", "usr/lib"), File("usr/lib/a", "1")}, []Item{Gone("lib/a")}),
		"lib -> usr/lib\nusr/\nusr/lib/\n"},
	"symlink out of the root stays within": {layers([]Item{Dir("e"), Symlink("out", "../../e")}, []Item{File("out/a", "1")}), "e/\ne/a \"1\"\nout -> ../../e\n"},
	"absolute symlink stays within":        {layers([]Item{Dir("e"), Symlink("out", "/e")}, []Item{File("out/a", "1")}), "e/\ne/a \"1\"\nout -> /e\n"},
	"missing parents":                      {layers([]Item{File("a/b/c", "1")}), "a/\na/b/\na/b/c \"1\"\n"},
	"hard links":                           {layers([]Item{File("a", "1"), Link("b", "a"), Link("c", "b")}), "a \"1\"\nb = a\nc = a\n"},
	"hard link to a lower layer": {layers([]Item{File("a", "1")}, []Item{Link("b", "a")}),
		"a \"1\"\nb = a\n"},
	"hard link to a lower layer whose name goes": {layers([]Item{File("a", "1")}, []Item{Link("b", "a"), Gone("a")}),
		"b \"1\"\n"},
	"one name of two replaced":    {layers([]Item{File("a", "1"), Link("b", "a")}, []Item{File("a", "2")}), "a \"2\"\nb \"1\"\n"},
	"one name of two goes":        {layers([]Item{File("a", "1"), Link("b", "a"), Link("c", "a")}, []Item{Gone("a")}), "b \"1\"\nc = b\n"},
	"hard link over another file": {layers([]Item{File("a", "1"), File("b", "2")}, []Item{Link("b", "a")}), "a \"1\"\nb = a\n"},
	"hard link behind a symlink": {layers([]Item{Dir("usr"), Symlink("bin", "usr"), File("usr/a", "1")}, []Item{Link("bin/b", "bin/a")}),
		"bin -> usr\nusr/\nusr/a \"1\"\nusr/b = usr/a\n"},
	"duplicate entries":             {layers([]Item{File("a", "1"), File("a", "2"), Dir("d").With(mode(0o700)), Dir("d").With(mode(0o711))}), "a \"2\"\nd/ 0711\n"},
	"directory's attributes change": {layers([]Item{Dir("d"), File("d/a", "1")}, []Item{Dir("d").With(mode(0o1777))}), "d/ 1777\nd/a \"1\"\n"},
	"setuid and owners": {layers([]Item{File("su", "x").With(mode(0o4755)), File("o", "y").With(func(h *tar.Header) { h.Uid, h.Gid, h.Mode = 1000, 42, 0o2640 })}),
		"o \"y\" 2640 1000:42\nsu \"x\" 4755\n"},
	"attributes": {layers([]Item{File("ping", "x").With(func(h *tar.Header) {
		h.PAXRecords = map[string]string{"SCHILY.xattr.user.a": "b\x00c", "SCHILY.xattr.security.selinux": "label"}
	})}),
		"ping \"x\" user.a=\"b\\x00c\"\n"},
	"hard link with attributes": {layers([]Item{File("a", "1")}, []Item{Link("b", "a").With(func(h *tar.Header) { h.Mode, h.Uid = 0o600, 7 })}),
		"a \"1\"\nb = a\n"},
	"hard link to a symlink": {layers([]Item{Symlink("a", "x"), Link("b", "a")}), "a -> x\nb -> x\n"},
	"the root":               {layers([]Item{Dir("./").With(mode(0o711)), File("./a", "1")}), "./ 0711\na \"1\"\n"},
	"a named pipe":           {layers([]Item{{Header: tar.Header{Name: "p", Typeflag: tar.TypeFifo, Mode: 0o644}}}), "p fifo\n"},
	"long names":             {layers([]Item{Dir(strings.Repeat("d", 200)), File(strings.Repeat("d", 200)+"/"+strings.Repeat("f", 250), "1")}), strings.Repeat("d", 200) + "/\n" + strings.Repeat("d", 200) + "/" + strings.Repeat("f", 250) + " \"1\"\n"},
	"rename by layers": {layers([]Item{Dir("a"), File("a/f", "1")}, []Item{Gone("a"), Dir("b"), File("b/f", "1")}, []Item{Gone("b"), Dir("a"), File("a/g", "2")}),
		"a/\na/g \"2\"\n"},
}

func TestWorlds(t *testing.T) {
	for name, w := range worlds {
		t.Run(name, func(t *testing.T) {
			m := newMemory()
			var archives [][]byte
			for _, items := range w.layers {
				archives = append(archives, Tar(t, items...))
			}
			got, err := lay(m, layer.Options{Devices: true}, archives...)
			if err != nil {
				t.Fatal(err)
			}
			if s := dump(got, m); s != w.want {
				t.Errorf("got\n%swant\n%s", s, w.want)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	huge := File("f", "x").With(func(h *tar.Header) {
		h.PAXRecords = map[string]string{"SCHILY.xattr.user.a": strings.Repeat("x", 70<<10)}
	})
	for name, c := range map[string]struct {
		layers [][]Item
		want   string
	}{
		"absolute name":            {layers([]Item{File("/etc/passwd", "x")}), "is absolute"},
		"name that leaves":         {layers([]Item{File("../x", "x")}), `contains ".."`},
		"name that leaves later":   {layers([]Item{File("a/../../x", "x")}), `contains ".."`},
		"absolute whiteout":        {layers([]Item{File("/.wh.a", "")}), "is absolute"},
		"whiteout of the parent":   {layers([]Item{File("d/.wh...", "")}), "which is no name"},
		"whiteout of itself":       {layers([]Item{File("d/.wh..", "")}), "which is no name"},
		"whiteout of no name":      {layers([]Item{File("d/.wh.", "")}), "which is no name"},
		"hard link that leaves":    {layers([]Item{Link("a", "../../etc/shadow")}), `contains ".."`},
		"absolute hard link":       {layers([]Item{Link("a", "/etc/shadow")}), "is absolute"},
		"hard link to nothing":     {layers([]Item{Link("a", "b")}), "no file that this layer or one below brings"},
		"hard link to a directory": {layers([]Item{Dir("b"), Link("a", "b")}), "no file that this layer"},
		"hard link to what went":   {layers([]Item{File("b", "")}, []Item{Gone("b"), Link("a", "b")}), "no file that this layer"},
		"hard link to itself":      {layers([]Item{File("b", ""), Link("b", "b")}), "to itself"},
		"a file for a parent":      {layers([]Item{File("a", ""), File("a/b", "")}), "not a directory"},
		"a circle of symlinks":     {layers([]Item{Symlink("a", "b"), Symlink("b", "a"), File("a/x", "")}), "more than 40 symlinks"},
		"the root as a file":       {layers([]Item{Symlink(".", "x")}), "the root must be a directory"},
		"large attributes":         {layers([]Item{huge}), "extended attributes are too large"},
		"too many entries":         {layers(slices.Repeat([]Item{File("a", "")}, 60), slices.Repeat([]Item{File("a", "")}, 60)), "more than 100 entries in all layers"},
		"too many in one":          {layers(slices.Repeat([]Item{File("a", "")}, 101)), "more than 100 entries"},
		"too large":                {layers([]Item{File("a", strings.Repeat("x", 1001))}), "more than the limit of 1000"},
		"too large together":       {layers([]Item{File("a", strings.Repeat("x", 900)), File("b", strings.Repeat("x", 900)), File("c", strings.Repeat("x", 900))}), "exceed 2000 bytes"},
		"too large in all layers":  {layers([]Item{File("a", strings.Repeat("x", 900))}, []Item{File("b", strings.Repeat("x", 900))}, []Item{File("c", strings.Repeat("x", 900))}), "the contents of all layers exceed 2000 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			var archives [][]byte
			for _, items := range c.layers {
				archives = append(archives, Tar(t, items...))
			}
			_, err := lay(newMemory(), layer.Options{Limits: untar.Limits{Entries: 100, File: 1000, Bytes: 2000}}, archives...)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

// A sparse file may claim any size; what it claims counts.
func TestSparse(t *testing.T) {
	// "GNU.sparse" 1.0: a map of one 1-byte extent at the end of 1 TiB.
	body := "1\n1099511627775\n1\n"
	body += strings.Repeat("\x00", 512-len(body)) + "x"
	var b bytes.Buffer
	pax := ""
	for _, r := range []string{"GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=big", "GNU.sparse.realsize=1099511627776"} {
		n := len(r) + 3
		for len(fmt.Sprintf("%d %s\n", n, r)) != n {
			n++
		}
		pax += fmt.Sprintf("%d %s\n", n, r)
	}
	b.Write(rawHeader("x", 'x', len(pax)))
	b.WriteString(pax + strings.Repeat("\x00", (512-len(pax)%512)%512))
	b.Write(rawHeader("big", '0', len(body)))
	b.WriteString(body + strings.Repeat("\x00", 1024))
	b.Write(make([]byte, 1024))
	_, err := lay(newMemory(), layer.Options{}, b.Bytes())
	if err == nil || !strings.Contains(err.Error(), "1099511627776 bytes, more than the limit") {
		t.Errorf("error %v, want the limit", err)
	}
}

func rawHeader(name string, typ byte, size int) []byte {
	h := make([]byte, 512)
	copy(h, name)
	copy(h[100:], "0000644\x00")
	copy(h[108:], "0000000\x000000000\x00")
	copy(h[124:], fmt.Sprintf("%011o\x00%011o\x00        ", size, 0))
	h[156] = typ
	copy(h[257:], "ustar\x0000")
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	return h
}

func TestDevices(t *testing.T) {
	null := Item{Header: tar.Header{Name: "dev/null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3, Mode: 0o666}}
	l, err := layer.Read(t.Context(), bytes.NewReader(Tar(t, null)), newMemory(), layer.Options{})
	if err != nil || len(l.Ops) != 0 || l.Devices != 1 {
		t.Errorf("%+v, %v; a device node is to be counted and left out", l, err)
	}
}

type failing struct{ *memory }

var errFull = errors.New("the disk is full")

func (failing) PutBytes([]byte) (digest.Digest, error) { return digest.Digest{}, errFull }

func TestStoreFails(t *testing.T) {
	_, err := layer.Read(t.Context(), bytes.NewReader(Tar(t, File("a", "1"))), failing{newMemory()}, layer.Options{})
	if !errors.Is(err, errFull) {
		t.Errorf("error %v, want the store's", err)
	}
}

func TestDecompress(t *testing.T) {
	plain := bytes.Repeat([]byte("0123456789abcdef"), 100_000)
	for _, how := range []string{"", "gzip", "zstd"} {
		packed := Compress(t, how, plain)
		var sum bytes.Buffer
		r, err := layer.Decompress(bytes.NewReader(packed), &sum)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if cerr := r.Close(); err != nil || cerr != nil || !bytes.Equal(got, plain) || !bytes.Equal(sum.Bytes(), plain) {
			t.Errorf("%s: %d bytes, %d summed, %v, %v; want %d", how, len(got), sum.Len(), err, cerr, len(plain))
		}
		if how == "" {
			continue
		}
		r, err = layer.Decompress(bytes.NewReader(packed[:len(packed)-3]), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(r); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s, cut: %v, want an unexpected end", how, err)
		}
		r.Close()
	}
	for _, magic := range []string{"\xfd7zXZ\x00", "BZh91A"} {
		if _, err := layer.Decompress(strings.NewReader(magic), nil); err == nil {
			t.Errorf("%q is taken for a layer", magic)
		}
	}
	// Closing early ends the goroutine.
	r, err := layer.Decompress(bytes.NewReader(Compress(t, "gzip", plain)), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// FuzzLayers holds that whatever two layers say, the result is a tree.
func FuzzLayers(f *testing.F) {
	for _, w := range worlds {
		var two [2][]byte
		for i, items := range w.layers {
			if i < 2 {
				two[i] = Tar(f, items...)
			}
		}
		f.Add(two[0], two[1])
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		limits := untar.Limits{Entries: 1000, File: 1 << 20, Bytes: 4 << 20}
		got, err := lay(newMemory(), layer.Options{Devices: true, Limits: limits}, a, b)
		if err != nil {
			return
		}
		for p := range got.All() {
			if strings.HasPrefix(p, "/") || strings.Contains("/"+p+"/", "/../") {
				t.Errorf("%q is in the tree", p)
			}
		}
	})
}
