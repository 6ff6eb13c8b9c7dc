package plan

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/realtime"
	"github.com/instar-os/instar/internal/realtime/chain"
	"github.com/instar-os/instar/internal/system"
)

// chains bounds the chains of a configuration, by the least of all bounds that
// hold for how its tasks are released and communicate.
func (p *planner) chains(c *Configuration, cfg config.Configuration) error {
	bounds := map[string]realtime.Time{}
	for _, b := range c.RealTime.Bounds {
		bounds[b.Task] = b.Bound
	}
	set, after := p.declared(c.Set), p.after(cfg)
	var errs []error
	for _, ch := range cfg.Chains {
		first, _ := p.find(ch.Path[0])
		if late, ok := p.irregular(ch.Path); ok {
			errs = append(errs, &Refused{ch.At, c.Name, "chain " + ch.Name, fmt.Sprintf("the events of %s are not regular: how long data waits for its next job has no bound", late)})
			continue
		}
		v, err := chain.Judge(set, bounds, chain.Path{Tasks: ch.Path, After: after, LET: ch.Communication == "let", Late: p.latency, Event: first.Period == 0})
		if err != nil {
			errs = append(errs, &Refused{ch.At, c.Name, "chain " + ch.Name, err.Error()})
			continue
		}
		out := system.Chain{Name: ch.Name, Path: ch.Path, Links: links(cfg, ch.Path), Reaction: int64(ch.Reaction), Age: int64(ch.Age), Bound: v.Bound, Source: v.Source}
		for what, limit := range map[string]realtime.Time{"reaction": out.Reaction, "age": out.Age} {
			if limit > 0 && out.Bound > limit {
				errs = append(errs, &Refused{ch.At, c.Name, "chain " + ch.Name,
					fmt.Sprintf("its %s can be %s, %s more than %s (%s): %s", what, span(out.Bound), span(out.Bound-limit), span(limit), v.Source, describe(v.Stages))})
			}
		}
		c.Chains = append(c.Chains, out)
	}
	if len(c.Chains) > 0 {
		c.Assumed = append(c.Assumed, "a task of a chain reads all that has come at the begin of each job, or later in it, and writes by its end")
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	c.RealTime.Chains = c.Chains
	return errors.Join(errs...)
}

// irregular returns a task of a path behind the first that waits for events which
// have only a least distance.
func (p *planner) irregular(path []string) (string, bool) {
	for i, name := range path[1:] {
		if t, _ := p.find(name); t.Period == 0 && t.After != path[i] {
			return name, true
		}
	}
	return "", false
}

// declared returns the set with the deadlines that tasks were declared with,
// instead of those that the kernel gets: logical execution times end there.
func (p *planner) declared(s *realtime.Set) *realtime.Set {
	out := *s
	out.Tasks = slices.Clone(s.Tasks)
	for i := range out.Tasks {
		if t := &out.Tasks[i]; t.Policy == realtime.Deadline {
			t.Deadline = p.declaredDue(t.Name)
		}
	}
	return &out
}

// describe says what each task adds.
func describe(stages []chain.Stage) string {
	var parts []string
	for _, s := range stages {
		if s.Event {
			parts = append(parts, fmt.Sprintf("%s adds up to its response of %s", s.Task, span(s.Worst)))
		} else {
			parts = append(parts, fmt.Sprintf("%s adds up to its period of %s and its response of %s", s.Task, span(s.Period), span(s.Worst)))
		}
	}
	return strings.Join(parts, "; ")
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
