package graph

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestDifference(t *testing.T) {
	rows := []DifferenceRow{{"<broker>", 100, 50, 0, 25, "note & more"}, {"panel", 0, 0, 10, 0, ""}}
	svg := Difference("a & b", "facts", rows)
	for dec := xml.NewDecoder(bytes.NewReader(svg)); ; {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("%v\n%s", err, svg)
		}
	}
	for _, part := range []string{
		"&lt;broker&gt;", "note &amp; more", `class="kept" x="204.0" y="100" width="365.7"`, `class="changed" x="569.7" y="100" width="182.9"`,
		`class="removed" x="752.6" y="100" width="91.4"`, `class="added" x="204.0" y="126" width="36.6"`,
	} {
		if !strings.Contains(string(svg), part) {
			t.Errorf("%s is not in\n%s", part, svg)
		}
	}
	if !strings.Contains(string(Difference("x", "", nil)), "Neither has a container.") {
		t.Error("nothing is said of nothing")
	}
}
