package bom

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/instar-os/instar/internal/bom"
	"github.com/instar-os/instar/internal/bom/licence"
	"github.com/instar-os/instar/internal/digest"
)

// odd is a bill with everything that could go wrong in a format.
func odd() *bom.Bill {
	text := licence.Parse([]byte("Free text & <tags> \x01 \xff"))
	image := bom.NewID("oci", "panel", "0123")
	b := &bom.Bill{Machine: "m", Arch: "amd64", System: digest.Of([]byte("s")), Epoch: 1, Lock: digest.Of([]byte("l")).String(), Tool: "devel",
		Components: []bom.Component{
			{ID: bom.NewID("deb", "libstdc++6", "1:14~rc1+b2", "amd64"), Kind: bom.Deb, Name: "libstdc++6", Version: "1:14~rc1+b2", Arch: "amd64",
				Source: "gcc-14", SourceVersion: "1:14~rc1", Supplier: "Düsseldorf \"Team\" <a@b.example>", Homepage: "not an address", Licence: text,
				Depends: []string{bom.NewID("deb", "a", "1", "all")}},
			{ID: bom.NewID("deb", "a", "1", "all"), Kind: bom.Deb, Name: "a", Version: "1", Arch: "all", Homepage: "https://a.example/?q=1#x",
				Licence: licence.Parse([]byte("Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: GPL-2+ with x or foo, and Expat\n"))},
			{ID: image, Kind: bom.Image, Name: "panel", Version: "sha256:00", Opaque: true, SHA256: digest.Of(nil).String()},
			{ID: bom.NewID(image, "musl"), Kind: bom.Apk, Name: "musl", Version: "1.2.5-r0", Within: image, Licence: licence.Declared("MIT")},
			{ID: bom.NewID("nix", "0123-x_y"), Kind: bom.Nix, Name: "x_y"},
			{ID: "tree-conf", Kind: bom.Local, Name: "conf"},
			{ID: "instar", Kind: bom.Program, Name: "instar", Version: "devel"},
		},
		Groups: []bom.Group{
			{Kind: "container", Name: "panel", Image: digest.Of([]byte("i")), Configurations: []string{"day", "night"}, Components: []string{image, "tree-conf"}},
			{Kind: "host", Name: "day", Image: digest.Of([]byte("h"))}, {Kind: "boot", Name: "boot"}},
	}
	for _, p := range []string{"/a file with \"quotes\"", "/é", "/x\xff"} {
		b.Files = append(b.Files, bom.Held{Component: "tree-conf", Path: p, Object: digest.Of([]byte(p)),
			SHA1: "da39a3ee5e6b4b0d3255bfef95601890afd80709", SHA256: digest.Of(nil).String()})
	}
	b.Sort()
	return b
}

func TestOddBill(t *testing.T) {
	text, err := odd().SPDX()
	if err != nil {
		t.Fatal(err)
	}
	validate(t, schema(t, spdx), text)
	refer(t, text)
	if text, err = odd().CycloneDX(); err != nil {
		t.Fatal(err)
	}
	validate(t, schema(t, cyclonedx, licences, signatures), text)
	unique(t, text)
}

// refer checks what no schema says: what relationships name is there, once, and
// every reference in an expression has its text.
func refer(t *testing.T, text []byte) {
	t.Helper()
	var d struct {
		SPDXID          string
		Packages, Files []struct{ SPDXID, LicenseDeclared string }
		Texts           []struct {
			ID string `json:"licenseId"`
		} `json:"hasExtractedLicensingInfos"`
		Relationships []struct{ SPDXElementID, RelatedSPDXElement string }
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{d.SPDXID: true}
	for _, p := range append(d.Packages, d.Files...) {
		if known[p.SPDXID] {
			t.Errorf("%s stands twice", p.SPDXID)
		}
		known[p.SPDXID] = true
	}
	for _, r := range d.Relationships {
		if !known[r.SPDXElementID] || !known[r.RelatedSPDXElement] {
			t.Errorf("%s or %s is not there", r.SPDXElementID, r.RelatedSPDXElement)
		}
	}
	texts := map[string]bool{}
	for _, x := range d.Texts {
		texts[x.ID] = true
	}
	for _, p := range d.Packages {
		for _, w := range bytes.FieldsFunc([]byte(p.LicenseDeclared), func(r rune) bool { return r == ' ' || r == '(' || r == ')' }) {
			if bytes.HasPrefix(w, []byte("LicenseRef-")) && !texts[string(w)] {
				t.Errorf("%s of %s has no text", w, p.SPDXID)
			}
		}
	}
}

// unique checks that no reference of a CycloneDX document stands twice, and that
// dependencies name what is there.
func unique(t *testing.T, text []byte) {
	t.Helper()
	type component struct {
		Ref        string `json:"bom-ref"`
		Components []json.RawMessage
	}
	var d struct {
		Metadata     struct{ Component component }
		Components   []json.RawMessage
		Dependencies []struct {
			Ref       string
			DependsOn []string
		}
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{d.Metadata.Component.Ref: true}
	var walk func(all []json.RawMessage)
	walk = func(all []json.RawMessage) {
		for _, raw := range all {
			var c component
			if err := json.Unmarshal(raw, &c); err != nil {
				t.Fatal(err)
			}
			if c.Ref != "" && seen[c.Ref] {
				t.Errorf("%s stands twice", c.Ref)
			}
			seen[c.Ref] = true
			walk(c.Components)
		}
	}
	walk(d.Components)
	for _, dep := range d.Dependencies {
		for _, ref := range append(dep.DependsOn, dep.Ref) {
			if !seen[ref] {
				t.Errorf("%s is not there", ref)
			}
		}
	}
}

// The bills of the greenhouse are valid, whole, and the same each time.
func TestGreenhouse(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	make := func(args ...string) []byte {
		cmd := exec.Command(filepath.Join(root, "out/instar"), append([]string{"-q", "-f", filepath.Join(root, "examples/greenhouse/instar.yaml"), "bom", "make"}, args...)...)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		return out
	}
	s := schema(t, spdx)
	for _, args := range [][]string{nil, {"--files"}, {"--container", "broker", "--files"}} {
		text := make(args...)
		validate(t, s, text)
		refer(t, text)
		if !bytes.Equal(text, make(args...)) {
			t.Errorf("%v: another bill the second time", args)
		}
	}
	s = schema(t, cyclonedx, licences, signatures)
	for _, args := range [][]string{nil, {"--files"}, {"--container", "broker"}} {
		text := make(append(args, "--format", "cyclonedx")...)
		validate(t, s, text)
		unique(t, text)
	}
}
