package graph

import (
	"bytes"
	"fmt"
)

// DifferenceRow is a container's bytes by what becomes of them.
type DifferenceRow struct {
	Name                          string
	Kept, Changed, Added, Removed int64 // bytes
	Note                          string
}

// Measures of a difference's picture, in pixels.
const (
	diffChart  = 640
	diffRow    = 26
	diffBar    = 16
	diffLabel  = 180
	diffNote   = 260
	diffHeader = 100
)

const diffStyle = style + `
  .kept { fill: #d0d7de; } .changed { fill: #bf8700; } .added { fill: #1a7f37; } .removed { fill: #cf222e; }
  @media (prefers-color-scheme: dark) {
    .kept { fill: #30363d; } .changed { fill: #d29922; } .added { fill: #3fb950; } .removed { fill: #f85149; }
  }
`

// Difference draws what differs between two systems: a bar for each container,
// as long as its bytes, by what becomes of them. facts are lines below the
// title. The same rows give the same bytes.
func Difference(title, facts string, rows []DifferenceRow) []byte {
	longest := int64(1)
	for _, r := range rows {
		longest = max(longest, r.Kept+r.Changed+r.Added+r.Removed)
	}
	left := margin + diffLabel
	width, height := left+diffChart+diffNote, diffHeader+diffRow*max(len(rows), 1)+margin
	var out bytes.Buffer
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img">`+"\n", width, height, width, height)
	fmt.Fprintf(&out, "<title>%s</title>\n<style>%s</style>\n", escape(title), diffStyle)
	fmt.Fprintf(&out, `<text class="title" x="%d" y="32">%s</text>`+"\n", margin, escape(title))
	fmt.Fprintf(&out, `<text class="what" x="%d" y="52">%s</text>`+"\n", margin, escape(facts))
	at := left
	for _, k := range []string{"kept", "changed", "added", "removed"} {
		fmt.Fprintf(&out, `<rect class="%s" x="%d" y="68" width="12" height="12" rx="2"/><text class="what" x="%d" y="78">%s</text>`+"\n", k, at, at+18, k)
		at += 100
	}
	for i, r := range rows {
		r.draw(&out, left, diffHeader+diffRow*i, float64(diffChart)/float64(longest))
	}
	if len(rows) == 0 {
		fmt.Fprintf(&out, `<text class="what" x="%d" y="%d">Neither has a container.</text>`+"\n", margin, diffHeader+14)
	}
	out.WriteString("</svg>\n")
	return out.Bytes()
}

func (r DifferenceRow) draw(out *bytes.Buffer, left, y int, scale float64) {
	fmt.Fprintf(out, `<text class="name" x="%d" y="%d">%s</text>`+"\n", margin, y+13, escape(shorten(r.Name, 24)))
	x := float64(left)
	for _, part := range []struct {
		class string
		bytes int64
	}{{"kept", r.Kept}, {"changed", r.Changed}, {"added", r.Added}, {"removed", r.Removed}} {
		if part.bytes == 0 {
			continue
		}
		w := max(float64(part.bytes)*scale, 1)
		fmt.Fprintf(out, `<rect class="%s" x="%.1f" y="%d" width="%.1f" height="%d"/>`+"\n", part.class, x, y, w, diffBar)
		x += w
	}
	fmt.Fprintf(out, `<text class="what" x="%.1f" y="%d">%s</text>`+"\n", x+8, y+13, escape(r.Note))
}
