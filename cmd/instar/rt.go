package main

import (
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/instar-os/instar/internal/realtime"
)

func rtCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rt",
		Short: "Prove that tasks meet their deadlines, and watch them",
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(rtCheckCommand(a), rtMarginsCommand(a), rtAssignCommand(a), rtBudgetCommand(a), rtPlotCommand(a),
		rtReportCommand(a), rtWatchCommand(a), rtCalibrateCommand(a))
	return cmd
}

func rtCheckCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "check [FILE]",
		Short: "Analyse a machine, or a set of tasks",
		Long: `Reads a machine definition (by default instar.yaml), or a set of tasks (YAML,
JSON or CSV), computes the longest response time of each task, and says which
deadlines are missed and by which job. Each verdict has a certificate that was
verified apart from the analysis; -o json prints it. Ends with 1 when a deadline
can be missed.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{a.file}
			}
			data, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			if isDefinition.Match(data) {
				a.file = args[0]
				return a.checkMachine()
			}
			return a.checkSet(args[0], data)
		},
	}
}

func printVerdicts(w io.Writer, r *realtime.Report) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "CPU\tTASK\tRESPONSE\tDEADLINE\tSLACK\tVERDICT")
	for i := range r.Tasks {
		v := &r.Tasks[i]
		response, slack, verdict := "-", "-", "missed"
		if v.Bound > 0 {
			response, slack = time.Duration(v.Bound).String(), time.Duration(v.Slack()).String()
		}
		if v.Holds {
			verdict = "met, at most"
			if v.Exact {
				verdict = "met, exactly"
			}
		}
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\n", v.CPU, v.Task, response, time.Duration(v.Deadline), slack, verdict)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for i := range r.Tasks {
		if v := &r.Tasks[i]; v.Why != "" {
			fmt.Fprintf(w, "%s: %s\n", v.Task, v.Why)
		}
	}
	for _, k := range r.Kernel {
		word := "accepts"
		if !k.Accepts {
			word = "refuses"
		}
		fmt.Fprintf(w, "the kernel %s the deadline tasks of CPU %d: %.1f%% of the CPU, its limit is %.1f%%\n",
			word, k.CPU, float64(k.Used)*100/(1<<20), float64(k.Limit)*100/(1<<20))
	}
	return printTerms(w, r.Conditional, r.Assumptions)
}

// printTerms says on what a verdict rests.
func printTerms(w io.Writer, conditional bool, assumptions []string) error {
	if conditional {
		fmt.Fprintln(w, "this holds on the condition that the overheads are as the file says: they were not measured")
	}
	fmt.Fprintln(w, "assumed:")
	for _, s := range assumptions {
		fmt.Fprintf(w, "- %s\n", s)
	}
	return nil
}
