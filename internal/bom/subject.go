package bom

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/tree"
)

// Subject is a package somewhere: what queries and advisories are about.
type Subject struct {
	Kind          Kind     `json:"kind"`
	Name          string   `json:"name"`
	Version       string   `json:"version"`
	Arch          string   `json:"arch,omitempty"`
	Source        string   `json:"source,omitempty"`        // package
	SourceVersion string   `json:"sourceVersion,omitempty"` // of it
	Release       string   `json:"release,omitempty"`       // codename, as trixie
	In            []string `json:"in,omitempty"`            // trees and containers
}

// OfSystem lists the packages of a system of a store: those of its manifest, and
// those that lists within its containers' images name.
func OfSystem(st *store.Store, m *system.Manifest) ([]Subject, error) {
	var all []Subject
	for _, p := range m.Packages {
		s := Subject{Kind: Deb, Name: p.Name, Version: p.Version, Arch: p.Arch, In: p.Trees}
		if p.Source == "nix" {
			s.Kind = Nix
			all = append(all, s)
			continue
		}
		s.Source, s.SourceVersion = p.Name, withoutRebuild(p.Version)
		if name, version, _ := strings.Cut(p.Origin, " "); name != "" {
			if s.Source = name; version != "" {
				s.SourceVersion = version
			}
		}
		all = append(all, s)
	}
	for _, image := range m.Images() {
		t, err := st.Image(image.Digest)
		if err != nil {
			return nil, err
		}
		found, _, err := Found(t, func(e tree.Entry, limit int64) ([]byte, error) { return st.Bytes(e.Digest, limit) })
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", image.Digest.Short(), err)
		}
		for _, c := range found {
			all = append(all, c.subject(holders(m, image)))
		}
	}
	return merge(all), nil
}

// holders are the containers and hosts of an image.
func holders(m *system.Manifest, image system.Object) []string {
	var out []string
	for _, c := range m.Configurations {
		for _, ct := range c.Containers {
			if ct.Image == image {
				out = append(out, ct.Name)
			}
		}
		if c.Host != nil && c.Host.Image == image {
			out = append(out, "host of "+c.Name)
		}
	}
	return out
}

// Subjects lists the packages of the bill.
func (b *Bill) Subjects() []Subject {
	in := map[string][]string{}
	for _, g := range b.Groups {
		for _, id := range g.Components {
			in[id] = append(in[id], g.Name)
		}
	}
	var all []Subject
	for i := range b.Components {
		if c := &b.Components[i]; c.Kind == Deb || c.Kind == Apk || c.Kind == Nix {
			all = append(all, c.subject(in[c.ID]))
		}
	}
	return merge(all)
}

func (c *Component) subject(in []string) Subject {
	return Subject{c.Kind, c.Name, c.Version, c.Arch, c.Source, c.SourceVersion, c.Release, in}
}

// merge brings subjects into order and makes one of those that differ in
// nothing but where they are.
func merge(all []Subject) []Subject {
	key := func(s Subject) string {
		return strings.Join([]string{s.Name, s.Version, s.Arch, string(s.Kind), s.Source, s.SourceVersion, s.Release}, "\x00")
	}
	slices.SortStableFunc(all, func(a, b Subject) int { return strings.Compare(key(a), key(b)) })
	var out []Subject
	for _, s := range all {
		if n := len(out); n > 0 && key(out[n-1]) == key(s) {
			out[n-1].In = append(slices.Clone(out[n-1].In), s.In...)
			continue
		}
		out = append(out, s)
	}
	for i := range out {
		tidy(&out[i].In)
	}
	return out
}

// Bounds of a bill that is read.
const (
	MaxBill     = 256 << 20 // bytes
	maxSubjects = 200_000
	maxNesting  = 16 // of components
)

// Read lists the packages of a bill in SPDX 2 or CycloneDX, in JSON, whoever
// wrote it. name is what it is of. Packages are known by their purl; those
// without one are left out.
func Read(text []byte) (name string, all []Subject, err error) {
	if len(text) > MaxBill {
		return "", nil, fmt.Errorf("bill of material of %d bytes, more than %d", len(text), MaxBill)
	}
	var d struct {
		SPDX     string `json:"spdxVersion"`
		Name     string `json:"name"`
		Format   string `json:"bomFormat"`
		Metadata struct {
			Component readComponent `json:"component"`
		} `json:"metadata"`
		Components []readComponent `json:"components"`
		Packages   []struct {
			References []spdxReference `json:"externalRefs"`
		} `json:"packages"`
	}
	if err := json.Unmarshal(text, &d); err != nil {
		return "", nil, fmt.Errorf("bill of material: %w", err)
	}
	add := func(purl string) error {
		if s, ok := parsePURL(purl); ok {
			all = append(all, s)
		}
		if len(all) > maxSubjects {
			return fmt.Errorf("bill of material: more than %d packages", maxSubjects)
		}
		return nil
	}
	switch {
	case strings.HasPrefix(d.SPDX, "SPDX-2."):
		name = d.Name
		for _, p := range d.Packages {
			for _, r := range p.References {
				if r.Type == "purl" {
					if err := add(r.Locator); err != nil {
						return "", nil, err
					}
				}
			}
		}
	case d.Format == "CycloneDX":
		name = d.Metadata.Component.Name
		if err := walk(d.Components, 0, add); err != nil {
			return "", nil, err
		}
	default:
		return "", nil, fmt.Errorf("it is neither SPDX 2 nor CycloneDX in JSON")
	}
	return name, merge(all), nil
}

type readComponent struct {
	Name       string          `json:"name"`
	PURL       string          `json:"purl"`
	Components []readComponent `json:"components"`
}

func walk(all []readComponent, depth int, f func(purl string) error) error {
	if depth > maxNesting {
		return fmt.Errorf("bill of material: components deeper than %d", maxNesting)
	}
	for _, c := range all {
		if err := f(c.PURL); err != nil {
			return err
		}
		if err := walk(c.Components, depth+1, f); err != nil {
			return err
		}
	}
	return nil
}

// parsePURL reads a package URL of a package of dpkg, apk or Nix.
func parsePURL(purl string) (s Subject, ok bool) {
	rest, ok := strings.CutPrefix(purl, "pkg:")
	if !ok {
		return s, false
	}
	rest, _, _ = strings.Cut(rest, "#")
	rest, query, _ := strings.Cut(rest, "?")
	kind, rest, _ := strings.Cut(rest, "/")
	if s.Kind = Kind(kind); s.Kind != Deb && s.Kind != Apk && s.Kind != Nix {
		return s, false
	}
	rest = rest[strings.LastIndex(rest, "/")+1:]
	name, version, _ := strings.Cut(rest, "@")
	q, errQuery := url.ParseQuery(strings.ReplaceAll(query, "+", "%2B"))
	var errName, errVersion error
	s.Name, errName = url.PathUnescape(name)
	s.Version, errVersion = url.PathUnescape(version)
	if errName != nil || errVersion != nil || errQuery != nil || s.Name == "" {
		return s, false
	}
	s.Arch, s.Release = q.Get("arch"), q.Get("distro")
	if s.Kind == Nix {
		return s, true
	}
	s.Source, s.SourceVersion = s.Name, withoutRebuild(s.Version)
	if up, v, _ := strings.Cut(q.Get("upstream"), "@"); up != "" {
		if s.Source = up; v != "" {
			s.SourceVersion = v
		}
	}
	return s, true
}
