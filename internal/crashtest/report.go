package crashtest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Report is what a level of the bench has tried and found.
type Report struct {
	Level     string         `json:"level"`
	Options   Options        `json:"options"`
	States    int64          `json:"states"`
	Distinct  int64          `json:"distinct"`
	Faults    int            `json:"faults"`
	Lies      int            `json:"lies"`
	Caught    int            `json:"caught"` // of Mutants
	Scenarios []*Result      `json:"scenarios"`
	Mutants   []MutantResult `json:"mutants"` // each call once, whatever the scenarios that make it
	Excused   []Excuse       `json:"excused"`
}

// Excuse says why a mutant need not be caught.
type Excuse struct {
	Site
	Why string `json:"why"`
}

// Finish sums up. Of a mutant of several scenarios, one that caught it counts.
func (r *Report) Finish() {
	for _, s := range r.Scenarios {
		r.States += s.States
		r.Distinct += s.Distinct
		r.Faults += s.Faults
		r.Lies += s.Lies
	}
	slices.SortFunc(r.Scenarios, func(a, b *Result) int { return cmp.Compare(a.Scenario, b.Scenario) })
	best := map[Site]MutantResult{}
	for _, m := range r.Mutants {
		if old, ok := best[m.Site]; !ok || m.Caught && !old.Caught {
			best[m.Site] = m
		}
	}
	r.Mutants = nil
	for _, m := range best {
		r.Mutants = append(r.Mutants, m)
		if m.Caught {
			r.Caught++
		}
	}
	slices.SortFunc(r.Mutants, func(a, b MutantResult) int { return cmp.Compare(a.String(), b.String()) })
}

// Write writes the report as name.json and, for people, name.md.
func (r *Report) Write(name string) error { return write(name, r, r.text()) }

func (r *Report) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Power cuts, level %s\n\n%d crashed states, %d of them different; %d calls were made to fail, %d writes were lost; %d of %d mutants caught, %d excused. Seed %d.\n\n",
		r.Level, r.States, r.Distinct, r.Faults, r.Lies, r.Caught, len(r.Mutants), len(r.Excused), r.Options.Seed)
	b.WriteString("| scenario | events | syncs | states | different | of a second cut | outcomes | faults | lies |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, s := range r.Scenarios {
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %d | %s | %d | %d |\n", s.Scenario, s.Events, s.Syncs, s.States, s.Distinct, s.Again, outcomes(s.Outcomes), s.Faults, s.Lies)
	}
	for _, s := range r.Scenarios {
		if s.Failure != nil {
			fmt.Fprintf(&b, "\n**%s failed**\n\n```\n%v\n```\n", s.Scenario, s.Failure)
		}
	}
	if len(r.Mutants) > 0 {
		b.WriteString("\n| call left out | noticed |\n|---|---|\n")
	}
	for _, m := range r.Mutants {
		how := "no"
		if m.Caught {
			how = m.Scenario + ": " + m.How
		}
		for _, e := range r.Excused {
			if e.Site == m.Site {
				how = "excused: " + e.Why
			}
		}
		fmt.Fprintf(&b, "| %s | %s |\n", m.Site, strings.ReplaceAll(how, "|", "/"))
	}
	return b.String()
}

// RealReport is what level 1 has tried and found.
type RealReport struct {
	Options RealOptions   `json:"options"`
	States  int           `json:"states"`
	Faults  int           `json:"faults"`
	Runs    []*RealResult `json:"runs"`
}

// Write writes the report as name.json and, for people, name.md.
func (r *RealReport) Write(name string) error {
	slices.SortFunc(r.Runs, func(a, b *RealResult) int {
		return cmp.Or(cmp.Compare(a.Medium, b.Medium), cmp.Compare(a.Scenario, b.Scenario))
	})
	var b strings.Builder
	b.WriteString("| file system | scenario | writes | flushes | states | of them checked by fsck | failed operations | space ran out | superblocks mended | outcomes |\n|---|---|---|---|---|---|---|---|---|---|\n")
	for _, s := range r.Runs {
		r.States += s.States
		r.Faults += s.Faults
		fmt.Fprintf(&b, "| %s | %s | %d | %d | %d | %d | %d | %d | %d | %s |\n", s.Medium, s.Scenario, s.Writes, s.Flushes, s.States, s.Checked, s.Faults, s.Spaces, s.Mended, outcomes(s.Outcomes))
		if s.Failure != "" {
			fmt.Fprintf(&b, "| | **failed: %s** |\n", s.Failure)
		}
	}
	text := fmt.Sprintf("# Power cuts, level 1\n\n%d crashed states mounted on real file systems, %d writes and flushes failed.\n\n%s", r.States, r.Faults, b.String())
	return write(name, r, text)
}

func outcomes(m map[string]int) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, fmt.Sprintf("%s %d", k, m[k]))
	}
	return strings.Join(out, ", ")
}

func write(name string, v any, text string) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(name+".json", append(b, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(name+".md", []byte(text), 0o644)
}
