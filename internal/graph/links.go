// Package graph draws what a definition declares as SVG.
package graph

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/config"
)

// Measures in pixels. A character of the font is taken to be charWidth wide,
// which no common sans-serif font exceeds at this size.
const (
	margin    = 24
	charWidth = 8
	boxHeight = 32
	rowHeight = 48
	minColumn = 168
	header    = 64 // below it the boxes begin
)

// style follows the reader's preference for light or dark.
const style = `
  svg { background: #ffffff; color: #1f2328; }
  text { font: 14px system-ui, sans-serif; fill: currentColor; }
  .title { font-size: 18px; font-weight: 600; }
  .name { font-weight: 600; }
  .what { fill: #57606a; font-size: 12px; }
  .label { paint-order: stroke; stroke: #ffffff; stroke-width: 4px; }
  .box { fill: #ddf4ff; stroke: #0969da; }
  .world { fill: #f6f8fa; stroke: #57606a; stroke-dasharray: 4 3; }
  .life { stroke: #d0d7de; }
  .link { stroke: currentColor; stroke-width: 1.5; fill: none; }
  .end { fill: currentColor; }
  @media (prefers-color-scheme: dark) {
    svg { background: #0d1117; color: #e6edf3; }
    .what { fill: #9198a1; }
    .label { stroke: #0d1117; }
    .box { fill: #0c2d6b; stroke: #4493f8; }
    .world { fill: #161b22; stroke: #9198a1; }
    .life { stroke: #30363d; }
  }
`

// outside is the column of what is no container.
const outside = "outside"

// A drawing puts ends in columns and links in rows, as a sequence diagram does:
// nothing can cross a name, whatever is declared.
type drawing struct {
	b       bytes.Buffer
	columns []string
	width   int // of a column
}

// Links draws the containers of a configuration, its links and the world
// outside. The same declaration gives the same bytes.
func Links(machine, name string, c config.Configuration) []byte {
	d := &drawing{width: minColumn}
	links := make([]config.Link, len(c.Links))
	for i, l := range c.Links {
		links[i] = l.Resolved()
		if l.From == outside || slices.Contains(l.To, outside) || links[i].From == outside {
			d.columns = []string{outside}
		}
		d.width = max(d.width, charWidth*max(len(l.Name), len(what(links[i])))+margin)
	}
	d.columns = append(d.columns, c.Containers...)
	for _, n := range d.columns {
		d.width = max(d.width, charWidth*len(n)+2*margin)
	}
	title := fmt.Sprintf("Links of %s, configuration %s", machine, name)
	height := header + boxHeight + rowHeight*(len(links)+1)
	total := max(2*margin+d.width*len(d.columns), 2*margin+10*len(title))
	fmt.Fprintf(&d.b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img">`+"\n", total, height, total, height)
	fmt.Fprintf(&d.b, "<title>%s</title>\n<style>%s</style>\n", escape(title), style)
	d.b.WriteString(`<defs><marker id="tip" viewBox="0 0 10 10" refX="10" refY="5" markerWidth="8" markerHeight="8" orient="auto-start-reverse"><path class="end" d="M0 0 10 5 0 10z"/></marker></defs>` + "\n")
	fmt.Fprintf(&d.b, `<text class="title" x="%d" y="36">%s</text>`+"\n", margin, escape(title))
	for i, n := range d.columns {
		d.column(i, n, height)
	}
	for i, l := range links {
		d.link(l, header+boxHeight+rowHeight*(i+1))
	}
	if len(links) == 0 {
		fmt.Fprintf(&d.b, `<text class="what" x="%d" y="%d">This configuration declares no links.</text>`+"\n", margin, height-12)
	}
	d.b.WriteString("</svg>\n")
	return d.b.Bytes()
}

// x is the middle of an end's column.
func (d *drawing) x(end string) int {
	return margin + d.width/2 + d.width*max(slices.Index(d.columns, end), 0)
}

func (d *drawing) column(i int, name string, height int) {
	class := "box"
	if name == outside && i == 0 {
		class = "world"
	}
	x, w := d.x(name), charWidth*len(name)+margin
	fmt.Fprintf(&d.b, `<line class="life" x1="%d" y1="%d" x2="%d" y2="%d"/>`+"\n", x, header+boxHeight, x, height-8)
	fmt.Fprintf(&d.b, `<rect class="%s" x="%d" y="%d" width="%d" height="%d" rx="6"/>`+"\n", class, x-w/2, header, w, boxHeight)
	fmt.Fprintf(&d.b, `<text class="name" x="%d" y="%d" text-anchor="middle">%s</text>`+"\n", x, header+21, escape(name))
}

// link draws one row: a line over all its ends, a dot where it comes from and a
// tip at each reader. The name stands above the line, what it is below.
func (d *drawing) link(l config.Link, y int) {
	from := d.x(l.From)
	both := l.Type == "stream" || l.Type == "datagram"
	left := from
	for _, to := range l.To {
		x := d.x(to)
		left = min(left, x)
		start := ""
		if both {
			start = ` marker-start="url(#tip)"`
		}
		fmt.Fprintf(&d.b, `<line class="link" x1="%d" y1="%d" x2="%d" y2="%d" marker-end="url(#tip)"%s/>`+"\n", from, y, x, y, start)
	}
	if !both {
		fmt.Fprintf(&d.b, `<circle class="end" cx="%d" cy="%d" r="4"/>`+"\n", from, y)
	}
	fmt.Fprintf(&d.b, `<text class="name label" x="%d" y="%d">%s</text>`+"\n", left+12, y-6, escape(l.Name))
	fmt.Fprintf(&d.b, `<text class="what label" x="%d" y="%d">%s</text>`+"\n", left+12, y+15, escape(what(l)))
}

// what says in a few words what a link is.
func what(l config.Link) string {
	parts := []string{l.Type}
	if l.Size > 0 {
		parts = append(parts, l.Size.String())
	}
	if l.Depth > 0 {
		parts = append(parts, fmt.Sprintf("%d deep, %ss", l.Depth, l.Policy))
	}
	if l.Validity > 0 {
		parts = append(parts, "valid "+l.Validity.String())
	}
	if l.Wake {
		parts = append(parts, "wakes")
	}
	if l.Address != "" {
		parts = append(parts, l.Address)
	}
	return strings.Join(parts, ", ")
}

func escape(s string) string {
	var b strings.Builder
	xml.EscapeText(&b, []byte(s)) // a strings.Builder does not fail
	return b.String()
}
