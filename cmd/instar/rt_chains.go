package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/instar-os/instar/internal/graph"
	"github.com/instar-os/instar/internal/realtime"
	"github.com/instar-os/instar/internal/realtime/chain"
	"github.com/instar-os/instar/internal/realtime/taskset"
)

// setVerdict is what rt check says of a set of tasks.
type setVerdict struct {
	*realtime.Report
	Chains []chainVerdict `json:"chains,omitempty"`
}

// chainVerdict is what it says of a chain. Times are nanoseconds.
type chainVerdict struct {
	Chain    string   `json:"chain"`
	Path     []string `json:"path"`
	Holds    bool     `json:"holds"`
	Reaction int64    `json:"reaction,omitempty"` // declared
	Age      int64    `json:"age,omitempty"`      // declared
	*chain.Verdict
	Why string `json:"why,omitempty"` // it does not hold
}

// judgeChains bounds the chains of a file. They rest upon their tasks: when a
// deadline is missed, nothing is proven of them.
func judgeChains(f *taskset.File, set *realtime.Set, report *realtime.Report) []chainVerdict {
	bounds := map[string]int64{}
	for i := range report.Tasks {
		if v := &report.Tasks[i]; v.Holds {
			bounds[v.Task] = v.Bound
		}
	}
	var out []chainVerdict
	for _, c := range f.Chains {
		one := chainVerdict{Chain: c.Name, Path: c.Path, Reaction: c.Reaction, Age: c.Age}
		v, err := chain.Judge(set, bounds, chain.Path{Tasks: c.Path, After: f.After, LET: c.LET})
		switch {
		case !report.Holds:
			one.Why = "a deadline is missed, upon which it may rest"
		case err != nil:
			one.Why = err.Error()
		default:
			one.Verdict = v
			one.Holds = (c.Reaction == 0 || v.Bound <= c.Reaction) && (c.Age == 0 || v.Bound <= c.Age)
			if !one.Holds {
				one.Why = "it can take longer: " + spent(v)
			}
		}
		out = append(out, one)
	}
	return out
}

// spent says where the time of a chain goes.
func spent(v *chain.Verdict) string {
	var parts []string
	for _, s := range v.Stages {
		parts = append(parts, fmt.Sprintf("%s has events each %s and a response of %s", s.Task, time.Duration(s.Period), time.Duration(s.Worst)))
	}
	return strings.Join(parts, "; ")
}

func printChains(w io.Writer, all []chainVerdict) error {
	for _, c := range all {
		text := "chain " + c.Chain + " (" + strings.Join(c.Path, ", ") + ")"
		if c.Verdict != nil {
			how := "at most"
			if c.Exact {
				how = "exactly"
			}
			text += fmt.Sprintf(": %s %s (%s)", time.Duration(c.Bound), how, c.Source)
		}
		if c.Reaction > 0 {
			text += fmt.Sprintf("; reaction within %s", time.Duration(c.Reaction))
		}
		if c.Age > 0 {
			text += fmt.Sprintf("; data not older than %s", time.Duration(c.Age))
		}
		if !c.Holds {
			text += ": not proven: " + c.Why
		}
		if _, err := fmt.Fprintln(w, text); err != nil {
			return err
		}
	}
	return nil
}

func chainPicture(f *taskset.File, set *realtime.Set, report *realtime.Report, name string) ([]byte, error) {
	for _, c := range judgeChains(f, set, report) {
		switch {
		case c.Chain != name:
		case c.Verdict == nil:
			return nil, fmt.Errorf("chain %s: %s", name, c.Why)
		default:
			return graph.Chain("Worst case of chain "+name, c.Verdict, max(c.Reaction, c.Age)), nil
		}
	}
	return nil, fmt.Errorf("the set has no chain %q", name)
}

// verdictOf returns the verdict over a task, nil when there is none.
func verdictOf(r *realtime.Report, task string) *realtime.Response {
	for i := range r.Tasks {
		if r.Tasks[i].Task == task {
			return &r.Tasks[i]
		}
	}
	return nil
}
