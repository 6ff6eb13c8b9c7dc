package oci

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/source/oci/layer"
)

// A Ranger is a Place that gives parts of contents. Layers with a table of
// contents are read by it alone, whatever the store has already: the tree follows
// from the table, which the manifest pins, and not from what was there.
type Ranger interface {
	Range(ctx context.Context, d Descriptor, offset, size int64) (io.ReadCloser, error)
}

// ranges are the parts of one layer.
type ranges struct {
	r Ranger
	d Descriptor
}

func (r ranges) Range(ctx context.Context, offset, size int64) (io.ReadCloser, error) {
	return r.r.Range(ctx, r.d, offset, size)
}

// byTable reads a layer by its table of contents. What a registry does not give
// in parts is downloaded whole.
func byTable(ctx context.Context, p Place, d Descriptor, _ string, o ReadOptions) (*layer.Layer, error) {
	lookup := o.Lookup
	if lookup == nil {
		lookup = func(string, int64) (digest.Digest, bool) { return digest.Digest{}, false }
	}
	blob := ranges{p.(Ranger), d}
	t, err := layer.ReadTable(ctx, blob, d.Size, d.Annotations)
	remote, isRemote := p.(Whole)
	if isRemote && ctx.Err() == nil {
		// Most of it is wanted, or it is not to be had in parts.
		if err != nil || mostly(t, lookup) {
			if blob.r, err = remote.Whole(ctx, d); err != nil {
				return nil, err
			}
			t, err = layer.ReadTable(ctx, blob, d.Size, d.Annotations)
		}
	}
	if err != nil {
		return nil, err
	}
	opts := layer.Options{Devices: o.Devices, Limits: o.Limits}
	l, skipped, err := t.Layer(ctx, blob, d.Size, o.Objects, lookup, opts)
	if err != nil && isRemote && ctx.Err() == nil {
		if blob.r, err = remote.Whole(ctx, d); err != nil {
			return nil, err
		}
		l, skipped, err = t.Layer(ctx, blob, d.Size, o.Objects, lookup, opts)
	}
	if err == nil && o.Skipped != nil {
		o.Skipped(skipped)
	}
	return l, err
}

func mostly(t *layer.Table, lookup layer.Lookup) bool {
	missing, all := t.Missing(lookup)
	return 2*missing > all
}

// A Whole is a Ranger that can also get a content whole, verified, and give
// parts of that.
type Whole interface {
	Whole(ctx context.Context, d Descriptor) (Ranger, error)
}

// Range implements Ranger.
func (l *Local) Range(ctx context.Context, d Descriptor, offset, size int64) (io.ReadCloser, error) {
	rc, err := l.Open(ctx, d)
	if err != nil {
		return nil, err
	}
	return section(rc, d, offset, size)
}

// section gives a part of what was opened, and closes it with that.
func section(rc io.ReadCloser, d Descriptor, offset, size int64) (io.ReadCloser, error) {
	at, ok := rc.(io.ReaderAt)
	if !ok {
		rc.Close()
		return nil, fmt.Errorf("%s cannot be read in parts", d.Digest)
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(at, offset, size), rc}, nil
}

// Range implements Ranger: from the cache when the whole is there, else by a
// request for a range (RFC 9110, 14).
func (r *Remote) Range(ctx context.Context, d Descriptor, offset, size int64) (io.ReadCloser, error) {
	if r.Fetch.Has(d.SHA256()) || r.Fetch.Offline || r.Fetch.HTTP == nil {
		whole, err := r.Whole(ctx, d)
		if err != nil {
			return nil, err
		}
		return whole.Range(ctx, d, offset, size)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.Ref.Blob(d.SHA256()), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Range", "bytes="+strconv.FormatInt(offset, 10)+"-"+strconv.FormatInt(offset+size-1, 10))
	req.Header.Set("User-Agent", "instar")
	resp, err := r.Fetch.HTTP.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusPartialContent {
		resp.Body.Close()
		return nil, fmt.Errorf("%s: the registry gives no parts: it answers %s", d.Digest, resp.Status)
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, size), resp.Body}, nil
}

// Whole implements Whole.
func (r *Remote) Whole(ctx context.Context, d Descriptor) (Ranger, error) {
	path, err := r.Fetch.Get(ctx, r.Ref.Request(d))
	return file(path), err
}

// file is a downloaded content.
type file string

func (f file) Range(_ context.Context, d Descriptor, offset, size int64) (io.ReadCloser, error) {
	rc, err := os.Open(string(f))
	if err != nil {
		return nil, err
	}
	return section(rc, d, offset, size)
}

// HasTable reports whether a layer is read by a table of contents.
func HasTable(d Descriptor) bool { return layer.HasTable(d.Annotations) }

// Annotate gives the layers of a pinned image the annotations that its manifest
// has for them. An image without a manifest has none.
func (img *Image) Annotate(ctx context.Context, p Place) error {
	if img.Manifest.SHA256() == "" {
		return nil
	}
	doc, err := readDocument(ctx, p, img.Manifest)
	if err != nil {
		return err
	}
	if doc.isIndex() || len(doc.Layers) != len(img.Layers) {
		return fmt.Errorf("manifest %s is not that of the pinned layers", img.Manifest.Digest)
	}
	for i, l := range doc.Layers {
		if l.Digest != img.Layers[i].Digest {
			return fmt.Errorf("manifest %s is not that of the pinned layers", img.Manifest.Digest)
		}
		img.Layers[i].Annotations = l.Annotations
	}
	return nil
}
