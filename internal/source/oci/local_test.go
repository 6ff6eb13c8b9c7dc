package oci

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/source/oci/ocitest"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/tree"
)

// two layers, of which the second hides a file of the first.
func twoLayers(t *testing.T) [][]byte {
	return [][]byte{
		ocitest.Tar(t, ocitest.Dir("bin"), ocitest.File("bin/a", strings.Repeat("a", 5000)), ocitest.File("bin/b", "b")),
		ocitest.Tar(t, ocitest.Gone("bin/b"), ocitest.Link("bin/c", "bin/a")),
	}
}

func openStore(t *testing.T) *store.Store {
	t.Helper()
	st, err := store.Open(t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

// read opens a local image and reads it.
func read(t *testing.T, path, name, arch string) (*tree.Tree, *Image, error) {
	t.Helper()
	l, err := OpenLocal(path, t.TempDir())
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	img, err := l.Find(t.Context(), name, arch)
	if err != nil {
		return nil, nil, err
	}
	tr, err := img.Read(t.Context(), l, ReadOptions{Objects: openStore(t), Parallel: 2})
	return tr, img, err
}

func paths(tr *tree.Tree) string { return strings.Join(tr.Paths(), " ") }

const wantPaths = ". bin bin/a bin/c"

// What skopeo writes in every local form is the same image.
func TestForms(t *testing.T) {
	if _, err := exec.LookPath("skopeo"); err != nil {
		t.Skip("needs skopeo")
	}
	for _, compression := range []string{"", "gzip", "zstd"} {
		dir := t.TempDir()
		layout := filepath.Join(dir, "layout")
		ocitest.Layout(t, layout, ocitest.Image{Tag: "1", Compression: compression, Layers: twoLayers(t)})
		forms := map[string]string{"layout": layout}
		for _, kind := range []string{"oci-archive", "docker-archive"} {
			to := filepath.Join(dir, kind)
			if kind == "docker-archive" && compression == "zstd" {
				continue // docker's format has none
			}
			target := kind + ":" + to + ":registry.example.org/x:1"
			if out, err := exec.Command("skopeo", "--insecure-policy", "copy", "oci:"+layout+":1", target).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			packed := to + ".gz"
			b, err := os.ReadFile(to)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(packed, ocitest.Compress(t, "gzip", b), 0o644); err != nil {
				t.Fatal(err)
			}
			forms[kind], forms[kind+" with gzip"] = to, packed
		}
		for form, path := range forms {
			got, img, err := read(t, path, "", "amd64")
			if err != nil {
				t.Errorf("%s, %q: %v", form, compression, err)
				continue
			}
			if p := paths(got); p != wantPaths {
				t.Errorf("%s, %q: %s", form, compression, p)
			}
			if hasManifest := img.Manifest.Digest != ""; hasManifest == strings.HasPrefix(form, "docker") {
				t.Errorf("%s: manifest %q", form, img.Manifest.Digest)
			}
		}
	}
}

// tarFile writes an archive of files.
func tarFile(t *testing.T, items ...ocitest.Item) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(p, ocitest.Tar(t, items...), 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestDockerSave reads what docker save wrote in the past: a directory a layer,
// where a layer that stands twice is a symlink; and since docker 25: a layout
// that manifest.json stands beside.
func TestDockerSave(t *testing.T) {
	layers := twoLayers(t)
	config := ocitest.JSON(t, ocitest.Map{"os": "linux", "architecture": "amd64", "config": ocitest.Map{"Cmd": "/bin/a"},
		"rootfs": ocitest.Map{"diff_ids": []string{ocitest.Digest(layers[0]), ocitest.Digest(layers[1]), ocitest.Digest(layers[1])}}})
	manifest := ocitest.JSON(t, []ocitest.Map{{"Config": "abc.json", "RepoTags": []string{"x:1", "registry.example.org/y:latest"},
		"Layers": []string{"l1/layer.tar", "l2/layer.tar", "l3/layer.tar"}}})
	old := tarFile(t, ocitest.File("l1/layer.tar", string(layers[0])), ocitest.File("l2/layer.tar", string(layers[1])),
		ocitest.Symlink("l3/layer.tar", "../l2/layer.tar"), ocitest.File("abc.json", string(config)), ocitest.File("manifest.json", string(manifest)))
	for _, name := range []string{"", "x:1", "registry.example.org/y", "y:latest"} {
		got, img, err := read(t, old, name, "amd64")
		if err != nil || paths(got) != wantPaths || img.Config.Digest != ocitest.Digest(config) {
			t.Errorf("%q: %v, %+v", name, err, img)
		}
	}
	if _, _, err := read(t, old, "z", "amd64"); err == nil || !strings.Contains(err.Error(), "it has x:1, registry.example.org/y:latest") {
		t.Errorf("an unknown name: %v", err)
	}
	top, blobs := ocitest.Image{Layers: layers}.Encode(t)
	top["annotations"] = ocitest.Map{"io.containerd.image.name": "registry.example.org/y:1", "org.opencontainers.image.ref.name": "1"}
	items := []ocitest.Item{
		ocitest.File("oci-layout", `{"imageLayoutVersion":"1.0.0"}`), ocitest.File("manifest.json", "[]"),
		ocitest.File("index.json", string(ocitest.JSON(t, ocitest.Map{"schemaVersion": 2, "manifests": []any{top}}))),
	}
	for sum, b := range blobs {
		items = append(items, ocitest.File("blobs/sha256/"+strings.TrimPrefix(sum, "sha256:"), string(b)))
	}
	for _, name := range []string{"", "1", "y:1"} {
		if got, _, err := read(t, tarFile(t, items...), name, "amd64"); err != nil || paths(got) != wantPaths {
			t.Errorf("docker 25, %q: %v", name, err)
		}
	}
}

func TestPlatforms(t *testing.T) {
	dir := t.TempDir()
	ocitest.Layout(t, dir, ocitest.Image{Tag: "1", Arch: "amd64", Layers: twoLayers(t)}, ocitest.Image{Tag: "1", Arch: "arm64", Layers: twoLayers(t)[:1]})
	for arch, want := range map[string]string{"amd64": wantPaths, "arm64": ". bin bin/a bin/b"} {
		if got, _, err := read(t, dir, "1", arch); err != nil || paths(got) != want {
			t.Errorf("%s: %v", arch, err)
		}
	}
	p := func(os, arch, variant string) Descriptor {
		return Descriptor{Digest: os + arch + variant, Platform: &Platform{os, arch, variant}}
	}
	all := []Descriptor{p("windows", "amd64", ""), p("linux", "arm", "v7"), p("linux", "arm64", "v9"), p("linux", "arm64", "v8"), p("linux", "amd64", "v3"),
		p("linux", "amd64", ""), p("unknown", "unknown", "")}
	for arch, want := range map[string]string{"amd64": "linuxamd64", "arm64": "linuxarm64v8"} {
		if got, err := pick(all, arch); err != nil || got.Digest != want {
			t.Errorf("%s: %v, %v", arch, got.Digest, err)
		}
	}
	if _, err := pick(all, "riscv64"); err == nil || !strings.Contains(err.Error(), "there are linux/amd64, linux/amd64/v3, linux/arm/v7") || strings.Contains(err.Error(), "unknown") {
		t.Errorf("riscv64: %v", err)
	}
}

// TestDamage changes what a layout holds; nothing of it may go unnoticed.
func TestDamage(t *testing.T) {
	layers := twoLayers(t)
	for name, c := range map[string]struct {
		change func(b []byte) []byte
		blob   string
		want   string
	}{
		"a byte of a layer": {func(b []byte) []byte { b[600] ^= 1; return b }, ocitest.Digest(layers[0]), "is damaged"},
		"a shorter layer":   {func(b []byte) []byte { return b[:len(b)-512] }, ocitest.Digest(layers[0]), "bytes, not the"},
		"a longer layer":    {func(b []byte) []byte { return append(b, 0) }, ocitest.Digest(layers[0]), "more than the"},
	} {
		dir := t.TempDir()
		ocitest.Layout(t, dir, ocitest.Image{Layers: layers})
		blob := filepath.Join(dir, "blobs/sha256", strings.TrimPrefix(c.blob, "sha256:"))
		b, err := os.ReadFile(blob)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(blob, c.change(b), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, _, err := read(t, dir, "", "amd64"); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
		if err := os.Remove(blob); err != nil {
			t.Fatal(err)
		}
		if _, _, err := read(t, dir, "", "amd64"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a missing layer: %v", err)
		}
	}
}

// A layer whose plain content is not what the configuration says is refused
// though its compressed form is the one that the manifest names.
func TestWrongDiffID(t *testing.T) {
	layers := twoLayers(t)
	packed := ocitest.Compress(t, "gzip", layers[0])
	config := ocitest.JSON(t, ocitest.Map{"os": "linux", "architecture": "amd64", "rootfs": ocitest.Map{"diff_ids": []string{ocitest.Digest(layers[1])}}})
	img := &Image{Config: describe(config), Layers: []Descriptor{describe(packed)}}
	_, err := img.Read(t.Context(), blobs{ocitest.Digest(config): config, ocitest.Digest(packed): packed}, ReadOptions{Objects: openStore(t)})
	if err == nil || !strings.Contains(err.Error(), "its plain content is "+ocitest.Digest(layers[0])) {
		t.Errorf("error %v", err)
	}
}

func describe(b []byte) Descriptor { return Descriptor{Digest: ocitest.Digest(b), Size: int64(len(b))} }

// blobs is a Place in memory.
type blobs map[string][]byte

func (p blobs) Open(_ context.Context, d Descriptor) (io.ReadCloser, error) {
	b, ok := p[d.Digest]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

func TestRefusedDocuments(t *testing.T) {
	for text, want := range map[string]string{
		`{"schemaVersion": 1}`:                                "schema 1",
		`{"schemaVersion": 3}`:                                "schema version 3",
		`{"schemaVersion": 2}`:                                "neither a configuration nor manifests",
		`{"mediaType": "application/vnd.example"}`:            "neither an image nor an index",
		`{"config": {"digest": "sha512:00"}}`:                 "is not SHA-256",
		`{"config": {"digest": "sha256:../../etc/passwd"}}`:   "malformed",
		`{"config": {"digest": "` + zeros + `", "size": -1}}`: "is no size",
		`{"config": {"digest": "` + zeros + `"}, "layers": [{"mediaType": "a+encrypted", "digest": "` + zeros + `"}]}`: "is encrypted",
		`{`: "unexpected end",
	} {
		if _, err := parseDocument([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", text, err, want)
		}
	}
}

var zeros = "sha256:" + strings.Repeat("0", 64)

func FuzzDocument(f *testing.F) {
	f.Add([]byte(`{"schemaVersion": 2, "config": {"digest": "` + zeros + `"}, "layers": []}`))
	f.Add([]byte(`{"config": {"Cmd": "/bin/sh", "Entrypoint": null}, "rootfs": {"diff_ids": ["` + zeros + `"]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if d, err := parseDocument(b); err == nil && !d.isIndex() && !isHex(d.Config.SHA256()) {
			t.Errorf("the digest of the configuration is %q", d.Config.Digest)
		}
		if c, err := ParseConfig(b); err == nil && len(c.RootFS.DiffIDs) > maxLayers {
			t.Error("more layers than allowed")
		}
	})
}

// FuzzArchive reads archives as they come.
func FuzzArchive(f *testing.F) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	body := `[{"Config": "c.json", "Layers": ["l/layer.tar"]}]`
	w.WriteHeader(&tar.Header{Name: "manifest.json", Size: int64(len(body)), Mode: 0o644})
	io.WriteString(w, body)
	w.Close()
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		p := filepath.Join(dir, "a")
		if err := os.WriteFile(p, b, 0o644); err != nil {
			t.Fatal(err)
		}
		l, err := OpenLocal(p, dir)
		if err != nil {
			return
		}
		defer l.Close()
		_, _ = l.Find(t.Context(), "", "amd64")
	})
}
