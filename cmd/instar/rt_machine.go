package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/instar-os/instar/internal/realtime/plan"
	"github.com/instar-os/instar/internal/system"
)

// isDefinition tells a machine from a set of tasks.
var isDefinition = regexp.MustCompile(`(?m)^["{ ]*machine"?:`)

// checkMachine analyses every configuration of the definition.
func (a *app) checkMachine() error {
	def, err := a.definition()
	if err != nil {
		return err
	}
	plans, refused := plan.Make(def, plan.Options{Read: func(name string) ([]byte, error) {
		return os.ReadFile(filepath.Join(a.dir(), filepath.FromSlash(name)))
	}})
	if len(plans) == 0 {
		if refused == nil {
			refused = errors.New("no configuration has tasks; instar explain containers.*.tasks says how they are declared")
		}
		return refused
	}
	if err := a.print(plans, func(w io.Writer) error { return printPlans(w, plans) }); err != nil {
		return err
	}
	return refused
}

func printPlans(w io.Writer, plans []*plan.Configuration) error {
	for i, p := range plans {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "configuration %s\n", p.Name)
		report := *p.Report
		report.Tasks = p.Verdicts()
		report.Assumptions = append(withoutConditions(report.Assumptions), p.Assumed...)
		report.Conditional = false // the plan says on what condition
		if err := printVerdicts(w, &report); err != nil {
			return err
		}
		for _, c := range p.Chains {
			fmt.Fprintln(w, describeChain(c))
		}
		for _, s := range p.Conditions {
			fmt.Fprintf(w, "this holds on the condition that %s\n", s)
		}
		if len(p.Command) > 0 {
			fmt.Fprintf(w, "the kernel is started with %s\n", strings.Join(p.Command, " "))
		}
	}
	return nil
}

// withoutConditions leaves out what the plan says better.
func withoutConditions(all []string) (out []string) {
	for _, s := range all {
		if !strings.Contains(s, "nobody measured") && !strings.Contains(s, "RT throttling") {
			out = append(out, s)
		}
	}
	return out
}

func describeChain(c system.Chain) string {
	text := fmt.Sprintf("chain %s (%s): %s at most (%s)", c.Name, strings.Join(c.Path, ", "), time.Duration(c.Bound), c.Source)
	if c.Reaction > 0 {
		text += fmt.Sprintf("; reaction within %s", time.Duration(c.Reaction))
	}
	if c.Age > 0 {
		text += fmt.Sprintf("; data not older than %s", time.Duration(c.Age))
	}
	return text
}
