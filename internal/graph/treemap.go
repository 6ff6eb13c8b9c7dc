package graph

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
)

// Area is what takes bytes: by itself, or as the sum of its parts.
type Area struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
	Parts []Area `json:"parts,omitempty"`
}

// Sum fills in the bytes of areas that have parts, sorts the largest first, and
// returns the whole.
func (a *Area) Sum() int64 {
	if len(a.Parts) > 0 {
		a.Bytes = 0
	}
	for i := range a.Parts {
		a.Bytes += a.Parts[i].Sum()
	}
	slices.SortFunc(a.Parts, func(x, y Area) int {
		return cmp.Or(cmp.Compare(y.Bytes, x.Bytes), cmp.Compare(x.Name, y.Name))
	})
	return a.Bytes
}

// Measures of a treemap in pixels.
const (
	mapWidth  = 1120
	mapHeight = 640
	mapHead   = 20 // of an area, with its name
)

// treemapStyle is of areas within areas.
const treemapStyle = `
  .area { stroke: #0969da; fill: #ddf4ff; }
  .part { stroke: #ffffff; fill: #b6e3ff; }
  .small { font-size: 12px; }
  @media (prefers-color-scheme: dark) {
    .area { stroke: #4493f8; fill: #0c2d6b; }
    .part { stroke: #0d1117; fill: #1158c7; }
  }
`

type rectangle struct{ x, y, w, h float64 }

// Treemap draws areas and their parts as rectangles of that size. The same areas
// give the same bytes.
func Treemap(title string, whole Area, text func(int64) string) []byte {
	whole.Sum()
	var b bytes.Buffer
	width, height := mapWidth+2*margin, mapHeight+header+margin
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img">`+"\n", width, height, width, height)
	fmt.Fprintf(&b, "<title>%s</title>\n<style>%s%s</style>\n", escape(title), style, treemapStyle)
	fmt.Fprintf(&b, `<text class="title" x="%d" y="36">%s, %s</text>`+"\n", margin, escape(title), escape(text(whole.Bytes)))
	areas := squarify(whole.Parts, rectangle{margin, header, mapWidth, mapHeight})
	for i, r := range areas {
		a := whole.Parts[i]
		box(&b, "area", a, r, text, true)
		inner := rectangle{r.x + 3, r.y + mapHead, r.w - 6, r.h - mapHead - 3}
		if inner.w < 8 || inner.h < 8 {
			continue
		}
		for j, q := range squarify(a.Parts, inner) {
			box(&b, "part", a.Parts[j], q, text, false)
		}
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// box draws one rectangle, with as much of its name as fits.
func box(b *bytes.Buffer, class string, a Area, r rectangle, text func(int64) string, head bool) {
	label := a.Name + " " + text(a.Bytes)
	fmt.Fprintf(b, `<g><title>%s</title><rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`, escape(label), class, r.x, r.y, max(r.w, 0), max(r.h, 0))
	fit := int(r.w-8) / charWidth
	if words := []rune(label); fit >= 4 && r.h >= 16 {
		if len(words) > fit {
			words = append(words[:fit-1], '…')
		}
		weight := " small"
		if head {
			weight = " name"
		}
		fmt.Fprintf(b, `<text class="label%s" x="%.1f" y="%.1f">%s</text>`, weight, r.x+4, r.y+15, escape(string(words)))
	}
	b.WriteString("</g>\n")
}

// squarify lays areas, the largest first, into a rectangle such that they are
// nearly square: Bruls, Huizing, van Wijk, Squarified Treemaps, 2000.
func squarify(areas []Area, in rectangle) []rectangle {
	var total float64
	for _, a := range areas {
		total += float64(a.Bytes)
	}
	out := make([]rectangle, 0, len(areas))
	for len(areas) > 0 {
		if total <= 0 || in.w <= 0 || in.h <= 0 {
			for range areas {
				out = append(out, rectangle{in.x, in.y, 0, 0})
			}
			return out
		}
		n, sum := row(areas, in, total)
		out = append(out, lay(areas[:n], &in, sum, total)...)
		areas, total = areas[n:], total-sum
	}
	return out
}

// row returns how many areas make the next row, and their sum.
func row(areas []Area, in rectangle, total float64) (n int, sum float64) {
	side, scale := min(in.w, in.h), in.w*in.h/total
	worst := 0.0
	for i, a := range areas {
		next := sum + float64(a.Bytes)
		thick := next * scale / side
		// The first is the largest of the row, this one the smallest.
		long, short := float64(areas[0].Bytes)*scale/thick, float64(a.Bytes)*scale/thick
		ratio := max(long/thick, thick/max(short, 1e-9))
		if i > 0 && ratio > worst {
			break
		}
		n, sum, worst = i+1, next, ratio
	}
	return n, sum
}

// lay puts a row along the shorter side and takes its room away.
func lay(areas []Area, in *rectangle, sum, total float64) []rectangle {
	var out []rectangle
	upright := in.w >= in.h // the row is a column at the left
	part := sum / total
	at := 0.0
	for _, a := range areas {
		share := float64(a.Bytes) / sum
		if sum == 0 {
			share = 0
		}
		if upright {
			out = append(out, rectangle{in.x, in.y + at*in.h, in.w * part, in.h * share})
		} else {
			out = append(out, rectangle{in.x + at*in.w, in.y, in.w * share, in.h * part})
		}
		at += share
	}
	if upright {
		in.x, in.w = in.x+in.w*part, in.w*(1-part)
	} else {
		in.y, in.h = in.y+in.h*part, in.h*(1-part)
	}
	return out
}
