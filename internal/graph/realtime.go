package graph

import (
	"bytes"
	"fmt"
	"time"

	"github.com/instar-os/instar/internal/realtime"
	"github.com/instar-os/instar/internal/realtime/chain"
	"github.com/instar-os/instar/internal/realtime/schedule"
)

const realtimeStyle = style + `
  .axis { stroke: #d0d7de; stroke-width: 1; }
  .due { stroke: #cf222e; stroke-width: 2; } .room { fill: #eaeef2; }
  .run { fill: #0969da; } .met { fill: #1a7f37; } .miss { fill: #cf222e; } .wait { fill: #b6e3ff; stroke: #0969da; }
  .held { fill: #bf8700; } .away { fill: #d0d7de; opacity: .6; } .ready { stroke: currentColor; stroke-width: 1.5; }
  @media (prefers-color-scheme: dark) {
    .axis { stroke: #30363d; }
    .due { stroke: #f85149; } .room { fill: #21262d; }
    .run { fill: #4493f8; } .met { fill: #3fb950; } .miss { fill: #f85149; } .wait { fill: #0c2d6b; stroke: #4493f8; }
    .held { fill: #d29922; } .away { fill: #30363d; }
  }
`

// A chart is rows along a time axis.
type chart struct {
	out           bytes.Buffer
	left, width   int // of the axis
	to            realtime.Time
	total, height int
}

// Measures of charts of time, in pixels.
const (
	chartWidth = 720
	chartAfter = 260 // room for words behind the axis
	chartRow   = 30
	chartBar   = 16
)

func newChart(title, facts string, names []string, to realtime.Time, rows int) *chart {
	label := 0
	for _, n := range names {
		label = max(label, min(len([]rune(n)), 40))
	}
	c := &chart{left: 2*margin + charWidth*label, width: chartWidth, to: max(to, 1)}
	c.total, c.height = c.left+chartWidth+chartAfter, bootHeader+chartRow*rows+margin
	fmt.Fprintf(&c.out, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img">`+"\n", c.total, c.height, c.total, c.height)
	fmt.Fprintf(&c.out, "<title>%s</title>\n<style>%s</style>\n", escape(title), realtimeStyle)
	fmt.Fprintf(&c.out, `<text class="title" x="%d" y="32">%s</text>`+"\n", margin, escape(title))
	fmt.Fprintf(&c.out, `<text class="what" x="%d" y="52">%s</text>`+"\n", margin, escape(facts))
	step := realtime.Time(1)
	for i := 0; c.to/step > maxTicks; i++ {
		step = step * []realtime.Time{2, 5, 2}[i%3] / []realtime.Time{1, 2, 1}[i%3]
	}
	for at := realtime.Time(0); at <= c.to; at += step {
		fmt.Fprintf(&c.out, `<line class="axis" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/>`+"\n", c.x(at), bootHeader-8, c.x(at), c.height-margin/2)
		fmt.Fprintf(&c.out, `<text class="what" x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", c.x(at), bootHeader-14, time.Duration(at))
	}
	return c
}

func (c *chart) x(at realtime.Time) float64 {
	return float64(c.left) + float64(at)/float64(c.to)*float64(c.width)
}

func (c *chart) y(row int) int { return bootHeader + chartRow*row }

func (c *chart) name(row int, name string) {
	fmt.Fprintf(&c.out, `<text class="name" x="%d" y="%d">%s</text>`+"\n", margin, c.y(row)+chartBar+2, escape(shorten(name, 40)))
}

func (c *chart) bar(row int, class string, from, to realtime.Time) {
	from, to = max(from, 0), min(to, c.to)
	fmt.Fprintf(&c.out, `<rect class="%s" x="%.1f" y="%d" width="%.1f" height="%d" rx="2"/>`+"\n", class, c.x(from), c.y(row)+4, max(c.x(to)-c.x(from), 1), chartBar)
}

// mark is a line through a row.
func (c *chart) mark(row int, class string, at realtime.Time) {
	if at <= c.to && at >= 0 {
		fmt.Fprintf(&c.out, `<line class="%s" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/>`+"\n", class, c.x(at), c.y(row), c.x(at), c.y(row)+chartBar+8)
	}
}

func (c *chart) note(row int, text string) {
	fmt.Fprintf(&c.out, `<text class="what" x="%d" y="%d">%s</text>`+"\n", c.left+c.width+12, c.y(row)+chartBar+1, escape(text))
}

func (c *chart) end() []byte {
	c.out.WriteString("</svg>\n")
	return c.out.Bytes()
}

// Responses draws the proven response times of tasks against their deadlines.
func Responses(title string, r *realtime.Report) []byte {
	var names []string
	var to realtime.Time
	for i := range r.Tasks {
		v := &r.Tasks[i]
		names = append(names, v.Task)
		to = max(to, v.Deadline, v.Bound)
	}
	facts := "all deadlines are met"
	switch {
	case !r.Holds:
		facts = "not all deadlines are met"
	case r.Conditional:
		facts = "all deadlines are met, if the overheads are as declared: they were not measured"
	}
	c := newChart(title, facts, names, to, len(names))
	for i := range r.Tasks {
		v := &r.Tasks[i]
		c.name(i, v.Task)
		c.bar(i, "room", 0, v.Deadline)
		class, note := "met", fmt.Sprintf("CPU %d: %s of %s, %s to spare", v.CPU, time.Duration(v.Bound), time.Duration(v.Deadline), time.Duration(v.Slack()))
		switch {
		case !v.Holds && v.Bound > v.Deadline:
			class, note = "miss", fmt.Sprintf("CPU %d: %s late", v.CPU, time.Duration(v.Bound-v.Deadline))
		case !v.Holds:
			class, note = "miss", fmt.Sprintf("CPU %d: not proven", v.CPU)
		}
		if v.Bound > v.Deadline {
			c.bar(i, "run", 0, v.Deadline)
			c.bar(i, class, v.Deadline, v.Bound)
		} else if v.Bound > 0 {
			c.bar(i, class, 0, v.Bound)
		}
		c.mark(i, "due", v.Deadline)
		c.note(i, note)
	}
	return c.end()
}

// Schedule draws what happens on a processor from a critical instant on: upright
// lines are releases, red ones deadlines, light bars what waits.
func Schedule(title string, s *schedule.Chart) []byte {
	var names []string
	for _, r := range s.Rows {
		names = append(names, r.Task)
	}
	c := newChart(title, fmt.Sprintf("CPU %d from the critical instant of %s on, with everything as late and as long as it can be", s.CPU, s.Task), names, s.Until, len(names))
	for i, r := range s.Rows {
		for _, a := range s.Away {
			c.bar(i, "away", a.From, a.To)
		}
		c.name(i, r.Task)
		var longest realtime.Time
		late := 0
		for _, j := range r.Jobs {
			end := j.End
			if end == 0 {
				end = s.Until
			} else {
				longest = max(longest, end-j.Event)
			}
			if c.bar(i, "wait", j.Ready, end); j.Late(s.Until) {
				late++
			}
		}
		for _, run := range r.Runs {
			class := "run"
			if run.Blocked {
				class = "held"
			}
			c.bar(i, class, run.From, run.To)
		}
		for _, j := range r.Jobs {
			c.mark(i, "ready", j.Ready)
			c.mark(i, "due", j.Due)
			if j.Late(s.Until) && j.Due < s.Until {
				end := j.End
				if end == 0 {
					end = s.Until
				}
				fmt.Fprintf(&c.out, `<rect class="miss" x="%.1f" y="%d" width="%.1f" height="4"/>`+"\n", c.x(j.Due), c.y(i)+chartBar+2, c.x(min(end, s.Until))-c.x(j.Due))
			}
		}
		switch {
		case late > 0:
			c.note(i, fmt.Sprintf("late jobs: %d", late))
		case longest > 0:
			c.note(i, "longest response "+time.Duration(longest).String())
		}
	}
	return c.end()
}

// Bucket counts responses up to a time that no bucket before counts.
type Bucket struct {
	UpTo  realtime.Time
	Count uint64
}

// Histogram draws measured response times of a task beside what was proven.
func Histogram(title, task string, buckets []Bucket, bound, deadline realtime.Time) []byte {
	to := max(bound, deadline)
	var most, all uint64
	for _, b := range buckets {
		if b.Count > 0 {
			to = max(to, b.UpTo)
		}
		most, all = max(most, b.Count), all+b.Count
	}
	to += to / 20
	const rows = 8
	c := newChart(title, fmt.Sprintf("%d jobs of %s, measured; blue the proven bound, red the deadline", all, task), []string{"jobs", fmt.Sprint("up to ", most)}, to, rows)
	base, from := c.y(rows), realtime.Time(0)
	c.name(0, "jobs")
	fmt.Fprintf(&c.out, `<text class="what" x="%d" y="%d">up to %d</text>`+"\n", margin, c.y(1)+chartBar, most)
	for _, b := range buckets {
		if h := float64(b.Count) / float64(max(most, 1)) * float64(base-c.y(0)); b.Count > 0 {
			class := "met"
			if bound > 0 && from >= bound {
				class = "miss"
			}
			fmt.Fprintf(&c.out, `<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`+"\n", class, c.x(from), float64(base)-max(h, 2), max(c.x(b.UpTo)-c.x(from)-1, 1), max(h, 2))
		}
		from = b.UpTo
	}
	if bound > 0 {
		fmt.Fprintf(&c.out, `<rect class="run" x="%.1f" y="%d" width="2" height="%d"/>`+"\n", c.x(bound)-1, c.y(0), base-c.y(0))
	}
	if deadline > 0 {
		fmt.Fprintf(&c.out, `<line class="due" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/>`+"\n", c.x(deadline), c.y(0), c.x(deadline), base)
	}
	if c.note(0, "nothing is proven"); bound > 0 {
		c.note(0, "bound "+time.Duration(bound).String())
	}
	c.note(1, "deadline "+time.Duration(deadline).String())
	return c.end()
}

// Chain draws where the time of a chain's worst case goes, against its limit (0:
// none).
func Chain(title string, v *chain.Verdict, limit realtime.Time) []byte {
	var names []string
	for _, s := range v.Stages {
		names = append(names, s.Task)
	}
	how := ""
	if v.Exact {
		how = ", exactly"
	}
	general := chain.Davare(v.Stages)
	facts := fmt.Sprintf("data is through within %s%s (%s)", time.Duration(v.Bound), how, v.Source)
	if v.Bound < general {
		facts += fmt.Sprintf("; bars show the general worst case of %s", time.Duration(general))
	}
	c := newChart(title, facts, names, max(general, limit), len(names))
	at := realtime.Time(0)
	for i, s := range v.Stages {
		c.name(i, s.Task)
		wait := s.Period
		if s.Event {
			wait = 0
		}
		c.bar(i, "wait", at, at+wait)
		c.bar(i, "run", at+wait, at+wait+s.Worst)
		at += wait + s.Worst
		c.note(i, fmt.Sprintf("%s and %s", time.Duration(wait), time.Duration(s.Worst)))
		c.mark(i, "ready", v.Bound)
		if limit > 0 {
			c.mark(i, "due", limit)
		}
	}
	return c.end()
}
