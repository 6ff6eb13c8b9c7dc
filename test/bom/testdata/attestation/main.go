// Command attestation checks a statement of provenance on standard input with
// in-toto's own types: every field must be known, and what they demand must hold.
package main

import (
	"fmt"
	"io"
	"os"

	provenance "github.com/in-toto/attestation/go/predicates/provenance/v1"
	intoto "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/encoding/protojson"
)

func main() {
	if err := check(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func check() error {
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	var s intoto.Statement
	if err := protojson.Unmarshal(text, &s); err != nil {
		return err
	}
	if err := s.Validate(); err != nil {
		return err
	}
	predicate, err := protojson.Marshal(s.GetPredicate())
	if err != nil {
		return err
	}
	var p provenance.Provenance
	if err := protojson.Unmarshal(predicate, &p); err != nil {
		return err
	}
	return p.Validate()
}
