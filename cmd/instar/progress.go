package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/instar-os/instar/internal/assemble"
)

// progress shows the step at hand on one line of a terminal, with the time
// that is left where that can be told. Off a terminal it shows nothing.
type progress struct {
	mu    sync.Mutex
	w     io.Writer
	live  bool
	now   func() time.Time
	stage string
	began time.Time // of the stage
	last  time.Time // of the last line
	shown bool
}

func newProgress(w io.Writer, live bool, now func() time.Time) *progress {
	return &progress{w: w, live: live, now: now}
}

// redraw is how often the line changes within a stage.
const redraw = 100 * time.Millisecond

func (p *progress) event(e assemble.Event) {
	if !p.live {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if e.Stage != p.stage {
		p.stage, p.began, p.last = e.Stage, now, time.Time{}
	}
	if now.Sub(p.last) < redraw {
		return
	}
	p.last, p.shown = now, true
	fmt.Fprintf(p.w, "\r\x1b[K%s", line(e, now.Sub(p.began)))
}

// done clears the line.
func (p *progress) done() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.shown = false
	}
}

func line(e assemble.Event, spent time.Duration) string {
	s := fmt.Sprintf("%-11s", e.Stage)
	switch {
	case e.Total > 0 && e.Bytes:
		s += fmt.Sprintf(" %s of %s", bytesText(e.Done), bytesText(e.Total))
	case e.Total > 0:
		s += fmt.Sprintf(" %d of %d", e.Done, e.Total)
	}
	if left, ok := eta(e.Done, e.Total, spent); ok {
		s += fmt.Sprintf("  %s left", left.Round(time.Second))
	}
	if e.Item != "" {
		s += "  " + e.Item
	}
	return truncate(s, 78)
}

// eta extrapolates from what is done; early guesses are not shown.
func eta(done, total int64, spent time.Duration) (time.Duration, bool) {
	if total <= 0 || done <= 0 || done >= total || spent < time.Second {
		return 0, false
	}
	return time.Duration(float64(spent) * float64(total-done) / float64(done)), true
}

func truncate(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-1]) + "…"
}

// bytesText writes a number of bytes with three significant digits.
func bytesText(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	v, suffix := float64(n), ""
	for _, suffix = range []string{"KiB", "MiB", "GiB", "TiB", "PiB"} {
		if v /= unit; v < unit {
			break
		}
	}
	switch {
	case v < 10:
		return fmt.Sprintf("%.2f %s", v, suffix)
	case v < 100:
		return fmt.Sprintf("%.1f %s", v, suffix)
	}
	return fmt.Sprintf("%.0f %s", v, suffix)
}
