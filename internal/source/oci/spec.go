// Package oci reads OCI images: from registries, from layout directories and
// from the archives of docker and podman.
//
// An image is found once, when the definition is locked, and pinned by the
// digests of its manifest, its configuration and its layers. Everything read
// later is held against them. docs/design/oci-images.md says what was chosen.
//
// Sources: OCI image specification 1.1 (manifest, index, configuration, layout),
// OCI distribution specification 1.1, docker's image specification 1.2 for
// what docker save writes.
package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Limits of documents, in bytes. Registries refuse manifests above 4 MiB.
const (
	maxManifest = 4 << 20
	maxConfig   = 8 << 20
	maxLayers   = 512
	maxNested   = 4 // indexes within indexes
)

// Descriptor names content by digest.
type Descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       string            `json:"digest"` // sha256: and 64 hexadecimal digits
	Size         int64             `json:"size"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	Platform     *Platform         `json:"platform,omitempty"`
	ArtifactType string            `json:"artifactType,omitempty"`
}

// SHA256 returns the digest without its algorithm.
func (d Descriptor) SHA256() string { return strings.TrimPrefix(d.Digest, "sha256:") }

func (d Descriptor) check() error {
	sum, ok := strings.CutPrefix(d.Digest, "sha256:")
	if !ok {
		return fmt.Errorf("digest %.80q is not SHA-256, the only algorithm that is supported", d.Digest)
	}
	if !isHex(sum) {
		return fmt.Errorf("digest %.80q is malformed", d.Digest)
	}
	if d.Size < 0 {
		return fmt.Errorf("%s: %d is no size", d.Digest, d.Size)
	}
	return nil
}

func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(s) == 64
}

// Platform is what an image runs on.
type Platform struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Variant      string `json:"variant,omitempty"`
}

// String writes the platform as tools do: linux/arm64/v8.
func (p Platform) String() string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// document is a manifest or an index; which one follows from its media type,
// and where that is missing, from its fields.
type document struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	Config        *Descriptor       `json:"config"`
	Layers        []Descriptor      `json:"layers"`
	Manifests     []Descriptor      `json:"manifests"`
	Annotations   map[string]string `json:"annotations"`
}

func (d *document) isIndex() bool { return d.Config == nil && d.Manifests != nil }

// The media types of manifests and indexes, for the Accept header.
var manifestTypes = []string{
	"application/vnd.oci.image.index.v1+json",
	"application/vnd.oci.image.manifest.v1+json",
	"application/vnd.docker.distribution.manifest.list.v2+json",
	"application/vnd.docker.distribution.manifest.v2+json",
}

// ManifestOf describes a manifest or index.
func ManifestOf(sha256 string, size int64) Descriptor {
	return Descriptor{MediaType: manifestTypes[0], Digest: "sha256:" + sha256, Size: size}
}

// parseDocument reads a manifest or an index.
func parseDocument(b []byte) (*document, error) {
	var d document
	if err := json.Unmarshal(b, &d); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	switch {
	case d.SchemaVersion == 1:
		return nil, errors.New("manifest: docker's schema 1, which has no digests of layers; push the image again with a tool of this decade")
	case d.SchemaVersion != 2 && d.SchemaVersion != 0:
		return nil, fmt.Errorf("manifest: schema version %d is not known", d.SchemaVersion)
	case d.MediaType != "" && !slices.Contains(manifestTypes, d.MediaType):
		return nil, fmt.Errorf("manifest: media type %q is neither an image nor an index", d.MediaType)
	case d.Config == nil && d.Manifests == nil:
		return nil, errors.New("manifest: has neither a configuration nor manifests")
	case len(d.Layers) > maxLayers:
		return nil, fmt.Errorf("manifest: %d layers, more than %d", len(d.Layers), maxLayers)
	}
	all := slices.Concat(d.Layers, d.Manifests)
	if d.Config != nil {
		all = append(all, *d.Config)
	}
	for _, x := range all {
		if err := x.check(); err != nil {
			return nil, fmt.Errorf("manifest: %w", err)
		}
	}
	for _, l := range d.Layers {
		if strings.HasSuffix(l.MediaType, "+encrypted") {
			return nil, fmt.Errorf("manifest: layer %s is encrypted, which is not supported", l.Digest)
		}
	}
	return &d, nil
}

// Config is what an image says about itself.
type Config struct {
	Created string `json:"created,omitempty"`
	Platform
	Config Process `json:"config"`
	RootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
}

// Process is how an image wants to be started.
type Process struct {
	User         string              `json:"User,omitempty"`
	ExposedPorts map[string]struct{} `json:"ExposedPorts,omitempty"`
	Env          []string            `json:"Env,omitempty"`
	Entrypoint   words               `json:"Entrypoint,omitempty"`
	Cmd          words               `json:"Cmd,omitempty"`
	Volumes      map[string]struct{} `json:"Volumes,omitempty"`
	WorkingDir   string              `json:"WorkingDir,omitempty"`
	Labels       map[string]string   `json:"Labels,omitempty"`
	StopSignal   string              `json:"StopSignal,omitempty"`
	StopTimeout  *int64              `json:"StopTimeout,omitempty"` // seconds; docker's
	Healthcheck  *Healthcheck        `json:"Healthcheck,omitempty"` // docker's
}

// words is a list that old images write as one string.
type words []string

// UnmarshalJSON takes a list, a string, or null.
func (w *words) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		*w = nil
		if s != "" {
			*w = words{s}
		}
		return nil
	}
	var list []string
	if err := json.Unmarshal(b, &list); err != nil {
		return err
	}
	*w = list
	return nil
}

// Healthcheck is docker's HEALTHCHECK. Times are nanoseconds, 0 for the default.
type Healthcheck struct {
	Test        []string `json:"Test,omitempty"` // NONE, CMD and words, CMD-SHELL and a command line
	Interval    int64    `json:"Interval,omitempty"`
	Timeout     int64    `json:"Timeout,omitempty"`
	StartPeriod int64    `json:"StartPeriod,omitempty"`
	Retries     int      `json:"Retries,omitempty"`
}

// ParseConfig reads an image's configuration.
func ParseConfig(b []byte) (*Config, error) {
	var c Config
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, fmt.Errorf("image configuration: %w", err)
	}
	if len(c.RootFS.DiffIDs) > maxLayers {
		return nil, fmt.Errorf("image configuration: %d layers, more than %d", len(c.RootFS.DiffIDs), maxLayers)
	}
	for _, id := range c.RootFS.DiffIDs {
		if err := (Descriptor{Digest: id}).check(); err != nil {
			return nil, fmt.Errorf("image configuration: %w", err)
		}
	}
	return &c, nil
}

// readLimited reads all of r, at most limit bytes.
func readLimited(r io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("more than %d bytes", limit)
	}
	return b, err
}
