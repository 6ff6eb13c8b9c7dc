package ociimage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/instar-os/instar/internal/durable"
	"github.com/instar-os/instar/internal/source/oci"
	"github.com/instar-os/instar/internal/tree"
)

// Image is one image for one architecture.
type Image struct {
	Arch    string
	Created int64 // seconds since 1970
	Tree    *tree.Tree
	Layers  []Layer // of Tree, as Plan divides it
	Open    Content
	Process oci.Process // how it is started

	Annotations map[string]string // of the manifest
}

// Options of Write.
type Options struct {
	Name        string // tag; "" for none
	Compression string // gzip, zstd or none; "" is gzip
	Parallel    int    // layers at a time; 0: one for each CPU
}

// Written is what was written.
type Written struct {
	Digest string `json:"digest"` // of the index, or of the manifest when there is one image
	Size   int64  `json:"size"`   // bytes of it
	Type   string `json:"type"`
	Images []Part `json:"images"`
}

// Part is one image of what was written.
type Part struct {
	Arch   string  `json:"arch"`
	Digest string  `json:"digest"`
	Layers []Layer `json:"layers"`
	Bytes  int64   `json:"bytes"` // of configuration and layers, compressed
}

const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	indexType    = "application/vnd.oci.image.index.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	refName      = "org.opencontainers.image.ref.name"
	createdAt    = "org.opencontainers.image.created"
)

// Write adds images to the layout directory dir, which is made when missing. An
// image of the same name that was there loses its name; blobs are never removed.
// The name comes last: what stops half way leaves the layout as it was.
func Write(ctx context.Context, dir string, images []Image, o Options) (*Written, error) {
	if o.Compression == "" {
		o.Compression = "gzip"
	}
	if o.Parallel == 0 {
		o.Parallel = runtime.GOMAXPROCS(0)
	}
	out := &Written{}
	var manifests []oci.Descriptor
	for _, img := range images {
		d, part, err := img.write(ctx, dir, o)
		if err != nil {
			return nil, fmt.Errorf("image for %s: %w", img.Arch, err)
		}
		manifests = append(manifests, d)
		out.Images = append(out.Images, part)
	}
	top := manifests[0]
	if len(manifests) > 1 {
		b, err := putJSON(dir, map[string]any{"schemaVersion": 2, "mediaType": indexType, "manifests": manifests})
		if err != nil {
			return nil, err
		}
		top = oci.Descriptor{MediaType: indexType, Digest: "sha256:" + b.sha256, Size: b.size}
	}
	out.Digest, out.Size, out.Type = top.Digest, top.Size, top.MediaType
	return out, enter(dir, top, o.Name)
}

func (img *Image) write(ctx context.Context, dir string, o Options) (oci.Descriptor, Part, error) {
	blobs, err := img.layers(ctx, dir, o)
	if err != nil {
		return oci.Descriptor{}, Part{}, err
	}
	created := time.Unix(img.Created, 0).UTC().Format(time.RFC3339)
	layers, ids, history := []oci.Descriptor{}, []string{}, []map[string]string{}
	part := Part{Arch: img.Arch, Layers: img.Layers}
	for i, b := range blobs {
		layers = append(layers, oci.Descriptor{MediaType: layerTypes[o.Compression], Digest: "sha256:" + b.sha256, Size: b.size})
		ids = append(ids, "sha256:"+b.diffID)
		history = append(history, map[string]string{"created": created, "created_by": "instar", "comment": comment(img.Layers[i])})
		part.Bytes += b.size
	}
	config, err := putJSON(dir, map[string]any{
		"created": created, "architecture": img.Arch, "os": "linux", "config": img.Process,
		"rootfs": map[string]any{"type": "layers", "diff_ids": ids}, "history": history,
	})
	if err != nil {
		return oci.Descriptor{}, Part{}, err
	}
	annotations := maps.Clone(img.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	if annotations[createdAt] == "" {
		annotations[createdAt] = created
	}
	m, err := putJSON(dir, map[string]any{
		"schemaVersion": 2, "mediaType": manifestType, "annotations": annotations, "layers": layers,
		"config": oci.Descriptor{MediaType: configType, Digest: "sha256:" + config.sha256, Size: config.size},
	})
	part.Digest = "sha256:" + m.sha256
	part.Bytes += config.size
	return oci.Descriptor{MediaType: manifestType, Digest: part.Digest, Size: m.size,
		Platform: &oci.Platform{OS: "linux", Architecture: img.Arch}}, part, err
}

// layers writes all layers, several at a time.
func (img *Image) layers(ctx context.Context, dir string, o Options) ([]blob, error) {
	blobs := make([]blob, len(img.Layers))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(o.Parallel)
	for i, l := range img.Layers {
		g.Go(func() (err error) {
			blobs[i], err = writeLayer(gctx, dir, img.Tree, l, img.Open, o.Compression)
			return err
		})
	}
	return blobs, g.Wait()
}

// comment says what is in a layer, for docker history.
func comment(l Layer) string {
	switch n := len(l.Groups); {
	case n == 0:
		return "what belongs to no package"
	case n == 1:
		return l.Groups[0]
	default:
		return fmt.Sprintf("%s and %d more", l.Groups[0], n-1)
	}
}

// putJSON writes a document. Keys of maps are sorted by encoding/json.
func putJSON(dir string, v any) (blob, error) {
	var out blob
	text, err := json.Marshal(v)
	if err != nil {
		return out, err
	}
	return out, createBlob(dir, &out, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
}

// layoutIndex is index.json.
type layoutIndex struct {
	SchemaVersion int              `json:"schemaVersion"`
	MediaType     string           `json:"mediaType,omitempty"`
	Manifests     []oci.Descriptor `json:"manifests"`
}

// enter names an image in the layout's index.
func enter(dir string, top oci.Descriptor, name string) error {
	file := filepath.Join(dir, "index.json")
	index := layoutIndex{SchemaVersion: 2, MediaType: indexType}
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &index)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", file, err)
	}
	index.Manifests = slices.DeleteFunc(index.Manifests, func(d oci.Descriptor) bool {
		return d.Annotations[refName] == name || d.Digest == top.Digest && d.Annotations[refName] == ""
	})
	if name != "" {
		top.Annotations = map[string]string{refName: name}
	}
	index.Manifests = append(index.Manifests, top)
	if text, err = json.Marshal(index); err != nil {
		return err
	}
	if err := durable.WriteFile(filepath.Join(dir, "oci-layout"), 0o644, []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return err
	}
	return durable.WriteFile(file, 0o644, text)
}
