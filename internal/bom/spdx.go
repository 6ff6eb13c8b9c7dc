package bom

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/instar-os/instar/internal/bom/licence"
)

// The parts of an SPDX 2.3 document that are written.
//
// Source: The Software Package Data Exchange specification, version 2.3,
// clauses 6 to 11.
type (
	spdxDocument struct {
		Version       string             `json:"spdxVersion"`
		DataLicence   string             `json:"dataLicense"`
		ID            string             `json:"SPDXID"`
		Name          string             `json:"name"`
		Namespace     string             `json:"documentNamespace"`
		Creation      spdxCreation       `json:"creationInfo"`
		Comment       string             `json:"comment,omitempty"`
		Packages      []spdxPackage      `json:"packages"`
		Files         []spdxFile         `json:"files,omitempty"`
		Relationships []spdxRelationship `json:"relationships"`
		Texts         []spdxText         `json:"hasExtractedLicensingInfos,omitempty"`
	}
	spdxCreation struct {
		Created  string   `json:"created"`
		Creators []string `json:"creators"`
	}
	spdxPackage struct {
		ID           string            `json:"SPDXID"`
		Name         string            `json:"name"`
		Version      string            `json:"versionInfo,omitempty"`
		Supplier     string            `json:"supplier,omitempty"`
		Location     string            `json:"downloadLocation"`
		Analysed     bool              `json:"filesAnalyzed"`
		Verification *spdxVerification `json:"packageVerificationCode,omitempty"`
		Checksums    []spdxChecksum    `json:"checksums,omitempty"`
		Homepage     string            `json:"homepage,omitempty"`
		SourceInfo   string            `json:"sourceInfo,omitempty"`
		Concluded    string            `json:"licenseConcluded"`
		Declared     string            `json:"licenseDeclared"`
		Copyright    string            `json:"copyrightText"`
		References   []spdxReference   `json:"externalRefs,omitempty"`
		Purpose      string            `json:"primaryPackagePurpose,omitempty"`
		Comment      string            `json:"comment,omitempty"`
	}
	spdxVerification struct {
		Value string `json:"packageVerificationCodeValue"`
	}
	spdxChecksum struct {
		Algorithm string `json:"algorithm"`
		Value     string `json:"checksumValue"`
	}
	spdxReference struct {
		Category string `json:"referenceCategory"`
		Type     string `json:"referenceType"`
		Locator  string `json:"referenceLocator"`
	}
	spdxFile struct {
		ID        string         `json:"SPDXID"`
		Name      string         `json:"fileName"`
		Checksums []spdxChecksum `json:"checksums"`
		Concluded string         `json:"licenseConcluded"`
		Copyright string         `json:"copyrightText"`
	}
	spdxRelationship struct {
		From string `json:"spdxElementId"`
		Type string `json:"relationshipType"`
		To   string `json:"relatedSpdxElement"`
	}
	spdxText struct {
		ID   string `json:"licenseId"`
		Name string `json:"name,omitempty"`
		Text string `json:"extractedText"`
	}
)

const (
	noAssertion  = "NOASSERTION"
	spdxRoot     = "SPDXRef-System"
	spdxRefer    = "SPDXRef-"
	noText       = "The package names this licence and gives no text of it."
	unknownInner = "The image has no list of packages that can be read: what it consists of is not known."
)

// SPDX writes the bill as an SPDX 2.3 document in JSON.
func (b *Bill) SPDX() ([]byte, error) {
	d := spdxDocument{
		Version: "SPDX-2.3", DataLicence: "CC0-1.0", ID: "SPDXRef-DOCUMENT", Name: b.Name() + "-" + b.Arch,
		Creation: spdxCreation{time.Unix(b.Epoch, 0).UTC().Format(time.RFC3339), []string{"Tool: instar-" + b.Tool}},
		Packages: []spdxPackage{b.spdxRootPackage()},
	}
	d.relate(d.ID, "DESCRIBES", spdxRoot)
	texts := map[string]licence.Text{}
	for _, g := range b.Groups {
		b.spdxGroup(&d, g)
	}
	codes := b.verificationCodes()
	for i := range b.Components {
		c := &b.Components[i]
		d.Packages = append(d.Packages, c.spdx(codes[c.ID]))
		maps.Copy(texts, c.Licence.References)
		if c.Within != "" {
			d.relate(spdxRefer+c.Within, "CONTAINS", spdxRefer+c.ID)
		}
		for _, need := range c.Depends {
			d.relate(spdxRefer+c.ID, "DEPENDS_ON", spdxRefer+need)
		}
	}
	for _, f := range b.Files {
		id := spdxRefer + NewID("File", uuid([]byte(f.key())))
		d.Files = append(d.Files, spdxFile{id, "." + f.Path, []spdxChecksum{{"SHA1", f.SHA1}, {"SHA256", f.SHA256}}, noAssertion, noAssertion})
		d.relate(spdxRefer+f.Component, "CONTAINS", id)
	}
	for _, ref := range slices.Sorted(maps.Keys(texts)) {
		t := spdxText{ref, texts[ref].Name, texts[ref].Text}
		if t.Text == "" {
			t.Text = noText
		}
		d.Texts = append(d.Texts, t)
	}
	body, err := encode(d)
	if err != nil {
		return nil, err
	}
	d.Namespace = "https://spdx.org/spdxdocs/instar-" + b.Name() + "-" + b.Arch + "-" + uuid(body)
	return encode(d)
}

func (d *spdxDocument) relate(from, kind, to string) {
	d.Relationships = append(d.Relationships, spdxRelationship{from, kind, to})
}

func (b *Bill) spdxRootPackage() spdxPackage {
	p := spdxPackage{ID: spdxRoot, Name: b.Name(), Version: b.System.String(), Location: noAssertion, Concluded: noAssertion,
		Declared: noAssertion, Copyright: noAssertion, Purpose: "OPERATING_SYSTEM",
		Comment: "The version is the system's name: the fs-verity SHA-256 digest of its manifest."}
	if b.Container != "" {
		p.Purpose = "CONTAINER"
		p.Comment = "A container of machine " + b.Machine + ". The version names the system that it is of."
	}
	if b.Lock != "" {
		p.SourceInfo = "built from a lock with SHA-256 " + b.Lock
	}
	return p
}

// spdxGroup writes a container, with the configurations that it stands in.
func (b *Bill) spdxGroup(d *spdxDocument, g Group) {
	id := spdxRefer + NewID(g.Kind, g.Name)
	p := spdxPackage{ID: id, Name: g.Name, Location: noAssertion, Concluded: noAssertion, Declared: noAssertion, Copyright: noAssertion,
		Purpose: map[string]string{"container": "CONTAINER", "host": "OPERATING_SYSTEM", "boot": "OTHER"}[g.Kind], Comment: g.comment()}
	if !g.Image.IsZero() {
		p.Version = g.Image.String()
	}
	d.Packages = append(d.Packages, p)
	d.relate(spdxRoot, "CONTAINS", id)
	for _, c := range g.Components {
		d.relate(id, "CONTAINS", spdxRefer+c)
	}
}

// comment says what a group is.
func (g Group) comment() string {
	if g.Kind == "boot" {
		return "What boots: kernel, init and loader."
	}
	return "A " + g.Kind + " of " + strings.Join(g.Configurations, ", ") + ". The version is the digest of its image."
}

func (c *Component) spdx(code string) spdxPackage {
	p := spdxPackage{
		ID: spdxRefer + c.ID, Name: c.Name, Version: c.Version, Location: or(c.Location, noAssertion), Homepage: c.Homepage,
		Concluded: noAssertion, Declared: or(c.Licence.Expression, noAssertion), Copyright: noAssertion,
		Purpose: map[Kind]string{Image: "CONTAINER", Program: "APPLICATION", Local: "SOURCE", File: "FILE"}[c.Kind],
	}
	if !validHomepage(c.Homepage) {
		p.Homepage = ""
	}
	if name, mail, ok := strings.Cut(c.Supplier, "<"); ok && c.Supplier != "" {
		p.Supplier = "Organization: " + strings.TrimSpace(name) + " (" + strings.TrimRight(mail, "> ") + ")"
	} else if c.Supplier != "" {
		p.Supplier = "Organization: " + c.Supplier
	}
	if c.SHA256 != "" {
		p.Checksums = []spdxChecksum{{"SHA256", c.SHA256}}
	}
	if c.Source != "" {
		p.SourceInfo = "built from source package: " + c.Source + " " + c.SourceVersion
	}
	if c.PURL != "" {
		p.References = []spdxReference{{"PACKAGE-MANAGER", "purl", c.PURL}}
	}
	if c.Opaque {
		p.Comment = unknownInner
	}
	if code != "" {
		p.Analysed, p.Verification = true, &spdxVerification{code}
	}
	return p
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func validHomepage(s string) bool {
	return (strings.HasPrefix(s, "https://") || strings.HasPrefix(s, "http://")) && !strings.ContainsAny(s, " \t<>\"\\^`{|}")
}

// verificationCodes are those of clause 7.9: the SHA-1 of the sorted SHA-1 of a
// component's files.
func (b *Bill) verificationCodes() map[string]string {
	sums := map[string][]string{}
	for _, f := range b.Files {
		sums[f.Component] = append(sums[f.Component], f.SHA1)
	}
	codes := map[string]string{}
	for id, all := range sums {
		slices.Sort(all)
		sum := sha1.Sum([]byte(strings.Join(all, "")))
		codes[id] = hex.EncodeToString(sum[:])
	}
	return codes
}

// encode writes JSON with an indentation, no HTML escapes and a newline.
func encode(v any) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(v)
	return out.Bytes(), err
}
