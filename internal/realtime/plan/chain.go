package plan

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/realtime"
	"github.com/instar-os/instar/internal/system"
)

// Stage is a task of a chain.
type Stage struct {
	Period   realtime.Time // of its events, which are regular
	Response realtime.Time // the bound, from its event
	Event    bool          // it is the chain's first, and what it reacts to is its own event
}

// Davare bounds both the reaction time of a chain and the age of its data, when
// every task takes the newest that is there at each of its jobs: what comes just
// too late for a job waits for the next one, a period later, and for its end
// (Davare et al. 2007, "Period optimization for hard real-time distributed
// automotive systems"; that the largest of both are equal: Günzel et al. 2023,
// "On the equivalence of maximum reaction time and maximum data age").
func Davare(stages []Stage) realtime.Time {
	var sum realtime.Time
	for _, s := range stages {
		if !s.Event {
			sum += s.Period
		}
		sum += s.Response
	}
	return sum
}

// chains bounds the chains of a configuration.
func (p *planner) chains(c *Configuration, cfg config.Configuration) error {
	var errs []error
	for _, ch := range cfg.Chains {
		stages := make([]Stage, 0, len(ch.Path))
		known := true
		for i, name := range ch.Path {
			t, _ := p.find(name)
			at := slices.IndexFunc(c.RealTime.Bounds, func(b system.Bound) bool { return b.Task == name })
			if known = known && at >= 0 && c.RealTime.Bounds[at].Bound > 0; known {
				stages = append(stages, Stage{int64(t.Event()), c.RealTime.Bounds[at].Bound, i == 0 && t.Period == 0})
			}
		}
		if !known {
			errs = append(errs, &Refused{ch.At, c.Name, "chain " + ch.Name, "a task of it has no bound"})
			continue
		}
		out := system.Chain{Name: ch.Name, Path: ch.Path, Links: links(cfg, ch.Path), Reaction: int64(ch.Reaction), Age: int64(ch.Age), Bound: Davare(stages)}
		for what, limit := range map[string]realtime.Time{"reaction": out.Reaction, "age": out.Age} {
			if limit > 0 && out.Bound > limit {
				errs = append(errs, &Refused{ch.At, c.Name, "chain " + ch.Name,
					fmt.Sprintf("its %s can be %s, %s more than %s: %s", what, span(out.Bound), span(out.Bound-limit), span(limit), describe(ch.Path, stages))})
			}
		}
		c.Chains = append(c.Chains, out)
	}
	if len(c.Chains) > 0 {
		c.Assumed = append(c.Assumed, "a task of a chain reads all that has come at the begin of each job, and writes by its end")
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	c.RealTime.Chains = c.Chains
	return errors.Join(errs...)
}

// describe says what each task adds.
func describe(path []string, stages []Stage) string {
	var parts []string
	for i, s := range stages {
		if s.Event {
			parts = append(parts, fmt.Sprintf("%s adds its response of %s", path[i], span(s.Response)))
		} else {
			parts = append(parts, fmt.Sprintf("%s adds its period of %s and its response of %s", path[i], span(s.Period), span(s.Response)))
		}
	}
	return strings.Join(parts, ", ")
}

// links returns the links that a chain goes over.
func links(cfg config.Configuration, path []string) []string {
	var all []string
	for i := 1; i < len(path); i++ {
		from, _, _ := strings.Cut(path[i-1], ".")
		to, _, _ := strings.Cut(path[i], ".")
		for _, l := range cfg.Links {
			if (l.Type == "sampling" || l.Type == "queueing") && l.From == from && slices.Contains(l.To, to) {
				all = append(all, l.Name)
				break
			}
		}
	}
	return all
}
