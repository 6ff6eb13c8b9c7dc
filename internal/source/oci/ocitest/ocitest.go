// Package ocitest writes OCI images for tests, byte by byte as a test wants them.
package ocitest

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Item is an entry of a layer.
type Item struct {
	tar.Header
	Body string
}

// File is a file of mode 0644.
func File(name, body string) Item {
	return Item{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}, body}
}

// Dir is a directory of mode 0755.
func Dir(name string) Item {
	return Item{tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755}, ""}
}

// Symlink is a symbolic link.
func Symlink(name, target string) Item {
	return Item{tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target, Mode: 0o777}, ""}
}

// Link is a hard link.
func Link(name, target string) Item {
	return Item{tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: target, Mode: 0o644}, ""}
}

// Gone is a whiteout.
func Gone(name string) Item {
	return File(filepath.Join(filepath.Dir(name), ".wh."+filepath.Base(name)), "")
}

// Opaque is the mark of an opaque directory.
func Opaque(dir string) Item { return File(dir+"/.wh..wh..opq", "") }

// With changes an item's header.
func (i Item) With(change func(*tar.Header)) Item {
	change(&i.Header)
	return i
}

// Tar writes the items as an archive.
func Tar(t testing.TB, items ...Item) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, it := range items {
		h := it.Header
		h.Size = int64(len(it.Body))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(it.Body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Compress packs bytes with gzip or zstd, or not at all.
func Compress(t testing.TB, how string, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	switch how {
	case "gzip":
		w := gzip.NewWriter(&out)
		w.Write(b)
		w.Close()
	case "zstd":
		w, err := zstd.NewWriter(&out)
		if err != nil {
			t.Fatal(err)
		}
		w.Write(b)
		w.Close()
	default:
		return b
	}
	return out.Bytes()
}

// Image is what Layout writes.
type Image struct {
	Tag         string // "" for none
	Arch        string // "" for amd64
	Compression string // gzip, zstd or ""
	Layers      [][]byte
	Config      map[string]any // the "config" of the configuration
}

// Map is a JSON object.
type Map = map[string]any

// Descriptor describes content.
func Descriptor(mediaType string, b []byte) Map {
	return Map{"mediaType": mediaType, "digest": Digest(b), "size": len(b)}
}

// Digest is the content's digest as descriptors write it.
func Digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// JSON encodes v.
func JSON(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Layout writes a layout directory of the images.
func Layout(t testing.TB, dir string, images ...Image) {
	t.Helper()
	write := func(name string, b []byte) {
		t.Helper()
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var manifests []Map
	for _, img := range images {
		top, blobs := img.Encode(t)
		for sum, b := range blobs {
			write("blobs/sha256/"+sum[len("sha256:"):], b)
		}
		if img.Tag != "" {
			top["annotations"] = Map{"org.opencontainers.image.ref.name": img.Tag}
		}
		manifests = append(manifests, top)
	}
	write("oci-layout", []byte(`{"imageLayoutVersion": "1.0.0"}`))
	write("index.json", JSON(t, Map{"schemaVersion": 2, "manifests": manifests}))
}

// Encode returns the image's descriptor and all its blobs by digest.
func (img Image) Encode(t testing.TB) (top Map, blobs map[string][]byte) {
	t.Helper()
	blobs = map[string][]byte{}
	put := func(mediaType string, b []byte) Map {
		blobs[Digest(b)] = b
		return Descriptor(mediaType, b)
	}
	arch := img.Arch
	if arch == "" {
		arch = "amd64"
	}
	suffix := ""
	if img.Compression != "" {
		suffix = "+" + img.Compression
	}
	layers, ids := []Map{}, []string{}
	for _, l := range img.Layers {
		ids = append(ids, Digest(l))
		layers = append(layers, put("application/vnd.oci.image.layer.v1.tar"+suffix, Compress(t, img.Compression, l)))
	}
	config := img.Config
	if config == nil {
		config = Map{}
	}
	c := put("application/vnd.oci.image.config.v1+json", JSON(t, Map{"os": "linux", "architecture": arch,
		"config": config, "rootfs": Map{"type": "layers", "diff_ids": ids}}))
	top = put("application/vnd.oci.image.manifest.v1+json", JSON(t, Map{"schemaVersion": 2,
		"mediaType": "application/vnd.oci.image.manifest.v1+json", "config": c, "layers": layers}))
	top["platform"] = Map{"os": "linux", "architecture": arch}
	return top, blobs
}
