package graph

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/instar-os/instar/internal/wire"
)

// Measures of a boot's picture, in pixels.
const (
	bootChart  = 760 // the time axis
	bootRow    = 22
	bootBar    = 14
	bootAfter  = 150 // room for a duration behind the last bar
	bootHeader = 92  // title, facts, axis
	bootFoot   = 12  // the word below the mark of health
	maxTicks   = 9
)

const bootStyle = style + `
  .axis { stroke: #d0d7de; stroke-width: 1; }
  .firmware { fill: #8250df; } .loader { fill: #bf8700; } .kernel { fill: #1a7f37; }
  .step { fill: #0969da; } .start { fill: #b6e3ff; stroke: #0969da; } .fail { fill: #cf222e; }
  .mark { stroke: #1a7f37; stroke-width: 1.5; stroke-dasharray: 4 3; } .healthy { fill: #1a7f37; }
  @media (prefers-color-scheme: dark) {
    .axis { stroke: #30363d; }
    .firmware { fill: #a371f7; } .loader { fill: #d29922; } .kernel { fill: #3fb950; }
    .step { fill: #4493f8; } .start { fill: #0c2d6b; stroke: #4493f8; } .fail { fill: #f85149; }
    .mark { stroke: #3fb950; } .healthy { fill: #3fb950; }
  }
`

// A span is a row of the picture.
type span struct {
	name, class, note string
	begin, end        time.Duration
	section           bool // a line above it
}

// Boot draws the time line of a boot: what ran before init, init's steps, and
// each container from its start to its health. The same record gives the same
// bytes.
func Boot(machine string, b wire.BootRecord) []byte {
	spans := bootSpans(b.Entries)
	from, to := time.Duration(0), time.Millisecond
	label := 0
	for _, s := range spans {
		from, to = min(from, s.begin), max(to, s.end)
		label = max(label, 7*len([]rune(s.name)))
	}
	label = min(label, 360) + margin
	left := margin + label
	width, height := left+bootChart+bootAfter, bootHeader+bootRow*len(spans)+margin+bootFoot
	x := func(at time.Duration) float64 { return float64(left) + float64(at-from)/float64(to-from)*bootChart }
	var out bytes.Buffer
	title := fmt.Sprintf("Boot %d of %s", b.Number, machine)
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img">`+"\n", width, height, width, height)
	fmt.Fprintf(&out, "<title>%s</title>\n<style>%s</style>\n", escape(title), bootStyle)
	fmt.Fprintf(&out, `<text class="title" x="%d" y="32">%s</text>`+"\n", margin, escape(title))
	fmt.Fprintf(&out, `<text class="what" x="%d" y="52">%s</text>`+"\n", margin, escape(bootFacts(b)))
	for at, step := tick(from, to); at <= to; at += step {
		fmt.Fprintf(&out, `<line class="axis" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/>`+"\n", x(at), bootHeader-8, x(at), height-margin/2-bootFoot)
		fmt.Fprintf(&out, `<text class="what" x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", x(at), bootHeader-14, seconds(at))
	}
	if b.Healthy > 0 && b.Healthy <= to {
		at := x(b.Healthy)
		fmt.Fprintf(&out, `<line class="mark" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/>`+"\n", at, bootHeader-8, at, height-margin/2-bootFoot)
		fmt.Fprintf(&out, `<text class="what healthy" x="%.1f" y="%d" text-anchor="middle">healthy</text>`+"\n", at, height-margin/2)
	}
	for i, s := range spans {
		s.draw(&out, margin, bootHeader+bootRow*i, width, x)
	}
	if len(spans) == 0 {
		fmt.Fprintf(&out, `<text class="what" x="%d" y="%d">Nothing is known of what this boot did.</text>`+"\n", margin, bootHeader+10)
	}
	out.WriteString("</svg>\n")
	return out.Bytes()
}

func (s span) draw(out *bytes.Buffer, left, y, width int, x func(time.Duration) float64) {
	if s.section {
		fmt.Fprintf(out, `<line class="axis" x1="%d" y1="%d" x2="%d" y2="%d"/>`+"\n", left, y-2, width-margin, y-2)
	}
	fmt.Fprintf(out, `<text x="%d" y="%d">%s</text>`+"\n", left, y+bootBar, escape(shorten(s.name, 50)))
	fmt.Fprintf(out, `<rect class="%s" x="%.1f" y="%d" width="%.1f" height="%d" rx="2"/>`+"\n", s.class, x(s.begin), y+3, max(x(s.end)-x(s.begin), 2), bootBar)
	fmt.Fprintf(out, `<text class="what label" x="%.1f" y="%d">%s</text>`+"\n", x(s.end)+6, y+bootBar, escape(shorten(s.note, 22)))
}

func shorten(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// bootFacts is the line below the title.
func bootFacts(b wire.BootRecord) string {
	facts := "configuration " + b.Configuration + ", system " + b.System[:min(12, len(b.System))] + ", began by " + string(b.Start)
	if b.Healthy > 0 {
		facts += ", healthy after " + b.Healthy.Round(time.Millisecond).String() + " of the kernel"
	}
	if b.End != "" {
		facts += ", ended by " + string(b.End)
	}
	return facts
}

// bootSpans makes rows of the entries: stages, steps by their begin, containers
// by their first start.
func bootSpans(entries []wire.BootEntry) []span {
	var stages, steps, containers []span
	index := map[string]int{}
	for _, e := range entries {
		s := span{name: e.Name, begin: e.At, end: e.At + e.Took, note: brief(e.Took)}
		switch e.Kind {
		case wire.EntryStage:
			s.class = map[string]string{"firmware": "firmware", "loader": "loader"}[e.Name]
			s.class = cmp.Or(s.class, "kernel")
			stages = append(stages, s)
		case wire.EntryStep:
			if s.class = "step"; e.Text != "" {
				s.class, s.note = "fail", "failed after "+brief(e.Took)
			}
			steps = append(steps, s)
		case wire.EntryContainer:
			containers = life(containers, index, e)
		}
	}
	for _, part := range [][]span{steps, containers} {
		slices.SortStableFunc(part, func(a, b span) int { return cmp.Compare(a.begin, b.begin) })
		if len(part) > 0 {
			part[0].section = true
		}
	}
	return slices.Concat(stages, steps, containers)
}

// life follows a container from its first start to where it first comes to.
func life(all []span, index map[string]int, e wire.BootEntry) []span {
	i, known := index[e.Name]
	switch {
	case !known && e.State == wire.Starting:
		index[e.Name] = len(all)
		return append(all, span{name: e.Name, class: "start", begin: e.At, end: e.At, note: string(wire.Starting)})
	case !known || all[i].class != "start" || all[i].note != string(wire.Starting):
		return all
	}
	s := &all[i]
	switch e.State {
	case wire.Healthy, wire.Done, wire.Failed, wire.Unhealthy, wire.Backoff:
		s.end = e.At
		s.note = fmt.Sprintf("%s in %s", e.State, brief(s.end-s.begin))
		if e.State != wire.Healthy && e.State != wire.Done {
			s.class = "fail"
		}
	}
	return all
}

// tick returns the first mark of the axis and their distance: 1, 2 or 5 times a
// power of ten.
func tick(from, to time.Duration) (first, step time.Duration) {
	step = time.Millisecond
	for i := 0; (to-from)/step > maxTicks; i++ {
		step = step * []time.Duration{2, 5, 2}[i%3] / []time.Duration{1, 2, 1}[i%3]
	}
	first = from / step * step
	if first < from {
		first += step
	}
	return first, step
}

// seconds writes a mark of the axis.
func seconds(at time.Duration) string {
	return fmt.Sprintf("%g s", float64(at.Milliseconds())/1000)
}

// brief rounds a duration to three digits or so.
func brief(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		d = d.Round(100 * time.Millisecond)
	case d >= time.Second:
		d = d.Round(10 * time.Millisecond)
	case d >= time.Millisecond:
		d = d.Round(100 * time.Microsecond)
	default:
		d = d.Round(time.Microsecond)
	}
	return d.String()
}
