package untar_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/source/untar"
	"github.com/instar-os/instar/internal/tree"
)

// memory keeps contents; it is the second implementation of untar.Objects.
type memory map[digest.Digest]string

func (m memory) Put(r io.Reader) (digest.Digest, int64, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return digest.Digest{}, 0, err
	}
	d, err := m.PutBytes(b)
	return d, int64(len(b)), err
}

func (m memory) PutBytes(b []byte) (digest.Digest, error) {
	d := digest.Of(b)
	m[d] = string(b)
	return d, nil
}

// item is one entry of an archive to be written.
type item struct {
	h    tar.Header
	body string
}

func archive(t testing.TB, items ...item) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, it := range items {
		it.h.Size = int64(len(it.body))
		if err := w.WriteHeader(&it.h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, it.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func file(name, body string) item {
	return item{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}, body}
}

func entry(kind byte, name, link string) item {
	return item{tar.Header{Name: name, Typeflag: kind, Linkname: link, Mode: 0o755}, ""}
}

// dump lists a tree, one line an entry.
func dump(t *tree.Tree, m memory) string {
	var b strings.Builder
	for p, e := range t.All() {
		fmt.Fprintf(&b, "%s %v %04o %d:%d", p, e.Kind, e.Mode, e.UID, e.GID)
		switch e.Kind {
		case tree.File:
			fmt.Fprintf(&b, " %q", m[e.Digest])
		case tree.Symlink, tree.Hardlink:
			fmt.Fprintf(&b, " -> %s", e.Target)
		case tree.CharDevice:
			fmt.Fprintf(&b, " %d,%d", e.Major, e.Minor)
		}
		for _, k := range slices.Sorted(maps.Keys(e.Xattrs)) {
			fmt.Fprintf(&b, " %s=%q", k, e.Xattrs[k])
		}
		b.WriteString("\n")
	}
	return b.String()
}

var long = strings.Repeat("long/", 60) + "name"

func TestRead(t *testing.T) {
	caps := file("usr/bin/ping", "x")
	caps.h.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": "\x01\x00\x02"}
	owned := file("etc/shadow", "s")
	owned.h.Mode, owned.h.Gid, owned.h.Uid = 0o640, 42, 3_000_000
	null := entry(tar.TypeChar, "dev/null", "")
	null.h.Devmajor, null.h.Devminor = 1, 3
	for name, c := range map[string]struct {
		opts  untar.Options
		items []item
		want  string
	}{
		"files, links, directories": {untar.Options{}, []item{entry(tar.TypeDir, "./", ""), entry(tar.TypeDir, "./usr/", ""),
			file("./usr/a", "A"), entry(tar.TypeLink, "./usr/b", "./usr/a"), entry(tar.TypeLink, "./usr/c", "./usr/b"),
			entry(tar.TypeSymlink, "./usr/l", "../x"), file("./empty", "")},
			". dir 0755 0:0\nempty file 0644 0:0 \"\"\nusr dir 0755 0:0\nusr/a file 0644 0:0 \"A\"\n" +
				"usr/b hardlink 0000 0:0 -> usr/a\nusr/c hardlink 0000 0:0 -> usr/a\nusr/l symlink 0777 0:0 -> ../x\n"},
		"attributes": {untar.Options{}, []item{caps, owned},
			". dir 0755 0:0\netc dir 0755 0:0\netc/shadow file 0640 3000000:42 \"s\"\nusr dir 0755 0:0\nusr/bin dir 0755 0:0\n" +
				"usr/bin/ping file 0644 0:0 \"x\" security.capability=\"\\x01\\x00\\x02\"\n"},
		"strip": {untar.Options{Strip: 1}, []item{entry(tar.TypeDir, "top/", ""), file("top/a", "A"), entry(tar.TypeLink, "top/b", "top/a")},
			". dir 0755 0:0\na file 0644 0:0 \"A\"\nb hardlink 0000 0:0 -> a\n"},
		"devices": {untar.Options{Devices: true}, []item{null},
			". dir 0755 0:0\ndev dir 0755 0:0\ndev/null char 0755 0:0 1,3\n"},
		"replace": {untar.Options{Replace: true}, []item{file("a", "1"), entry(tar.TypeLink, "b", "a"), file("a", "2")},
			". dir 0755 0:0\na file 0644 0:0 \"2\"\nb file 0644 0:0 \"1\"\n"},
		"hard link to a symlink": {untar.Options{}, []item{entry(tar.TypeSymlink, "a", "x"), entry(tar.TypeLink, "b", "a")},
			". dir 0755 0:0\na symlink 0777 0:0 -> x\nb symlink 0777 0:0 -> x\n"},
		"directory twice": {untar.Options{}, []item{file("d/f", "1"), {tar.Header{Name: "d", Typeflag: tar.TypeDir, Mode: 0o700}, ""}},
			". dir 0755 0:0\nd dir 0700 0:0\nd/f file 0644 0:0 \"1\"\n"},
	} {
		m := memory{}
		got, err := untar.Read(bytes.NewReader(archive(t, c.items...)), m, c.opts)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if s := dump(got, m); s != c.want {
			t.Errorf("%s: got\n%swant\n%s", name, s, c.want)
		}
	}
}

func TestLongNameAndLargeFile(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 40_000)
	m := memory{}
	got, err := untar.Read(bytes.NewReader(archive(t, file(long, big))), m, untar.Options{Owner: "me"})
	if err != nil {
		t.Fatal(err)
	}
	e, ok := got.Get(long)
	if !ok || e.Size != int64(len(big)) || m[e.Digest] != big || e.Owner != "me" {
		t.Errorf("entry %+v", e)
	}
}

func TestRefused(t *testing.T) {
	fat := file("a", "1")
	fat.h.PAXRecords = map[string]string{"SCHILY.xattr.user.x": strings.Repeat("v", 70_000)}
	cut := archive(t, file("a", strings.Repeat("x", 2000)))
	for name, c := range map[string]struct {
		raw    []byte
		limits untar.Limits
		want   string
	}{
		"parent":              {archive(t, file("a/../../b", "")), untar.Limits{}, `contains ".."`},
		"long component":      {archive(t, file(strings.Repeat("n", 300), "")), untar.Limits{}, "a name of 300 bytes"},
		"device":              {archive(t, entry(tar.TypeBlock, "sda", "")), untar.Limits{}, "device node 0:0"},
		"twice":               {archive(t, file("a", "1"), file("a", "2")), untar.Limits{}, "a file comes after a file"},
		"file over directory": {archive(t, file("a/b", "1"), file("a", "2")), untar.Limits{}, "a file comes after a dir"},
		"below a link":        {archive(t, entry(tar.TypeSymlink, "a", "/etc"), file("a/b", "2")), untar.Limits{}, "not a directory"},
		"link to nothing":     {archive(t, entry(tar.TypeLink, "a", "b")), untar.Limits{}, "no earlier file"},
		"link to itself":      {archive(t, entry(tar.TypeLink, "a", "a")), untar.Limits{}, "no earlier file"},
		"link loop":           {archive(t, entry(tar.TypeLink, "a", "b"), entry(tar.TypeLink, "b", "a")), untar.Limits{}, "no earlier file"},
		"link out":            {archive(t, entry(tar.TypeLink, "a", "../b")), untar.Limits{}, `contains ".."`},
		"link to a directory": {archive(t, entry(tar.TypeDir, "d", ""), entry(tar.TypeLink, "a", "d")), untar.Limits{}, "no earlier file"},
		"root is a file":      {archive(t, file(".", "x")), untar.Limits{}, "comes after a dir"},
		"xattrs":              {archive(t, fat), untar.Limits{}, "extended attributes"},
		"entries":             {archive(t, file("a", ""), file("b", "")), untar.Limits{Entries: 1}, "more than 1 entries"},
		"bytes":               {archive(t, file("a", "123"), file("b", "456")), untar.Limits{Bytes: 5}, "contents exceed 5 bytes"},
		"one file":            {archive(t, file("a", "123456")), untar.Limits{File: 5}, "more than the limit of 5"},
		"cut in content":      {cut[:1000], untar.Limits{}, "unexpected EOF"},
		"cut in header":       {cut[:200], untar.Limits{}, "unexpected EOF"},
		"garbage":             {bytes.Repeat([]byte("no tar "), 200), untar.Limits{}, "tar: after entry 0"},
	} {
		_, err := untar.Read(bytes.NewReader(c.raw), memory{}, untar.Options{Limits: c.limits})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(archive(f, file("a", "1"), entry(tar.TypeLink, "b", "a"), entry(tar.TypeSymlink, "c", "a")))
	f.Add(archive(f, entry(tar.TypeDir, "./", ""), file("./x/y", "data")))
	f.Add(archive(f, file(long, "")))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, replace := range []bool{false, true} {
			got, err := untar.Read(bytes.NewReader(b), memory{}, untar.Options{Replace: replace, Devices: true,
				Limits: untar.Limits{Entries: 100, Bytes: 1 << 20, File: 1 << 20}})
			if err != nil {
				continue
			}
			if err := got.Check(); err != nil {
				t.Error(err)
			}
		}
	})
}
