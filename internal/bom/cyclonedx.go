package bom

import (
	"slices"
	"strings"
	"time"
)

// The parts of a CycloneDX 1.6 document that are written.
//
// Source: ECMA-424, CycloneDX bill of materials specification.
type (
	cdxDocument struct {
		Format       string          `json:"bomFormat"`
		Spec         string          `json:"specVersion"`
		Serial       string          `json:"serialNumber,omitempty"`
		Version      int             `json:"version"`
		Metadata     cdxMetadata     `json:"metadata"`
		Components   []cdxComponent  `json:"components"`
		Dependencies []cdxDependency `json:"dependencies"`
		Compositions []cdxComplete   `json:"compositions,omitempty"`
	}
	cdxMetadata struct {
		Time      string       `json:"timestamp"`
		Tools     cdxTools     `json:"tools"`
		Component cdxComponent `json:"component"`
	}
	cdxTools struct {
		Components []cdxComponent `json:"components"`
	}
	cdxComponent struct {
		Type       string         `json:"type"`
		Ref        string         `json:"bom-ref,omitempty"`
		Supplier   *cdxSupplier   `json:"supplier,omitempty"`
		Name       string         `json:"name"`
		Version    string         `json:"version,omitempty"`
		Hashes     []cdxHash      `json:"hashes,omitempty"`
		Licences   []cdxLicence   `json:"licenses,omitempty"`
		PURL       string         `json:"purl,omitempty"`
		References []cdxReference `json:"externalReferences,omitempty"`
		Properties []cdxProperty  `json:"properties,omitempty"`
		Components []cdxComponent `json:"components,omitempty"`
	}
	cdxSupplier struct {
		Name string `json:"name"`
	}
	cdxHash struct {
		Algorithm string `json:"alg"`
		Content   string `json:"content"`
	}
	cdxLicence struct {
		Expression string   `json:"expression,omitempty"`
		Licence    *cdxText `json:"license,omitempty"`
	}
	cdxText struct {
		Name string         `json:"name"`
		Text *cdxAttachment `json:"text,omitempty"`
	}
	cdxAttachment struct {
		Content string `json:"content"`
	}
	cdxReference struct {
		URL  string `json:"url"`
		Type string `json:"type"`
	}
	cdxProperty struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	cdxDependency struct {
		Ref  string   `json:"ref"`
		Need []string `json:"dependsOn,omitempty"`
	}
	cdxComplete struct {
		Aggregate  string   `json:"aggregate"`
		Assemblies []string `json:"assemblies"`
	}
)

const cdxRoot = "system"

// CycloneDX writes the bill as a CycloneDX 1.6 document in JSON.
func (b *Bill) CycloneDX() ([]byte, error) {
	d := cdxDocument{Format: "CycloneDX", Spec: "1.6", Version: 1, Metadata: cdxMetadata{
		Time:  time.Unix(b.Epoch, 0).UTC().Format(time.RFC3339),
		Tools: cdxTools{[]cdxComponent{{Type: "application", Name: "instar", Version: b.Tool}}},
		Component: cdxComponent{Type: "operating-system", Ref: cdxRoot, Name: b.Name(), Version: b.System.String(),
			Properties: properties("instar:arch", b.Arch, "instar:machine", b.Machine, "instar:lock", b.Lock)},
	}}
	if b.Container != "" {
		d.Metadata.Component.Type = "container"
	}
	root := cdxDependency{Ref: cdxRoot}
	for _, g := range b.Groups {
		ref := NewID(g.Kind, g.Name)
		root.Need = append(root.Need, ref)
		d.Components = append(d.Components, g.cyclonedx(ref))
		d.Dependencies = append(d.Dependencies, cdxDependency{ref, g.Components})
	}
	held := b.heldBy()
	inner := b.innerComponents(held)
	for i := range b.Components {
		c := &b.Components[i]
		d.Dependencies = append(d.Dependencies, cdxDependency{c.ID, c.Depends})
		if c.Within == "" {
			one := c.cyclonedx(held[c.ID])
			one.Components = append(one.Components, inner[c.ID]...)
			d.Components = append(d.Components, one)
		}
	}
	d.Dependencies = append([]cdxDependency{root}, d.Dependencies...)
	d.Compositions = b.completeness()
	body, err := encode(d)
	if err != nil {
		return nil, err
	}
	d.Serial = "urn:uuid:" + uuid(body)
	return encode(d)
}

// heldBy are the files of components by their IDs.
func (b *Bill) heldBy() map[string][]cdxComponent {
	out := map[string][]cdxComponent{}
	for _, f := range b.Files {
		out[f.Component] = append(out[f.Component], cdxComponent{Type: "file", Name: f.Path, Hashes: []cdxHash{{"SHA-1", f.SHA1}, {"SHA-256", f.SHA256}}})
	}
	return out
}

// innerComponents are those that were found in an image, by its ID.
func (b *Bill) innerComponents(held map[string][]cdxComponent) map[string][]cdxComponent {
	out := map[string][]cdxComponent{}
	for i := range b.Components {
		if c := &b.Components[i]; c.Within != "" {
			out[c.Within] = append(out[c.Within], c.cyclonedx(held[c.ID]))
		}
	}
	return out
}

func (g Group) cyclonedx(ref string) cdxComponent {
	c := cdxComponent{Type: map[string]string{"container": "container", "host": "operating-system", "boot": "platform"}[g.Kind], Ref: ref, Name: g.Name}
	if !g.Image.IsZero() {
		c.Version = g.Image.String()
	}
	for _, name := range g.Configurations {
		c.Properties = append(c.Properties, cdxProperty{"instar:configuration", name})
	}
	return c
}

func (c *Component) cyclonedx(files []cdxComponent) cdxComponent {
	out := cdxComponent{
		Type: map[Kind]string{Image: "container", Program: "application", Local: "data", File: "file"}[c.Kind], Ref: c.ID,
		Name: c.Name, Version: c.Version, Licences: c.licences(), PURL: c.PURL, Components: slices.Clone(files),
		Properties: properties("instar:kind", string(c.Kind), "instar:arch", c.Arch, "instar:source", strings.TrimSpace(c.Source+" "+c.SourceVersion),
			"instar:trees", strings.Join(c.Trees, " ")),
	}
	out.Type = or(out.Type, "library")
	if c.Supplier != "" {
		out.Supplier = &cdxSupplier{c.Supplier}
	}
	if c.SHA256 != "" {
		out.Hashes = []cdxHash{{"SHA-256", c.SHA256}}
	}
	for _, r := range []cdxReference{{c.Location, "distribution"}, {c.Homepage, "website"}} {
		if validHomepage(r.URL) {
			out.References = append(out.References, r)
		}
	}
	return out
}

// licences says an expression where SPDX has all its words, or else each
// reference with its text: CycloneDX has no place for texts beside an expression.
func (c *Component) licences() []cdxLicence {
	l := c.Licence
	if l.Expression == "" {
		return nil
	}
	if t, ok := l.References[l.Expression]; ok {
		return []cdxLicence{{Licence: &cdxText{t.Name, &cdxAttachment{or(t.Text, noText)}}}}
	}
	return []cdxLicence{{Expression: l.Expression}}
}

func properties(pairs ...string) []cdxProperty {
	var out []cdxProperty
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			out = append(out, cdxProperty{pairs[i], pairs[i+1]})
		}
	}
	return out
}

// completeness says which components' contents are known in full.
func (b *Bill) completeness() []cdxComplete {
	known, unknown := []string{cdxRoot}, []string{}
	for _, c := range b.Components {
		switch {
		case c.Opaque:
			unknown = append(unknown, c.ID)
		case c.Kind == Deb || c.Kind == Nix || c.Kind == Program:
			known = append(known, c.ID)
		}
	}
	if len(unknown) == 0 {
		return []cdxComplete{{"complete", known}}
	}
	return []cdxComplete{{"incomplete", append([]string{cdxRoot}, unknown...)}, {"complete", known[1:]}}
}
