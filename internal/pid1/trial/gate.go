package trial

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/instar-os/instar/internal/reason"
)

// A Gate is what a boot must pass: everything holds for After without a break,
// before Within is over. It is told from time to time what does not hold. Its
// times count from init's start, on a clock that nobody sets.
type Gate struct {
	After, Within time.Duration

	seen     bool          // Observe was called
	holds    bool          // everything did, the last time
	since    time.Duration // since then
	once     bool          // everything has held at some time
	restarts int           // of all containers, the last time
	falls    int           // restarts seen
	missing  []string
}

// Passage is what a Gate says.
type Passage string

// The passages.
const (
	Waiting Passage = "waiting"
	Passed  Passage = "passed"
	Late    Passage = "late" // and it never will
)

// crashes is how many restarts of containers make a late boot a crash loop.
const crashes = 3

// Observe takes what does not hold at a time, and how often containers have
// been started again so far: one that fell and stands again breaks the time as
// one that lies does. Whoever looks only from time to time may miss the fall
// itself, not its trace.
func (g *Gate) Observe(at time.Duration, missing []string, restarts int) Passage {
	fell := g.seen && restarts != g.restarts
	if restarts > g.restarts {
		g.falls += restarts - g.restarts
	}
	if holds := len(missing) == 0; !holds || fell || !g.holds {
		g.since, g.holds = at, holds
	}
	g.seen, g.restarts, g.missing = true, restarts, slices.Clone(missing)
	g.once = g.once || g.holds
	switch {
	case g.holds && at-g.since >= g.After:
		return Passed
	case at >= g.Within:
		return Late
	}
	return Waiting
}

// Held is for how long everything has held.
func (g *Gate) Held(at time.Duration) time.Duration {
	if !g.holds {
		return 0
	}
	return at - g.since
}

// Missing is what did not hold the last time.
func (g *Gate) Missing() []string { return slices.Clone(g.missing) }

// Verdict says why a boot is late.
func (g *Gate) Verdict() (reason.Code, string) {
	what := strings.Join(g.missing, "; ")
	switch {
	case g.falls >= crashes:
		return reason.CrashLoop, join(fmt.Sprintf("containers were started again %d times in %s", g.falls, g.Within), what)
	case g.once:
		return reason.HealthLost, join(fmt.Sprintf("not healthy for %s without a break within %s", g.After, g.Within), what)
	}
	return reason.HealthTimeout, join(fmt.Sprintf("not healthy within %s", g.Within), what)
}
