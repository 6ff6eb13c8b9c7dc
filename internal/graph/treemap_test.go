package graph_test

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"testing"

	"github.com/instar-os/instar/internal/graph"
)

var rect = regexp.MustCompile(`class="(area|part)" x="([0-9.]+)" y="([0-9.]+)" width="([0-9.]+)" height="([0-9.]+)"`)

// The rectangles have the sizes of what they show and lie beside each other.
func TestTreemap(t *testing.T) {
	whole := graph.Area{Parts: []graph.Area{{Name: "boot <&>", Bytes: 500}, {Name: "nothing", Bytes: 0},
		{Name: "web", Parts: []graph.Area{{Name: "libc6", Bytes: 300}, {Name: "nginx", Bytes: 150}, {Name: "x", Bytes: 50}}}}}
	svg := graph.Treemap("Sizes", whole, func(n int64) string { return fmt.Sprint(n) })
	for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	var area, part float64
	var tops [][4]float64
	for _, m := range rect.FindAllStringSubmatch(string(svg), -1) {
		var v [4]float64
		for i := range v {
			v[i], _ = strconv.ParseFloat(m[i+2], 64)
		}
		if m[1] == "area" {
			area += v[2] * v[3]
			tops = append(tops, v)
		} else {
			part += v[2] * v[3]
		}
	}
	if len(tops) != 3 || math.Abs(area-1120*640) > 2000 || part <= 0 || part >= area/2 {
		t.Errorf("%d areas of %.0f, parts of %.0f square pixels", len(tops), area, part)
	}
	if math.Abs(tops[0][2]*tops[0][3]-tops[1][2]*tops[1][3]) > 1000 {
		t.Errorf("equal areas are drawn as %v and %v", tops[0], tops[1])
	}
	if again := graph.Treemap("Sizes", whole, func(n int64) string { return fmt.Sprint(n) }); !bytes.Equal(svg, again) {
		t.Error("drawn twice, drawn differently")
	}
	if empty := graph.Treemap("Nothing", graph.Area{}, func(n int64) string { return "" }); !bytes.Contains(empty, []byte("</svg>")) {
		t.Error("nothing is not drawn")
	}
}
