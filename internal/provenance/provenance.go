// Package provenance says how something was built: in-toto statements with
// SLSA's provenance, which name what was made, out of what, by whom.
//
// Sources: in-toto attestation framework, Statement v1; SLSA provenance v1.
package provenance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/bom"
)

// The types of what is written.
const (
	PayloadType   = "application/vnd.in-toto+json"
	statementType = "https://in-toto.io/Statement/v1"
	predicateType = "https://slsa.dev/provenance/v1"
	// BuildType names how external parameters are to be understood: docs/format/provenance.md.
	BuildType = "https://github.com/instar-os/instar/provenance@v1"
)

// Statement says how its subjects were made.
type Statement struct {
	Type          string     `json:"_type"`
	Subject       []Resource `json:"subject"`
	PredicateType string     `json:"predicateType"`
	Predicate     Predicate  `json:"predicate"`
}

// Resource is something with a digest.
type Resource struct {
	Name   string            `json:"name,omitempty"`
	URI    string            `json:"uri,omitempty"`
	Digest map[string]string `json:"digest,omitempty"`
}

// Predicate is SLSA's provenance.
type Predicate struct {
	BuildDefinition Definition `json:"buildDefinition"`
	RunDetails      Run        `json:"runDetails"`
}

// Definition is what was built out of what.
type Definition struct {
	BuildType            string     `json:"buildType"`
	ExternalParameters   Parameters `json:"externalParameters"`
	ResolvedDependencies []Resource `json:"resolvedDependencies"`
}

// Parameters are what whoever built has chosen.
type Parameters struct {
	Machine    string `json:"machine"`
	Arch       string `json:"arch"`       // GOARCH
	Definition string `json:"definition"` // name of the file among the dependencies
}

// Run is who built.
type Run struct {
	Builder Builder `json:"builder"`
}

// Builder names who is believed to have built as he says.
type Builder struct {
	ID      string            `json:"id"`
	Version map[string]string `json:"version,omitempty"`
}

// Options say what a bill does not.
type Options struct {
	Subjects   []Resource // the first is the system
	Definition string     // name of the definition
	Inputs     []Resource // definition, lock and trees beside it
	Builder    string     // URI of who builds
}

// Make writes the statement of a build: inputs, then every component of the bill
// that has a digest. The same lock gives the same bytes.
func Make(bill *bom.Bill, o Options) ([]byte, error) {
	s := Statement{Type: statementType, PredicateType: predicateType, Subject: o.Subjects, Predicate: Predicate{
		Definition{BuildType, Parameters{bill.Machine, bill.Arch, o.Definition}, slices.Clone(o.Inputs)},
		Run{Builder{o.Builder, map[string]string{"instar": bill.Tool}}},
	}}
	for _, c := range bill.Components {
		if r, ok := resource(c); ok {
			s.Predicate.BuildDefinition.ResolvedDependencies = append(s.Predicate.BuildDefinition.ResolvedDependencies, r)
		}
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	err := enc.Encode(s)
	return out.Bytes(), err
}

// resource is a component that was fetched.
func resource(c bom.Component) (Resource, bool) {
	if c.Within != "" || c.Digest == "" && c.SHA256 == "" {
		return Resource{}, false
	}
	sum := c.SHA256
	if sum == "" {
		sum = c.Digest
	}
	return Resource{Name: strings.TrimSpace(c.Name + " " + c.Version), URI: c.PURL, Digest: map[string]string{"sha256": sum}}, true
}

// MaxStatement is the largest statement that Read reads, in bytes.
const MaxStatement = 48 << 20

// Read reads a statement of provenance, whoever wrote it.
func Read(text []byte) (*Statement, error) {
	if len(text) > MaxStatement {
		return nil, fmt.Errorf("statement of %d bytes, more than %d", len(text), MaxStatement)
	}
	var s Statement
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, fmt.Errorf("statement: %w", err)
	}
	switch {
	case s.Type != statementType:
		return nil, fmt.Errorf("statement: it is %q, not %s", s.Type, statementType)
	case s.PredicateType != predicateType:
		return nil, fmt.Errorf("statement: it says %q, not %s", s.PredicateType, predicateType)
	case len(s.Subject) == 0:
		return nil, errors.New("statement: it has no subject")
	case s.Predicate.RunDetails.Builder.ID == "":
		return nil, errors.New("statement: it names no builder")
	}
	return &s, nil
}

// About finds the subject with a SHA-256.
func (s *Statement) About(sha256 string) (Resource, bool) {
	for _, r := range s.Subject {
		if r.Digest["sha256"] == sha256 {
			return r, true
		}
	}
	return Resource{}, false
}

// Missing lists inputs that the statement does not name with their digests:
// it was made of something else.
func (s *Statement) Missing(inputs []Resource) (names []string) {
	for _, want := range inputs {
		if !slices.ContainsFunc(s.Predicate.BuildDefinition.ResolvedDependencies, func(r Resource) bool {
			return r.Name == want.Name && maps.Equal(r.Digest, want.Digest)
		}) {
			names = append(names, want.Name)
		}
	}
	return names
}
