package graph

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/config"
)

var update = flag.Bool("update", false, "write golden files")

var day = config.Configuration{
	Containers: []string{"sensor", "panel", "a-container-with-a-rather-long-name"},
	Links: []config.Link{
		{Name: "level", Type: "sampling", From: "sensor", To: []string{"panel", "outside"}, Size: 64, Validity: 500 * time.Millisecond},
		{Name: "orders", Type: "queueing", From: "outside", To: []string{"a-container-with-a-rather-long-name"}, Size: 1024, Wake: true},
		{Name: "talk", Type: "stream", Between: []string{"panel", "sensor"}},
		{Name: "lines", Type: "pipe", From: "panel", To: []string{"sensor"}},
		{Name: "door", Type: "listen", To: []string{"panel"}, Address: "0.0.0.0:8080"},
	},
}

func TestLinks(t *testing.T) {
	for name, c := range map[string]config.Configuration{"day": day, "none": {Containers: []string{"one"}}} {
		got := Links("greenhouse & co", name, c)
		golden := "testdata/" + name + ".svg"
		if *update {
			if err := os.WriteFile(golden, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is drawn otherwise; look at it and run go test ./internal/graph -update", golden)
		}
		inside(t, got)
	}
}

// inside checks that it is well-formed and that all text is on the canvas.
func inside(t *testing.T, svg []byte) {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(svg))
	var width, height int
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		el, ok := tok.(xml.StartElement)
		if !ok {
			continue
		}
		at := map[string]int{}
		for _, a := range el.Attr {
			f, _ := strconv.ParseFloat(a.Value, 64)
			at[a.Name.Local] = int(f)
		}
		if el.Name.Local == "svg" {
			width, height = at["width"], at["height"]
		}
		if el.Name.Local == "text" && (at["x"] < margin || at["x"] > width-margin || at["y"] < 0 || at["y"] > height-8) {
			t.Errorf("text at %d, %d of %d by %d", at["x"], at["y"], width, height)
		}
	}
}
