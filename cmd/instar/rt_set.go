package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/instar-os/instar/internal/durable"
	"github.com/instar-os/instar/internal/graph"
	"github.com/instar-os/instar/internal/realtime"
	"github.com/instar-os/instar/internal/realtime/chain"
	"github.com/instar-os/instar/internal/realtime/check"
	"github.com/instar-os/instar/internal/realtime/fit"
	"github.com/instar-os/instar/internal/realtime/global"
	"github.com/instar-os/instar/internal/realtime/schedule"
	"github.com/instar-os/instar/internal/realtime/taskset"
)

var (
	errMissed    = errors.New("not all deadlines are met")
	errChain     = errors.New("not all chains keep their bounds")
	errUntrusted = errors.New("the analysis is not to be trusted: its certificate does not hold")
)

func readSet(name string) (*taskset.File, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return taskset.Parse(name, data)
}

// checkSet analyses a file of tasks.
func (a *app) checkSet(name string, data []byte) error {
	f, err := taskset.Parse(name, data)
	if err != nil {
		return err
	}
	if f.Shared > 0 {
		return a.checkShared(f.Global())
	}
	set, report, err := analyse(f)
	if err != nil {
		return err
	}
	all := setVerdict{Report: report, Chains: judgeChains(f, set, report)}
	if err := a.print(all, func(w io.Writer) error {
		if err := printVerdicts(w, report); err != nil {
			return err
		}
		return printChains(w, all.Chains)
	}); err != nil {
		return err
	}
	if !report.Holds {
		return errMissed
	}
	if slices.ContainsFunc(all.Chains, func(c chainVerdict) bool { return !c.Holds }) {
		return errChain
	}
	return nil
}

// analyse returns a verified report over tasks that stay on their processors.
func analyse(f *taskset.File) (*realtime.Set, *realtime.Report, error) {
	set := &f.Set
	report, err := realtime.Analyse(set)
	if len(f.After) > 0 {
		set, report, err = chain.Propagate(set, f.After, 0)
	}
	if err != nil {
		return nil, nil, err
	}
	if err := check.Report(set, report); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errUntrusted, err)
	}
	return set, report, nil
}

func (a *app) checkShared(set *global.Set) error {
	report, err := global.Analyse(set)
	if err != nil {
		return err
	}
	if err := check.Global(set, report); err != nil {
		return fmt.Errorf("%w: %w", errUntrusted, err)
	}
	if err := a.print(report, func(w io.Writer) error { return printShared(w, set, report) }); err != nil {
		return err
	}
	if !report.Holds {
		return errMissed
	}
	return nil
}

func printShared(w io.Writer, set *global.Set, r *global.Report) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "TASK\tRESPONSE\tDEADLINE\tVERDICT")
	for i := range r.Tasks {
		v := &r.Tasks[i]
		response, verdict := "-", "not proven"
		switch {
		case v.Bound > 0:
			response = time.Duration(v.Bound).String()
		case v.Holds:
			response = time.Duration(v.Deadline).String()
		case v.Late > 0:
			verdict = "not proven, never more than " + time.Duration(v.Late).String() + " late"
		}
		if v.Holds {
			verdict = "met, by " + string(v.By)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", v.Task, response, time.Duration(v.Deadline), verdict)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for i := range r.Tasks {
		if v := &r.Tasks[i]; v.Why != "" {
			fmt.Fprintf(w, "%s: %s\n", v.Task, v.Why)
		}
	}
	if k := r.Kernel; k != nil {
		word := "accepts"
		if !k.Accepts {
			word = "refuses"
		}
		fmt.Fprintf(w, "the kernel %s the deadline tasks: %.1f%% of one CPU, its limit for %d is %.1f%%\n",
			word, float64(k.Used)*100/(1<<20), set.CPUs, float64(k.Limit)*100/(1<<20))
	}
	return printTerms(w, r.Conditional, r.Assumptions)
}

func rtMarginsCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "margins FILE",
		Short: "Say how much of a set of tasks may change",
		Long: `Reads a set of tasks that meets all deadlines and finds, for each task, the longest
computing time and the latest release with which all still do, and by how much
everything may take longer together. Each value is proven; one nanosecond more is
not.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			set, err := staying(args[0])
			if err != nil {
				return err
			}
			m, err := fit.Find(set)
			if err != nil {
				return err
			}
			return a.print(m, func(w io.Writer) error {
				t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				fmt.Fprintln(t, "TASK\tWCET\tUP TO\tJITTER\tUP TO\tTHEN LATE")
				for i, g := range m.Tasks {
					fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", g.Task, time.Duration(set.Tasks[i].WCET), time.Duration(g.WCET),
						time.Duration(set.Tasks[i].Jitter), time.Duration(g.Jitter), g.Binds)
				}
				fmt.Fprintf(t, "everything together may take %.3f times as long\n", float64(m.Scale)/(1<<20))
				return t.Flush()
			})
		},
	}
}

// staying reads a set whose tasks have their processors and their own events.
func staying(name string) (*realtime.Set, error) {
	f, err := readSet(name)
	switch {
	case err != nil:
		return nil, err
	case f.Shared > 0:
		return nil, fmt.Errorf("%s: its tasks share processors; only tasks with a CPU of their own are searched", name)
	case len(f.After) > 0:
		return nil, fmt.Errorf("%s: its tasks release each other; only tasks with events of their own are searched", name)
	}
	return &f.Set, nil
}

func rtAssignCommand(a *app) *cobra.Command {
	var cpus []int
	var order string
	var top int
	cmd := &cobra.Command{
		Use:   "assign FILE",
		Short: "Find processors and priorities for a set of tasks",
		Long: `Puts each task of a set on one of the processors, and gives those of fixed
priority priorities, such that all deadlines are met. Priorities are found
whenever there are any; processors are searched, the most demanding tasks first.
With -o json the result is a set that the other commands read.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			set, err := staying(args[0])
			if err != nil {
				return err
			}
			if !slices.Contains([]fit.Order{fit.First, fit.Worst, fit.Best}, fit.Order(order)) {
				return fmt.Errorf("--order %s: it is first, worst or best", order)
			}
			var out *realtime.Set
			if len(cpus) == 0 {
				out, err = fit.Priorities(set, top)
			} else {
				out, err = fit.Partition(set, cpus, fit.Order(order), top, true)
			}
			if err != nil {
				return err
			}
			return a.print(out, func(w io.Writer) error {
				t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				fmt.Fprintln(t, "CPU\tTASK\tPOLICY\tPRIORITY")
				for _, cpu := range out.CPUs() {
					for _, x := range onCPU(out, cpu) {
						priority := "-"
						if x.Priority > 0 {
							priority = fmt.Sprint(x.Priority)
						}
						fmt.Fprintf(t, "%d\t%s\t%s\t%s\n", cpu, x.Name, x.Policy, priority)
					}
				}
				return t.Flush()
			})
		},
	}
	cmd.Flags().IntSliceVar(&cpus, "cpus", nil, "processors to use (default: tasks stay where they are)")
	cmd.Flags().StringVar(&order, "order", string(fit.Worst), "which processor a task gets: the first that holds, the least used (worst) or the most used (best)")
	cmd.Flags().IntVar(&top, "top", 90, "the highest priority to give, 1 to 99")
	return cmd
}

// onCPU returns the tasks of a processor, the most urgent first.
func onCPU(s *realtime.Set, cpu int) []realtime.Task {
	var all []realtime.Task
	for _, t := range s.Tasks {
		if t.CPU == cpu {
			all = append(all, t)
		}
	}
	slices.SortStableFunc(all, func(x, y realtime.Task) int { return y.Priority - x.Priority })
	return all
}

func rtBudgetCommand(a *app) *cobra.Command {
	var period, deadline time.Duration
	var slot bool
	cmd := &cobra.Command{
		Use:   "budget FILE",
		Short: "Find the least part of a processor that a set of tasks needs",
		Long: `Finds the least time in each period of a server, or of a slot in a fixed cycle,
with which all deadlines of a set of tasks are met, whenever in the period that
time comes.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			set, err := staying(args[0])
			if err != nil {
				return err
			}
			if period <= 0 {
				return errors.New("--period is needed: how often the budget comes, such as 10ms")
			}
			supply := realtime.Supply{Period: int64(period), Deadline: int64(deadline), Slot: slot}
			if supply.Budget, err = fit.Budget(set, supply); err != nil {
				return err
			}
			return a.print(supply, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "supply: {budget: %s, period: %s%s}\n%.1f%% of the processor\n", time.Duration(supply.Budget), period, supplyRest(supply),
					float64(supply.Budget)*100/float64(supply.Period))
				return err
			})
		},
	}
	cmd.Flags().DurationVar(&period, "period", 0, "how often the budget comes")
	cmd.Flags().DurationVar(&deadline, "deadline", 0, "by when in the period it has come (default: its end)")
	cmd.Flags().BoolVar(&slot, "slot", false, "it is one piece at a fixed place of the period")
	return cmd
}

func supplyRest(s realtime.Supply) string {
	var b strings.Builder
	if s.Deadline > 0 {
		fmt.Fprintf(&b, ", deadline: %s", time.Duration(s.Deadline))
	}
	if s.Slot {
		b.WriteString(", slot: true")
	}
	return b.String()
}

func rtPlotCommand(a *app) *cobra.Command {
	var task, path, file string
	var until time.Duration
	cmd := &cobra.Command{
		Use:   "plot FILE",
		Short: "Draw the response times or the worst schedule of a set of tasks as SVG",
		Long: `Prints an SVG image of the proven response times against the deadlines. With --task
it draws what happens on that task's processor from the critical instant on, with
--chain where the time of a chain's worst case goes.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			f, err := readSet(args[0])
			if err != nil {
				return err
			}
			if f.Shared > 0 {
				return fmt.Errorf("%s: tasks that share processors have no single worst schedule to draw", args[0])
			}
			set, report, err := analyse(f)
			if err != nil {
				return err
			}
			svg := graph.Responses("Response times of "+args[0], report)
			switch {
			case path != "":
				if svg, err = chainPicture(f, set, report, path); err != nil {
					return err
				}
			case task != "":
				if until == 0 {
					until = reach(report, task)
				}
				c, err := schedule.Critical(set, task, verdictOf(report, task), int64(until))
				if errors.Is(err, schedule.ErrLong) {
					return fmt.Errorf("%w: choose a shorter time with --until", err)
				}
				if err != nil {
					return err
				}
				svg = graph.Schedule("Worst case of "+task, c)
			}
			if file == "" {
				_, err := a.out.Write(svg)
				return err
			}
			return durable.WriteFile(file, 0o644, svg)
		},
	}
	cmd.Flags().StringVar(&task, "task", "", "draw the schedule of this task's worst case")
	cmd.Flags().StringVar(&path, "chain", "", "draw this chain of the set")
	cmd.MarkFlagsMutuallyExclusive("task", "chain")
	cmd.Flags().DurationVar(&until, "until", 0, "how long to draw (default: the task's busy window)")
	cmd.Flags().StringVar(&file, "file", "", "file to write (default: standard output)")
	return cmd
}

// reach is a little more than the busy window of a task.
func reach(r *realtime.Report, task string) time.Duration {
	for i := range r.Tasks {
		if v := &r.Tasks[i]; v.Task == task {
			most := max(v.Window, v.Bound, v.Deadline)
			return time.Duration(most + most/10)
		}
	}
	return time.Second
}
