package assemble

import (
	"archive/tar"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/source/oci/ocitest"
	"github.com/instar-os/instar/internal/tree"
)

// imageDefinition is a machine with an image; %s are the archive and the keys of its tree.
const imageDefinition = `machine: test
sources:
  test: {archive: URL, suites: [stable], keyring: archive.asc}
kernel: {from: test, package: linux-image-test}
tools: {from: host}
trees:
  panel: {from: oci, KEYS}
containers:
  panel: {trees: [panel], CONTAINER}
configurations:
  main: {fallback: true, containers: [panel]}
default: main
`

func (w *world) imageDefinition(keys, container string) *config.Definition {
	w.t.Helper()
	text := strings.NewReplacer("URL", w.archive.URL, "KEYS", keys, "CONTAINER", container).Replace(imageDefinition)
	f, err := config.Read(fstest.MapFS{"instar.yaml": {Data: []byte(text)}}, "instar.yaml")
	if err != nil {
		w.t.Fatal(err)
	}
	return f.Definition
}

func setuid(h *tar.Header) { h.Mode = 0o4755 }

func TestImageTree(t *testing.T) {
	w := newWorld(t)
	w.publish()
	layout := filepath.Join(w.b.Dir, "layout")
	base := ocitest.Tar(t, ocitest.Dir("bin"), ocitest.File("bin/su", "x").With(setuid), ocitest.File("etc/old", "1"), ocitest.File("usr/share/doc/x", "d"))
	top := ocitest.Tar(t, ocitest.Gone("etc/old"), ocitest.File("etc/new", "2"))
	ocitest.Layout(t, layout, ocitest.Image{Tag: "1", Compression: "gzip", Layers: [][]byte{base, top}},
		ocitest.Image{Tag: "2", Layers: [][]byte{base}}, ocitest.Image{Tag: "3", Arch: "arm64", Layers: [][]byte{base}})
	def := w.imageDefinition("path: layout, image: \"1\", prune: [docs]", "command: [/bin/su]")
	lk := w.mustLock(def, nil)
	pin, ok := lk.Image("panel", "amd64")
	if !ok || len(pin.Manifest.SHA256) != 64 || len(pin.Layers) != 2 || pin.Name != "layout:1" {
		t.Fatalf("pinned as %+v", pin)
	}
	build := func() *tree.Tree {
		t.Helper()
		trees, err := w.b.Trees(t.Context(), def, lk, "amd64", []string{"panel"})
		if err != nil {
			t.Fatal(err)
		}
		return trees["panel"]
	}
	got := build()
	if e, _ := got.Get("bin/su"); e.Mode != 0o4755 || e.Owner != "image layout:1" {
		t.Errorf("bin/su is %+v", e)
	}
	for p, want := range map[string]bool{"etc/old": false, "etc/new": true, "usr/share/doc/x": false} {
		if _, ok := got.Get(p); ok != want {
			t.Errorf("%s is there: %v, want %v", p, ok, want)
		}
	}
	// From the cached tree, and from cached layers alone.
	again := build()
	if err := os.RemoveAll(filepath.Join(w.b.Cache, "trees")); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(layout, "blobs/sha256", pin.Layers[0].SHA256)); err != nil {
		t.Fatal(err)
	}
	third := build()
	for p, e := range got.All() {
		for _, o := range []*tree.Tree{again, third} {
			if f, ok := o.Get(p); !ok || !f.Equal(e) || f.Owner != e.Owner {
				t.Errorf("%s differs from the cache: %+v, %+v", p, e, f)
			}
		}
	}
	// Another image under the same tag is not taken without a new lock.
	ocitest.Layout(t, layout, ocitest.Image{Tag: "1", Layers: [][]byte{top}})
	if err := os.RemoveAll(filepath.Join(w.b.Cache, "trees")); err != nil {
		t.Fatal(err)
	}
	if _, err := w.b.Trees(t.Context(), def, lk, "amd64", []string{"panel"}); err == nil || !strings.Contains(err.Error(), "not the one that the lock pins") {
		t.Errorf("error %v, want that the image has changed", err)
	}
	moved := w.mustLock(def, lk)
	if next, _ := moved.Image("panel", "amd64"); same(next, pin) {
		t.Error("locking again does not take the new image")
	}
}

func TestImageOfAnotherArch(t *testing.T) {
	w := newWorld(t)
	w.publish()
	ocitest.Layout(t, filepath.Join(w.b.Dir, "layout"), ocitest.Image{Tag: "1", Arch: "arm64"})
	_, err := w.lock(w.imageDefinition("path: layout", "command: [/bin/su]"), nil)
	if err == nil || !strings.Contains(err.Error(), "tree panel: image "+w.b.Dir+"/layout: there is no image for linux/amd64; there is linux/arm64") {
		t.Errorf("error %v", err)
	}
}
