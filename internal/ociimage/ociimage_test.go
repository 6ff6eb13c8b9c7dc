package ociimage

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/source/fetch"
	"github.com/instar-os/instar/internal/source/oci"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/tree"
)

// world is a tree and what its files hold.
type world struct {
	t        *testing.T
	tree     *tree.Tree
	contents map[digest.Digest][]byte
}

func newWorld(t *testing.T) *world {
	return &world{t, tree.New(), map[digest.Digest][]byte{}}
}

func (w *world) put(p string, e tree.Entry) {
	w.t.Helper()
	if err := w.tree.Put(p, e); err != nil {
		w.t.Fatal(err)
	}
}

// file puts a file of an owner.
func (w *world) file(p, owner, body string) {
	b := []byte(body)
	d := digest.Of(b)
	w.contents[d] = b
	w.put(p, tree.Entry{Kind: tree.File, Mode: 0o644, MTime: 1000, Size: int64(len(b)), Digest: d, Owner: owner})
}

func (w *world) open(_ string, e tree.Entry) (io.ReadCloser, error) {
	b, ok := w.contents[e.Digest]
	if !ok {
		return nil, os.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

func byOwner(_ string, e tree.Entry) Group { return Group{Name: e.Owner, Uses: len(e.Owner)} }

func (w *world) image(layers int) Image {
	w.t.Helper()
	plan, err := Plan(w.tree, byOwner, layers)
	if err != nil {
		w.t.Fatal(err)
	}
	return Image{Arch: "amd64", Created: 5000, Tree: w.tree, Layers: plan, Open: w.open, Process: oci.Process{Entrypoint: []string{"/a"}}}
}

// everything has one of each kind of thing.
func everything(t *testing.T) *world {
	w := newWorld(t)
	big := strings.Repeat("0123456789abcdef", 20_000)
	w.file("usr/bin/a", "a", big)
	w.file("usr/bin/b", "bb", big+"b")
	w.file("usr/share/c", "small", "c")
	w.file("etc/own", "", "mine")
	w.put("usr/bin", tree.Entry{Kind: tree.Dir, Mode: 0o1775, UID: 3, MTime: 7})
	w.put("empty", tree.Entry{Kind: tree.Dir, Mode: 0o700, MTime: 7})
	w.put("usr/bin/link", tree.Entry{Kind: tree.Symlink, Mode: 0o777, Target: "../x", MTime: 7, Owner: "a"})
	w.put("alias", tree.Entry{Kind: tree.Hardlink, Target: "usr/bin/a"})
	w.put("pipe", tree.Entry{Kind: tree.Fifo, Mode: 0o600, MTime: 7})
	b, _ := w.tree.Get("usr/bin/b")
	b.Mode, b.UID, b.GID, b.Xattrs = 0o4755, 1000, 42, map[string]string{"user.x": "a\x00b", "security.capability": "\x01\x02"}
	w.put("usr/bin/b", b)
	w.put(".", tree.Entry{Kind: tree.Dir, Mode: 0o711, MTime: 9})
	return w
}

// readBack reads an image with the reader of images.
func readBack(t *testing.T, dir, name string) *tree.Tree {
	t.Helper()
	st, err := store.Open(t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	l, err := oci.OpenLocal(dir, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	img, err := l.Find(t.Context(), name, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	got, err := img.Read(t.Context(), l, oci.ReadOptions{Objects: st})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// inodes lists a tree such that it does not matter which name carries an inode.
func inodes(t *tree.Tree) map[string]string {
	out := map[string]string{}
	for p, e := range t.All() {
		if e.Kind == tree.Hardlink {
			e, _ = t.Inode(p)
		}
		e.Owner = ""
		out[p] = fmt.Sprintf("%+v", e)
	}
	return out
}

func TestRoundTrip(t *testing.T) {
	for _, compression := range []string{"gzip", "zstd", "none"} {
		for _, layers := range []int{2, 3, 40} {
			w := everything(t)
			dir := t.TempDir()
			if _, err := Write(t.Context(), dir, []Image{w.image(layers)}, Options{Name: "x", Compression: compression}); err != nil {
				t.Fatal(err)
			}
			got := readBack(t, dir, "x")
			if a, b := inodes(w.tree), inodes(got); !reflect.DeepEqual(a, b) {
				t.Errorf("%s, %d layers:\nwrote %v\nread  %v", compression, layers, a, b)
			}
		}
	}
}

func TestPlan(t *testing.T) {
	w := newWorld(t)
	for i := range 30 {
		w.file(fmt.Sprintf("p/%02d", i), fmt.Sprintf("package-%02d", i), strings.Repeat("x", smallGroup+i))
		w.file(fmt.Sprintf("s/%02d", i), fmt.Sprintf("small-%02d", i), fmt.Sprint(i))
	}
	w.file("o", "", "own")
	for _, n := range []int{2, 8, 16, 40, 120} {
		layers, err := Plan(w.tree, func(_ string, e tree.Entry) Group {
			g := Group{Name: e.Owner}
			if e.Owner == "package-07" {
				g.Uses = 5
			}
			return g
		}, n)
		if err != nil || len(layers) > n {
			t.Errorf("%d layers: got %d, %v", n, len(layers), err)
		}
		files := 0
		for _, l := range layers {
			files += l.Files
		}
		if files != 61 {
			t.Errorf("%d layers hold %d files, want 61", n, files)
		}
		if n > 2 && strings.Join(layers[0].Groups, " ") != "package-07" {
			t.Errorf("%d layers: the lowest is %v, want what most use", n, layers[0].Groups)
		}
		if top := layers[len(layers)-1]; len(top.Groups) != 0 || top.Files != 1 {
			t.Errorf("%d layers: the highest is %+v, want what belongs to nothing", n, top)
		}
	}
	for _, n := range []int{1, MaxLayers + 1} {
		if _, err := Plan(w.tree, byOwner, n); err == nil {
			t.Errorf("%d layers are accepted", n)
		}
	}
	w.file("d/.wh.x", "a", "")
	if _, err := Plan(w.tree, byOwner, 0); err == nil || !strings.Contains(err.Error(), "which would hide another") {
		t.Errorf("a file that would be a whiteout: %v", err)
	}
}

// layersOf returns the digests of the layers of a written image.
func layersOf(t *testing.T, dir string, w *Written) []string {
	t.Helper()
	m, err := (&pusher{dir: dir}).manifest(w.Images[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, l := range m.Layers {
		out = append(out, l.Digest)
	}
	return out
}

// The same tree gives the same bytes; a change of one package changes one layer.
func TestSharing(t *testing.T) {
	write := func(w *world, parallel int) (string, []string) {
		dir := t.TempDir()
		out, err := Write(t.Context(), dir, []Image{w.image(40)}, Options{Parallel: parallel})
		if err != nil {
			t.Fatal(err)
		}
		return out.Digest, layersOf(t, dir, out)
	}
	first, layers := write(everything(t), 1)
	if again, _ := write(everything(t), 8); again != first {
		t.Errorf("the same tree gave %s, then %s", first, again)
	}
	next := everything(t)
	next.file("usr/share/c", "small", "changed")
	_, changed := write(next, 1)
	different := 0
	for i := range layers {
		if layers[i] != changed[i] {
			different++
		}
	}
	if different != 1 {
		t.Errorf("%d of %d layers differ, want one", different, len(layers))
	}
}

// Several images and names live in one layout.
func TestLayoutOfSeveral(t *testing.T) {
	dir := t.TempDir()
	first, second := everything(t), newWorld(t)
	second.file("a", "a", "second")
	for _, x := range []struct {
		w    *world
		name string
	}{{first, "1"}, {second, "2"}, {second, "1"}} {
		if _, err := Write(t.Context(), dir, []Image{x.w.image(0)}, Options{Name: x.name}); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"1", "2"} {
		if got := readBack(t, dir, name); got.Len() != 2 {
			t.Errorf("%s has %v", name, got.Paths())
		}
	}
	arm := second.image(0)
	arm.Arch = "arm64"
	if _, err := Write(t.Context(), dir, []Image{first.image(0), arm}, Options{Name: "both"}); err != nil {
		t.Fatal(err)
	}
	if got := readBack(t, dir, "both"); got.Len() != first.tree.Len() {
		t.Errorf("both has %v for amd64", got.Paths())
	}
	if _, err := exec.LookPath("skopeo"); err != nil {
		t.Skip("needs skopeo")
	}
	for arch, entries := range map[string]string{"amd64": "usr", "arm64": "second"} {
		out, err := exec.Command("skopeo", "--insecure-policy", "--override-arch", arch, "inspect", "--config", "oci:"+dir+":both").CombinedOutput()
		var c struct{ Architecture, Created string }
		if err != nil || json.Unmarshal(out, &c) != nil || c.Architecture != arch || c.Created != "1970-01-01T01:23:20Z" {
			t.Errorf("%s, %s: %v\n%s", arch, entries, err, out)
		}
	}
	archive := filepath.Join(t.TempDir(), "a.tar")
	if err := Archive(t.Context(), dir, archive); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{"oci:" + dir + ":1", "oci-archive:" + archive + ":1"} {
		to := "docker-archive:" + filepath.Join(t.TempDir(), "d.tar") + ":x:1"
		if out, err := exec.Command("skopeo", "--insecure-policy", "copy", from, to).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", from, err, out)
		}
	}
}

// TestPush brings an image into Debian's docker-registry, which asks for a user.
func TestPush(t *testing.T) {
	program, err := exec.LookPath("docker-registry")
	if err != nil {
		t.Skip("needs docker-registry")
	}
	host, auth := registry(t, program)
	r := &oci.Registries{Base: &http.Transport{}, AuthFiles: []string{auth}}
	r.Use(map[string]oci.Registry{host: {Plain: true, Mirrors: []string{"127.0.0.1:1"}}})
	transport := &http.Transport{}
	transport.RegisterProtocol(oci.Scheme, r)
	client := &http.Client{Transport: transport}
	ref, err := oci.ParseReference(host + "/team/x:1")
	if err != nil {
		t.Fatal(err)
	}
	w := everything(t)
	dir := t.TempDir()
	arm := w.image(0)
	arm.Arch = "arm64"
	out, err := Write(t.Context(), dir, []Image{w.image(0), arm}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := Push(t.Context(), client, dir, out, ref)
	if err != nil || p.Blobs != 6 || p.Present != 0 {
		t.Fatalf("%+v, %v; want four layers and two configurations", p, err)
	}
	remote := &oci.Remote{Ref: ref, Fetch: &fetch.Client{Dir: t.TempDir(), HTTP: client, Attempts: 1}}
	top, err := remote.Resolve(t.Context())
	if err != nil || top.Digest != out.Digest {
		t.Fatalf("%+v, %v; want %s", top, err, out.Digest)
	}
	if _, err := oci.Choose(t.Context(), remote, top, "arm64"); err != nil {
		t.Error(err)
	}
	w.file("etc/own", "", "changed")
	if out, err = Write(t.Context(), dir, []Image{w.image(0)}, Options{}); err != nil {
		t.Fatal(err)
	}
	if p, err = Push(t.Context(), client, dir, out, ref); err != nil || p.Blobs != 2 || p.Present != 3 {
		t.Errorf("%+v, %v; want one layer and a configuration, the rest shared", p, err)
	}
	r.AuthFiles = nil
	r.Use(map[string]oci.Registry{host: {Plain: true}})
	if _, err := Push(t.Context(), client, dir, out, ref); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("without a user: %v", err)
	}
}

// registry runs docker-registry on loopback with a user, user:secret.
func registry(t *testing.T, program string) (host, auth string) {
	t.Helper()
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host = l.Addr().String()
	l.Close()
	write := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	// bcrypt of "secret"
	users := write("users", "user:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n")
	auth = write("auth.json", fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, host, base64.StdEncoding.EncodeToString([]byte("user:secret"))))
	config := write("config.yml", fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s}}\n"+
		"http: {addr: %q}\nauth: {htpasswd: {realm: test, path: %s}}\n", filepath.Join(dir, "data"), host, users))
	cmd := exec.Command(program, "serve", config)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for range 600 {
		if c, err := net.Dial("tcp", host); err == nil {
			c.Close()
			return host, auth
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("docker-registry does not listen after a minute")
	return "", ""
}
