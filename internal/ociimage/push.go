package ociimage

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/instar-os/instar/internal/source/oci"
)

// Pushed says what a push did.
type Pushed struct {
	Blobs   int   `json:"blobs"`   // that the registry did not have
	Bytes   int64 `json:"bytes"`   // of them
	Present int   `json:"present"` // that it had
}

// Push brings the image that was written to the layout dir into a registry, blobs
// first and manifests last, so that what stops half way has no name there. What
// the registry has is not sent again. The transport must know oci.Registries.
//
// Source: OCI distribution specification 1.1, "Push".
func Push(ctx context.Context, client *http.Client, dir string, w *Written, to oci.Reference) (*Pushed, error) {
	p := &pusher{client: client, dir: dir, to: to}
	manifests := []oci.Descriptor{}
	var blobs []oci.Descriptor
	for _, part := range w.Images {
		m, err := p.manifest(part.Digest)
		if err != nil {
			return nil, err
		}
		blobs = append(append(blobs, m.Config), m.Layers...)
		manifests = append(manifests, oci.Descriptor{MediaType: manifestType, Digest: part.Digest})
	}
	if w.Type == indexType {
		manifests = append(manifests, oci.Descriptor{MediaType: indexType, Digest: w.Digest})
	}
	slices.SortFunc(blobs, func(a, b oci.Descriptor) int { return strings.Compare(a.Digest, b.Digest) })
	blobs = slices.CompactFunc(blobs, func(a, b oci.Descriptor) bool { return a.Digest == b.Digest })
	sent := make([]bool, len(blobs))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for i, b := range blobs {
		g.Go(func() (err error) {
			sent[i], err = p.blob(gctx, b)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	out := &Pushed{}
	for i, b := range blobs {
		if !sent[i] {
			out.Present++
			continue
		}
		out.Blobs++
		out.Bytes += b.Size
	}
	for i, m := range manifests {
		name := m.Digest
		if i == len(manifests)-1 && to.Tag != "" {
			name = to.Tag
		}
		if err := p.putManifest(ctx, m, name); err != nil {
			return nil, err
		}
	}
	return out, nil
}

type pusher struct {
	client *http.Client
	dir    string
	to     oci.Reference
}

type manifest struct {
	Config oci.Descriptor   `json:"config"`
	Layers []oci.Descriptor `json:"layers"`
}

func (p *pusher) path(digest string) string {
	return filepath.Join(p.dir, "blobs/sha256", strings.TrimPrefix(digest, "sha256:"))
}

func (p *pusher) manifest(digest string) (manifest, error) {
	var m manifest
	text, err := os.ReadFile(p.path(digest))
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	return m, err
}

// do sends a request; an answer that is none of the wanted is an error.
func (p *pusher) do(ctx context.Context, method, address string, body io.ReadSeeker, size int64, mediaType string, want ...int) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "instar")
	if body != nil {
		req.Header.Set("Content-Type", mediaType)
		req.ContentLength = size
		// A request that is answered with a challenge is sent once more.
		req.GetBody = func() (io.ReadCloser, error) {
			_, err := body.Seek(0, io.SeekStart)
			return io.NopCloser(body), err
		}
		if req.Body, err = req.GetBody(); err != nil {
			return nil, err
		}
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if !slices.Contains(want, resp.StatusCode) {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 500))
		return nil, fmt.Errorf("%s %s: the registry answers %s %s", method, address, resp.Status, strings.TrimSpace(string(text)))
	}
	return resp, nil
}

// blob sends a blob that the registry does not have.
func (p *pusher) blob(ctx context.Context, d oci.Descriptor) (bool, error) {
	resp, err := p.do(ctx, http.MethodHead, p.to.Blob(d.SHA256()), nil, 0, "", http.StatusOK, http.StatusNotFound)
	if err != nil || resp.StatusCode == http.StatusOK {
		return false, err
	}
	begin := p.to.Uploads()
	if resp, err = p.do(ctx, http.MethodPost, begin, nil, 0, "", http.StatusAccepted); err != nil {
		return false, err
	}
	at, err := upload(begin, resp.Header.Get("Location"), d.Digest)
	if err != nil {
		return false, err
	}
	f, err := os.Open(p.path(d.Digest))
	if err != nil {
		return false, err
	}
	defer f.Close()
	_, err = p.do(ctx, http.MethodPut, at, f, d.Size, "application/octet-stream", http.StatusCreated)
	return true, err
}

// upload is where the registry wants the bytes: its Location, with the digest.
func upload(begin, location, digest string) (string, error) {
	base, err := url.Parse(begin)
	if err != nil {
		return "", err
	}
	at, err := base.Parse(location)
	if err != nil || location == "" {
		return "", fmt.Errorf("%s: the registry names no place for an upload: %q", begin, location)
	}
	if at.Scheme = base.Scheme; at.Host != base.Host {
		return "", fmt.Errorf("%s: the registry wants an upload at another host, %s", begin, at.Host)
	}
	q := at.Query()
	q.Set("digest", digest)
	at.RawQuery = q.Encode()
	return at.String(), nil
}

func (p *pusher) putManifest(ctx context.Context, d oci.Descriptor, name string) error {
	f, err := os.Open(p.path(d.Digest))
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	_, err = p.do(ctx, http.MethodPut, p.to.ManifestNamed(name), f, info.Size(), d.MediaType, http.StatusCreated)
	return err
}
