// Package bom holds the bills of material, provenance and what is found in them
// to the official schemas.
package bom

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// The official schemas, out of modules that carry them; no program links these.
var (
	spdx = pinned{"github.com/anchore/syft@v1.0.0", "schema/spdx-json/spdx-schema-2.3.json",
		"c2e139546ef93597d3b1214d1d452369d0b536af6c6d6500dbd25c582034aa7c"}
	cyclonedx = pinned{"github.com/CycloneDX/cyclonedx-go@v0.12.0", "schema/bom-1.6.schema.json",
		"3e92dddbc30cf7f6a02b80f0942b1a4cfd4fb1c26f1dfc4310afa9d613cafb93"}
	licences   = pinned{cyclonedx.module, "schema/spdx.schema.json", "669315cee4265ad6d742e92d7afb062fb4847abe754d3ade544b7c40482d0a48"}
	signatures = pinned{cyclonedx.module, "schema/jsf-0.82.schemax.json", "a517f9e483e2252debd23d5c62edb72805b6d3932935a6ebb8196745052d2dc3"}
)

// pinned is a file of a module, by its SHA-256.
type pinned struct{ module, path, sha256 string }

// read fetches the module with go's own client into its cache.
func (p pinned) read(t *testing.T) []byte {
	t.Helper()
	cmd := exec.Command("go", "mod", "download", "-json", p.module)
	cmd.Dir = t.TempDir() // no module: this one's requirements stay as they are
	out, err := cmd.Output()
	var got struct{ Dir, Error string }
	if err := json.Unmarshal(out, &got); err != nil || got.Dir == "" {
		t.Skipf("%s is not to be had here: %v %s", p.module, err, got.Error)
	}
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(got.Dir, p.path))
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != p.sha256 {
		t.Fatalf("%s of %s has SHA-256 %x", p.path, p.module, sum)
	}
	return b
}

// schema compiles a schema and those that it refers to.
func schema(t *testing.T, main pinned, others ...pinned) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	for _, p := range append([]pinned{main}, others...) {
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(p.read(t)))
		if err != nil {
			t.Fatal(err)
		}
		name := "http://cyclonedx.org/schema/" + strings.Replace(filepath.Base(p.path), "schemax", "schema", 1)
		if err := c.AddResource(name, doc); err != nil {
			t.Fatal(err)
		}
	}
	s, err := c.Compile("http://cyclonedx.org/schema/" + filepath.Base(main.path))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func validate(t *testing.T, s *jsonschema.Schema, text []byte) {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(doc); err != nil {
		t.Errorf("%v", err)
	}
}

// TestSchemasRefuse proves that the schemas look: what they must not take, they do not.
func TestSchemasRefuse(t *testing.T) {
	for _, row := range []struct {
		s    *jsonschema.Schema
		text string
	}{
		{schema(t, spdx), `{"SPDXID": "SPDXRef-DOCUMENT", "spdxVersion": "SPDX-2.3"}`},
		{schema(t, cyclonedx, licences, signatures), `{"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [{"name": "x", "type": "thing"}]}`},
	} {
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(row.text))
		if err != nil {
			t.Fatal(err)
		}
		if row.s.Validate(doc) == nil {
			t.Errorf("the schema takes %s", row.text)
		}
	}
}
