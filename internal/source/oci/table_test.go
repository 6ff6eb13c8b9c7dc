package oci

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/source/oci/layer"
	"github.com/instar-os/instar/internal/source/oci/ocitest"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/tree"
)

// noise is content that does not compress.
func noise(seed int64, n int) string {
	b := make([]byte, n)
	rand.New(rand.NewSource(seed)).Read(b)
	return string(b)
}

// manyKinds are two layers with one of each kind of entry.
func manyKinds(t *testing.T) [][]byte {
	attributes := func(h *tar.Header) {
		h.Mode, h.Uid, h.Gid = 0o4755, 1000, 42
		h.PAXRecords = map[string]string{"SCHILY.xattr.user.a": "b\x00c"}
	}
	return [][]byte{
		ocitest.Tar(t, ocitest.Dir("d"), ocitest.File("d/large", noise(1, 700_000)), ocitest.File("d/small", "s").With(attributes), ocitest.File("d/empty", ""),
			ocitest.Link("d/hard", "d/large"), ocitest.Symlink("d/soft", "../x"), ocitest.File("d/old", "o"),
			ocitest.Item{Header: tar.Header{Name: "d/pipe", Typeflag: tar.TypeFifo, Mode: 0o600}}),
		ocitest.Tar(t, ocitest.Gone("d/old"), ocitest.File("d/other", noise(2, 300_000)), ocitest.Link("e", "d/small")),
	}
}

// chunked writes a layout whose layers are zstd:chunked, by skopeo, and one that
// has them plain.
func chunked(t *testing.T, layers [][]byte) (plain, packed string) {
	t.Helper()
	if _, err := exec.LookPath("skopeo"); err != nil {
		t.Skip("needs skopeo")
	}
	plain, packed = filepath.Join(t.TempDir(), "plain"), filepath.Join(t.TempDir(), "packed")
	ocitest.Layout(t, plain, ocitest.Image{Tag: "1", Layers: layers})
	if out, err := exec.Command("skopeo", "--insecure-policy", "copy", "--dest-compress-format", "zstd:chunked", "--dest-compress-level", "3",
		"oci:"+plain+":1", "oci:"+packed+":1").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return plain, packed
}

func equalTrees(t *testing.T, a, b *tree.Tree) {
	t.Helper()
	for _, pair := range [][2]*tree.Tree{{a, b}, {b, a}} {
		for p, e := range pair[0].All() {
			if o, ok := pair[1].Get(p); !ok || !o.Equal(e) {
				t.Errorf("%s: %+v, %+v", p, e, o)
			}
		}
	}
}

// index finds contents of a store.
func index(t *testing.T, st *store.Store, bodies ...string) layer.Lookup {
	t.Helper()
	known := map[string]digest.Digest{}
	for _, b := range bodies {
		d, err := st.PutBytes([]byte(b))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256([]byte(b))
		known[hex.EncodeToString(sum[:])] = d
	}
	return func(sum string, _ int64) (digest.Digest, bool) {
		d, ok := known[sum]
		return d, ok
	}
}

// What a table says is what the archive says.
func TestChunked(t *testing.T) {
	plain, packed := chunked(t, manyKinds(t))
	want, _, err := read(t, plain, "1", "amd64")
	if err != nil {
		t.Fatal(err)
	}
	l, err := OpenLocal(packed, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	img, err := l.Find(t.Context(), "1", "amd64")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range img.Layers {
		if !HasTable(d) {
			t.Fatalf("skopeo's layer has no table: %+v", d)
		}
	}
	st := openStore(t)
	got, err := img.Read(t.Context(), l, ReadOptions{Objects: st})
	if err != nil {
		t.Fatal(err)
	}
	equalTrees(t, want, got)
	if _, err := st.PutImage(t.Context(), got); err != nil {
		t.Error(err)
	}
	// With most of it in the store.
	var skipped layer.Skipped
	st = openStore(t)
	got, err = img.Read(t.Context(), l, ReadOptions{Objects: st, Lookup: index(t, st, noise(1, 700_000), "s"), Skipped: func(s layer.Skipped) {
		skipped.Files += s.Files
		skipped.Bytes += s.Bytes
	}})
	if err != nil || skipped.Files != 2 || skipped.Bytes != 700_001 {
		t.Errorf("skipped %+v, %v", skipped, err)
	}
	equalTrees(t, want, got)
}

// From a registry, only what is missing is transferred.
func TestChunkedRemote(t *testing.T) {
	_, packed := chunked(t, manyKinds(t)[:1])
	f := &fake{blobs: map[string][]byte{}, tags: map[string]string{}}
	files, err := filepath.Glob(filepath.Join(packed, "blobs/sha256/*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range files {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		f.blobs["sha256:"+filepath.Base(p)] = b
	}
	text, err := os.ReadFile(filepath.Join(packed, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	top, err := parseDocument(text)
	if err != nil {
		t.Fatal(err)
	}
	f.tags["panel:1"] = top.Manifests[0].Digest
	f.start(t)
	for _, c := range []struct {
		have  []string
		whole bool
	}{{[]string{noise(1, 700_000)}, false}, {nil, true}} {
		r := &Registries{}
		fc := client(t, r)
		r.Use(plain(f))
		ref, err := ParseReference(f.host() + "/panel:1")
		if err != nil {
			t.Fatal(err)
		}
		remote := &Remote{Ref: ref, Fetch: fc}
		d, err := remote.Resolve(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		img, err := Choose(t.Context(), remote, d, "amd64")
		if err != nil {
			t.Fatal(err)
		}
		pinned := &Image{Manifest: img.Manifest, Config: img.Config, Layers: []Descriptor{{Digest: img.Layers[0].Digest, Size: img.Layers[0].Size}}}
		if err := pinned.Annotate(t.Context(), remote); err != nil {
			t.Fatal(err)
		}
		st := openStore(t)
		got, err := pinned.Read(t.Context(), remote, ReadOptions{Objects: st, Lookup: index(t, st, c.have...)})
		if err != nil || got.Len() != 9 {
			t.Fatalf("%v, %v", got, err)
		}
		if whole := fc.Has(img.Layers[0].SHA256()); whole != c.whole {
			t.Errorf("with %d contents in the store, the layer was downloaded whole: %v", len(c.have), whole)
		}
	}
}

// stargz writes an eStargz layer: every content a gzip member, the table, the footer.
func stargz(t *testing.T, files map[string]string) (blob []byte, annotations map[string]string) {
	t.Helper()
	var b bytes.Buffer
	var entries []ocitest.Map
	member := func(parts ...string) {
		z := gzip.NewWriter(&b)
		for _, p := range parts {
			io.WriteString(z, p)
		}
		z.Close()
	}
	for _, name := range []string{"a", "b"} {
		body := files[name]
		half := len(body) / 2
		entry := ocitest.Map{"type": "reg", "name": name, "size": len(body), "mode": 0o4755, "uid": 7, "modtime": "2026-01-02T03:04:05Z",
			"digest": ocitest.Digest([]byte(body)), "offset": b.Len(), "chunkSize": half}
		member(body[:half])
		entries = append(entries, entry, ocitest.Map{"type": "chunk", "name": name, "offset": b.Len(), "chunkOffset": half, "chunkSize": len(body) - half})
		member(body[half:])
	}
	text := string(ocitest.JSON(t, ocitest.Map{"version": 1, "entries": entries}))
	at := b.Len()
	member(string(ocitest.Tar(t, ocitest.File("stargz.index.json", text))))
	b.WriteString("\x1f\x8b\x08\x04\x00\x00\x00\x00\x00\xff\x1a\x00SG\x16\x00" + fmt.Sprintf("%016xSTARGZ", at) + "\x01\x00\x00\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00")
	return b.Bytes(), map[string]string{"containerd.io/snapshot/stargz/toc.digest": ocitest.Digest([]byte(text))}
}

func TestStargz(t *testing.T) {
	files := map[string]string{"a": noise(3, 100_000), "b": "content"}
	blob, annotations := stargz(t, files)
	d := describe(blob)
	d.Annotations = annotations
	place := parts{blobs{d.Digest: blob}}
	st := openStore(t)
	l, err := byTable(t.Context(), place, d, "", ReadOptions{Objects: st, Lookup: index(t, st, "content")})
	if err != nil {
		t.Fatal(err)
	}
	stack := layer.NewStack(ReadOptions{}.Limits)
	if err := stack.Apply(l); err != nil {
		t.Fatal(err)
	}
	got, err := stack.Tree()
	if err != nil {
		t.Fatal(err)
	}
	for name, body := range files {
		e, _ := got.Get(name)
		if e.Digest != digest.Of([]byte(body)) || e.Mode != 0o4755 || e.UID != 7 || e.MTime != 1767323045 {
			t.Errorf("%s is %+v", name, e)
		}
	}
	// Nothing that the table says is believed of the contents.
	for what, c := range map[string]struct {
		at   int
		want string
	}{"a content": {2000, "sha256"}, "the table": {len(blob) - 120, ""}, "the footer": {len(blob) - 20, "eStargz"}} {
		bad := bytes.Clone(blob)
		bad[c.at] ^= 0x55
		if _, err := byTable(t.Context(), parts{blobs{d.Digest: bad}}, d, "", ReadOptions{Objects: openStore(t)}); err == nil {
			t.Errorf("%s was changed, and nobody noticed", what)
		}
	}
	other := d
	other.Annotations = map[string]string{"containerd.io/snapshot/stargz/toc.digest": zeros}
	if _, err := byTable(t.Context(), place, other, "", ReadOptions{Objects: openStore(t)}); err == nil || !strings.Contains(err.Error(), "the manifest says") {
		t.Errorf("another table than the manifest's: %v", err)
	}
}

// parts is blobs as a Ranger.
type parts struct{ blobs }

func (p parts) Range(_ context.Context, d Descriptor, offset, size int64) (io.ReadCloser, error) {
	return io.NopCloser(io.NewSectionReader(bytes.NewReader(p.blobs[d.Digest]), offset, size)), nil
}

// FuzzTable reads layers by whatever a table says.
func FuzzTable(f *testing.F) {
	f.Add(`[{"type": "reg", "name": "a", "size": 5, "digest": "`+zeros+`", "offset": 0, "chunkSize": 2}, {"type": "chunk", "name": "a", "chunkOffset": 2}]`, []byte("\x1f\x8b\x08"))
	f.Add(`[{"type": "hardlink", "name": "a", "linkName": "b"}, {"type": "dir", "name": "../d"}]`, []byte{})
	f.Fuzz(func(t *testing.T, entries string, blob []byte) {
		if !json.Valid([]byte(entries)) {
			return
		}
		text := []byte(`{"version": 1, "entries": ` + entries + `}`)
		at := len(blob)
		var z bytes.Buffer
		w := gzip.NewWriter(&z)
		tw := tar.NewWriter(w)
		tw.WriteHeader(&tar.Header{Name: "stargz.index.json", Size: int64(len(text)), Mode: 0o644})
		tw.Write(text)
		tw.Close()
		w.Close()
		blob = append(append(bytes.Clone(blob), z.Bytes()...), []byte("\x1f\x8b\x08\x04\x00\x00\x00\x00\x00\xff\x1a\x00SG\x16\x00"+fmt.Sprintf("%016xSTARGZ", at)+"\x01\x00\x00\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00")...)
		d := describe(blob)
		d.Annotations = map[string]string{"containerd.io/snapshot/stargz/toc.digest": ocitest.Digest(text)}
		l, err := byTable(t.Context(), parts{blobs{d.Digest: blob}}, d, "", ReadOptions{Objects: discard{}})
		if err == nil {
			_ = layer.NewStack(ReadOptions{}.Limits).Apply(l)
		}
	})
}

// discard takes contents, up to what a test may cost.
type discard struct{}

func (discard) Put(r io.Reader) (digest.Digest, int64, error) {
	b, err := io.ReadAll(io.LimitReader(r, 1<<20))
	return digest.Of(b), int64(len(b)), err
}

func (discard) PutBytes(b []byte) (digest.Digest, error) { return digest.Of(b), nil }
