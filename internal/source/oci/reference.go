package oci

import (
	"fmt"
	"slices"

	"github.com/instar-os/instar/internal/source/fetch"

	"oras.land/oras-go/v2/registry"
)

// Reference names an image in a registry.
type Reference struct {
	Name   string // as it was written
	Host   string // that is asked, HOST[:PORT]
	Path   string // of the repository
	Tag    string // latest when neither tag nor digest is given
	SHA256 string // "" for none; it goes before the tag
}

// ParseReference reads HOST/NAME[:TAG][@sha256:DIGEST].
func ParseReference(s string) (Reference, error) {
	r, err := registry.ParseReference(s)
	if err != nil {
		return Reference{}, fmt.Errorf("image %q: %w", s, err)
	}
	ref := Reference{Name: s, Host: r.Host(), Path: r.Repository}
	switch d, err := r.Digest(); {
	case err != nil:
		ref.Tag = r.ReferenceOrDefault()
	case d.Algorithm() != "sha256":
		return Reference{}, fmt.Errorf("image %q: the digest is not SHA-256, the only algorithm that is supported", s)
	default:
		ref.SHA256 = d.Encoded()
	}
	return ref, nil
}

// Blob returns the address of content.
func (r Reference) Blob(sha256 string) string {
	return Scheme + "://" + r.Host + "/v2/" + r.Path + "/blobs/sha256:" + sha256
}

// Manifest returns the address of a manifest.
func (r Reference) Manifest(sha256 string) string { return r.manifests() + "sha256:" + sha256 }

// Tagged returns the address of what the tag names now.
func (r Reference) Tagged() string { return r.manifests() + r.Tag }

// ManifestNamed returns the address of a manifest by digest or tag.
func (r Reference) ManifestNamed(name string) string { return r.manifests() + name }

// Uploads returns the address at which an upload begins.
func (r Reference) Uploads() string {
	return Scheme + "://" + r.Host + "/v2/" + r.Path + "/blobs/uploads/"
}

func (r Reference) manifests() string {
	return Scheme + "://" + r.Host + "/v2/" + r.Path + "/manifests/"
}

// Request asks for content, which is a manifest when its media type says so.
func (r Reference) Request(d Descriptor) fetch.Request {
	url := r.Blob(d.SHA256())
	if slices.Contains(manifestTypes, d.MediaType) {
		url = r.Manifest(d.SHA256())
	}
	return fetch.Request{URL: url, SHA256: d.SHA256(), Size: d.Size, What: r.Name}
}
