package dpkg_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/source/dpkg"
	"github.com/instar-os/instar/internal/source/dpkg/dpkgtest"
	"github.com/instar-os/instar/internal/tree"
)

type item = dpkgtest.Item

func mem(name string, body []byte) dpkgtest.Member { return dpkgtest.Member{Name: name, Body: body} }

func unpack(t testing.TB, name, version string, deb []byte) (*dpkg.Package, error) {
	return dpkg.Unpack(t.Context(), &dpkgtest.Memory{}, bytes.NewReader(deb), int64(len(deb)), dpkgtest.Pin(name, version, deb), 2)
}

var (
	binary  = mem("debian-binary", []byte("2.0\n"))
	control = dpkgtest.Tar(item{Name: "./control", Body: "Package: a\nVersion: 1\nArchitecture: amd64\n"},
		item{Name: "./postinst", Body: "#!/bin/sh\n"}, item{Name: "./md5sums", Body: "x"})
	data = dpkgtest.Tar(item{Name: "./", Kind: tar.TypeDir, Mode: 0o755}, item{Name: "./f", Body: strings.Repeat("x", 3000)})
)

func gz(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(b)
	_ = w.Close()
	return out.Bytes()
}

func zst(b []byte) []byte {
	w, _ := zstd.NewWriter(nil)
	return w.EncodeAll(b, nil)
}

func tool(t testing.TB, b []byte, name string, args ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skip(name)
	}
	cmd := exec.Command(name, args...)
	cmd.Stdin = bytes.NewReader(b)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestCompressions(t *testing.T) {
	for name, deb := range map[string][]byte{
		"none":       dpkgtest.Ar(binary, mem("control.tar", control), mem("data.tar", data)),
		"gz":         dpkgtest.Ar(binary, mem("control.tar.gz", gz(control)), mem("data.tar.gz", gz(data))),
		"zst":        dpkgtest.Ar(binary, mem("control.tar.zst", zst(control)), mem("data.tar.zst", zst(data))),
		"xz":         dpkgtest.Ar(binary, mem("control.tar.xz", tool(t, control, "xz")), mem("data.tar.xz", tool(t, data, "xz", "--block-size=2000"))),
		"slash":      dpkgtest.Ar(mem("debian-binary/", binary.Body), mem("control.tar/", control), mem("data.tar/", data)),
		"underscore": dpkgtest.Ar(binary, mem("_x", nil), mem("control.tar", control), mem("_y", []byte("1")), mem("data.tar", data)),
	} {
		p, err := unpack(t, "a", "1", deb)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if e, ok := p.Tree.Get("f"); !ok || e.Size != 3000 || e.Owner != "a 1 amd64" || p.Scripts["postinst"] == "" || len(p.Scripts) != 1 {
			t.Errorf("%s: %+v, scripts %q", name, e, p.Scripts)
		}
	}
}

func TestBadArchives(t *testing.T) {
	packed := tool(t, data, "xz", "--block-size=1000")
	huge := dpkgtest.Ar(binary, mem("control.tar", control), mem("data.tar", data))
	copy(huge[8+48:], "9999999999")
	withData := func(items ...item) []byte {
		return dpkgtest.Ar(binary, mem("control.tar", control), mem("data.tar", dpkgtest.Tar(items...)))
	}
	bomb := dpkgtest.Ar(binary, mem("control.tar.gz", gz(dpkgtest.Tar(item{Name: "./md5sums", Body: strings.Repeat("x", 65<<20)}))), mem("data.tar", data))
	trail := dpkgtest.Ar(binary, mem("control.tar", control), mem("data.tar.gz", gz(append(bytes.Clone(data), make([]byte, 2<<20)...))))
	for name, c := range map[string]struct {
		deb  []byte
		want string
	}{
		"wrong magic":     {[]byte("!<arkh>\nxxxx"), "no ar archive"},
		"empty":           {nil, "no ar archive"},
		"cut header":      {huge[:40], "ar: header at 8: unexpected EOF"},
		"absurd size":     {huge, "ar: debian-binary claims 9999999999 bytes"},
		"cut member":      {dpkgtest.Ar(binary, mem("control.tar", control))[:500], "claims"},
		"no data":         {dpkgtest.Ar(binary, mem("control.tar", control)), "no control.tar followed by data.tar"},
		"data first":      {dpkgtest.Ar(binary, mem("data.tar", data), mem("control.tar", control)), "unexpected member data.tar"},
		"version 3":       {dpkgtest.Ar(mem("debian-binary", []byte("3.0\n"))), `package format "3.0"`},
		"no binary":       {dpkgtest.Ar(mem("control.tar", control)), "does not start with debian-binary"},
		"long name":       {dpkgtest.Ar(binary, mem("#1/20", nil)), "member name"},
		"lzma":            {dpkgtest.Ar(binary, mem("control.tar", control), mem("data.tar.lzma", data)), `".lzma" is not supported`},
		"truncated xz":    {dpkgtest.Ar(binary, mem("control.tar", control), mem("data.tar.xz", packed[:len(packed)/2])), "data.tar.xz: "},
		"no tar":          {dpkgtest.Ar(binary, mem("control.tar", control), mem("data.tar.xz", tool(t, bytes.Repeat([]byte("hello"), 300), "xz"))), "tar: after entry 0"},
		"other package":   {dpkgtest.Deb("Package: b\nVersion: 1", nil), "the archive says it is b 1 amd64"},
		"no version":      {dpkgtest.Deb("Package: a", nil), `field Version is ""`},
		"no control":      {dpkgtest.Ar(binary, mem("control.tar", dpkgtest.Tar(item{Name: "./x"})), mem("data.tar", data)), "no member control"},
		"escape":          {withData(item{Name: "../etc/passwd", Body: "x"}), `contains ".."`},
		"device":          {withData(item{Name: "./dev/sda", Kind: tar.TypeBlock}), "device node"},
		"loop of links":   {withData(item{Name: "a", Kind: tar.TypeLink, Link: "b"}, item{Name: "b", Kind: tar.TypeLink, Link: "a"}), "no earlier file"},
		"below a symlink": {withData(item{Name: "a", Kind: tar.TypeSymlink, Link: "/etc"}, item{Name: "a/passwd", Body: "x"}), "not a directory"},
		"control bomb":    {bomb, "more than 67108864 bytes"},
		"data after data": {trail, "bytes after the end of the archive"},
	} {
		_, err := unpack(t, "a", "1", c.deb)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "package a 1 amd64: ") {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func TestPinnedBytes(t *testing.T) {
	deb := dpkgtest.Deb("Package: a\nVersion: 1", nil)
	pin := dpkgtest.Pin("a", "1", deb)
	pin.SHA256 = strings.Repeat("0", 64)
	if _, err := dpkg.Unpack(t.Context(), &dpkgtest.Memory{}, bytes.NewReader(deb), int64(len(deb)), pin, 1); err == nil ||
		!strings.Contains(err.Error(), "the lock says 0000") {
		t.Errorf("wrong hash: %v", err)
	}
	if _, err := dpkg.Unpack(t.Context(), &dpkgtest.Memory{}, bytes.NewReader(deb), int64(len(deb))-1, pin, 1); err == nil ||
		!strings.Contains(err.Error(), "bytes, the lock says") {
		t.Errorf("wrong size: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := dpkg.Unpack(ctx, &dpkgtest.Memory{}, bytes.NewReader(deb), int64(len(deb)), dpkgtest.Pin("a", "1", deb), 1); err == nil {
		t.Error("a cancelled context unpacks")
	}
}

// TestAgainstDpkg compares trees of real packages with what dpkg-deb lists and extracts.
func TestAgainstDpkg(t *testing.T) {
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("dpkg-deb")
	}
	archives := dpkgtest.Archives(t, "base-files", "base-passwd", "bash", "perl-base", "mosquitto", "passwd", "tzdata", "util-linux", "dbus-daemon", "ca-certificates")
	for i, p := range unpackAll(t, &dpkgtest.Memory{}, nil, archives) {
		list := tool(t, nil, "dpkg-deb", "-c", archives[i].Path)
		want := map[string]string{}
		for line := range strings.Lines(string(list)) {
			f := strings.SplitN(strings.TrimSpace(line), " ", 2)
			rest := strings.Fields(f[1])
			name, target, _ := strings.Cut(strings.Join(rest[4:], " "), " -> ")
			name, hard, _ := strings.Cut(name, " link to ")
			c, err := tree.Clean(name)
			if err != nil {
				t.Fatal(err)
			}
			if hard, err = tree.Clean(hard); err != nil {
				t.Fatal(err)
			}
			size := rest[1]
			if f[0][0] == 'h' {
				f[0], size, target = "h", "", hard
				rest[0] = ""
			}
			want[c] = strings.Join([]string{f[0], rest[0], size, target}, "|")
		}
		dir := t.TempDir()
		tool(t, nil, "dpkg-deb", "-x", archives[i].Path, dir)
		for name, e := range p.Tree.All() {
			if got := listing(e); got != want[name] {
				t.Errorf("%s: %s: %q, dpkg-deb says %q", p, name, got, want[name])
			}
			delete(want, name)
			if e.Kind != tree.File || e.Size == 0 {
				continue
			}
			b, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil || digest.Of(b) != e.Digest {
				t.Errorf("%s: %s: another content than dpkg-deb -x gives: %v", p, name, err)
			}
			if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.ModTime().Unix() != e.MTime {
				t.Errorf("%s: %s: time %d, want %v", p, name, e.MTime, info.ModTime().Unix())
			}
		}
		if len(want) > 0 {
			t.Errorf("%s: missing %v", p, want)
		}
	}
}

// listing gives an entry the shape of dpkg-deb -c.
func listing(e tree.Entry) string {
	names := map[uint32]string{0: "root", 42: "shadow", 5: "tty", 8: "mail", 50: "staff"}
	letters := []byte(string(map[tree.Kind]byte{tree.File: '-', tree.Dir: 'd', tree.Symlink: 'l', tree.Hardlink: 'h'}[e.Kind]) + "rwxrwxrwx")
	if e.Kind == tree.Hardlink {
		return "h|||" + e.Target
	}
	for i := range 9 {
		if e.Mode&(1<<(8-i)) == 0 {
			letters[i+1] = '-'
		}
	}
	for i, c := range "sst" {
		if at := 3 * (i + 1); e.Mode&(0o4000>>i) != 0 {
			if letters[at] == '-' {
				c += 'A' - 'a'
			}
			letters[at] = byte(c)
		}
	}
	return fmt.Sprintf("%s|%s/%s|%d|%s", letters, names[e.UID], names[e.GID], e.Size, e.Target)
}

func FuzzUnpack(f *testing.F) {
	f.Add(dpkgtest.Deb("Package: a\nVersion: 1\nReplaces: b (<< 2), c", nil, item{Name: "./f", Body: "x"}))
	f.Add(dpkgtest.Ar(binary, mem("control.tar.gz", gz(control)), mem("data.tar.gz", gz(data))))
	f.Add(dpkgtest.Ar(binary, mem("control.tar.zst", zst(control)), mem("data.tar", data)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := unpack(t, "a", "1", b); err == nil {
			if err := p.Tree.Check(); err != nil {
				t.Error(err)
			}
		}
	})
}
