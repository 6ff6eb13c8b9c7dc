package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/instar-os/instar/internal/durable"
	"github.com/instar-os/instar/internal/graph"
	"github.com/instar-os/instar/internal/wire"
)

func rtReportCommand(a *app) *cobra.Command {
	var control string
	var cost time.Duration
	var metrics bool
	var plot, file string
	cmd := &cobra.Command{
		Use:   "report",
		Short: "Say how the tasks of a running machine do",
		Long: `Shows what was measured of each task beside what was proven. A job begins when
its thread is made ready, and ends when the thread sleeps. --metrics prints the
OpenMetrics text format, -o json everything with the histograms. --cost measures
for a while what the measuring itself takes of each context switch. --plot draws
the response times of a task as SVG. Ends with 1 when a job contradicts the proof.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect(cmd.Context(), control)
			if err != nil {
				return err
			}
			defer c.Close()
			r, err := c.RT(cmd.Context(), wire.RTRequest{Cost: cost})
			if err != nil {
				return err
			}
			if plot != "" {
				return a.plotMeasured(r, plot, file)
			}
			if metrics {
				r.WriteMetrics(a.out)
				fmt.Fprintln(a.out, "# EOF")
			} else if err := a.print(r, func(w io.Writer) error { return printRT(w, r) }); err != nil {
				return err
			}
			return contradictions(r)
		},
	}
	controlFlag(cmd, &control)
	cmd.Flags().DurationVar(&cost, "cost", 0, "also measure for so long what measuring costs")
	cmd.Flags().BoolVar(&metrics, "metrics", false, "print OpenMetrics text")
	cmd.Flags().StringVar(&plot, "plot", "", "draw the measured response times of this task, CONTAINER.TASK")
	cmd.Flags().StringVar(&file, "file", "", "file to draw to (default: standard output)")
	return cmd
}

// plotMeasured draws the histogram of a task beside its bound.
func (a *app) plotMeasured(r wire.RTReply, task, file string) error {
	for _, t := range r.Tasks {
		if t.Task != task {
			continue
		}
		var buckets []graph.Bucket
		for i, n := range t.Responses {
			buckets = append(buckets, graph.Bucket{UpTo: int64(t.Scale) * int64(i+1), Count: uint64(n)})
		}
		svg := graph.Histogram("Response times of "+task, task, buckets, int64(t.Bound), int64(t.Deadline))
		if file == "" {
			_, err := a.out.Write(svg)
			return err
		}
		return durable.WriteFile(file, 0o644, svg)
	}
	return fmt.Errorf("the machine has no task %q", task)
}

// contradictions is an error when something measured is not as proven.
func contradictions(r wire.RTReply) error {
	var all []string
	for _, t := range r.Tasks {
		if t.Misses+t.Beyond+t.Overruns > 0 {
			all = append(all, t.Task)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return errors.New("not as it was proven: " + strings.Join(all, ", "))
}

func rtWatchCommand(a *app) *cobra.Command {
	var control string
	var every time.Duration
	var times int
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Watch the tasks of a running machine",
		Long:  "Shows the report of instar rt report again and again, until it is interrupted.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect(cmd.Context(), control)
			if err != nil {
				return err
			}
			defer c.Close()
			return a.watchRT(cmd.Context(), c, max(every, 100*time.Millisecond), times)
		},
	}
	controlFlag(cmd, &control)
	cmd.Flags().DurationVar(&every, "every", time.Second, "time between two looks")
	cmd.Flags().IntVar(&times, "times", 0, "looks (default: until it is interrupted)")
	return cmd
}

// watchRT prints reports, on a terminal each over the one before.
func (a *app) watchRT(ctx context.Context, c *wire.Client, every time.Duration, times int) error {
	clear := ""
	if f, ok := a.out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		clear = "\x1b[H\x1b[2J"
	}
	for n := 1; ; n++ {
		r, err := c.RT(ctx, wire.RTRequest{})
		if err != nil {
			return err
		}
		fmt.Fprint(a.out, clear)
		if err := a.print(r, func(w io.Writer) error { return printRT(w, r) }); err != nil {
			return err
		}
		if n == times {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(every):
		}
	}
}

func printRT(w io.Writer, r wire.RTReply) error {
	fmt.Fprintf(w, "configuration %s\n", r.Configuration)
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "TASK\tTHREAD\tPOLICY\tCPU\tJOBS\tLATE\tRESPONSE\tBOUND\tDEADLINE\tLATENCY\tJITTER\tEXEC\tWCET\t")
	span := func(d time.Duration) string {
		switch {
		case d == 0:
			return "-"
		case d >= time.Millisecond:
			return d.Round(time.Microsecond).String()
		}
		return d.Round(10 * time.Nanosecond).String()
	}
	for _, t := range r.Tasks {
		thread := "-"
		if t.Thread != 0 {
			thread = fmt.Sprint(t.Thread)
		}
		policy := t.Policy
		if t.Priority > 0 {
			policy += fmt.Sprintf(" %d", t.Priority)
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%d\t%d\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", t.Task, thread, policy, t.CPU, t.Jobs, t.Misses,
			span(t.MaxResponse), span(t.Bound), span(t.Deadline), span(t.MaxLatency), span(t.MaxJitter), span(t.MaxExec), span(t.WCET), bar(t))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, c := range r.Chains {
		var ages []string
		for i, l := range c.Links {
			age := "no age"
			if i < len(c.Ages) && c.Ages[i] >= 0 {
				age = c.Ages[i].Round(time.Microsecond).String() + " old"
			}
			ages = append(ages, l+" "+age)
		}
		fmt.Fprintf(w, "chain %s (%s): %s at most; %s%s\n", c.Name, strings.Join(c.Path, ", "), c.Bound, strings.Join(ages, ", "), dataAge(c))
	}
	for _, i := range r.Interrupts {
		fmt.Fprintf(w, "interrupt %d (%s) on CPU %s", i.Number, i.Actions, i.CPUs)
		if i.Thread > 0 {
			fmt.Fprintf(w, ", thread %d with priority %d", i.Thread, i.Priority)
		}
		fmt.Fprintln(w)
	}
	if r.Unmeasured != "" {
		fmt.Fprintf(w, "nothing is measured: %s\n", r.Unmeasured)
	}
	if r.CostRuns > 0 {
		fmt.Fprintf(w, "measuring takes %s a context switch or wake-up (mean of %d), %.2f%% of a processor\n", r.CostPerRun, r.CostRuns, r.CostPercent)
	}
	for _, s := range r.Conditions {
		fmt.Fprintf(w, "proven on the condition that %s\n", s)
	}
	return nil
}

// dataAge says how old the data at the end of a chain is, and was at most.
func dataAge(c wire.RTChain) string {
	if c.Data < 0 || c.Looks == 0 {
		return ""
	}
	return fmt.Sprintf("; its data began %s ago, at most %s in %d looks", c.Data.Round(time.Microsecond), c.MaxData.Round(time.Microsecond), c.Looks)
}

// bar draws the response times up to one and a half deadlines in 24 steps; the
// line stands at the deadline.
func bar(t wire.RTTask) string {
	const steps = 24
	if len(t.Responses) == 0 || t.Jobs == 0 {
		return ""
	}
	heights := []rune(" ▁▂▃▄▅▆▇█")
	var out strings.Builder
	per := max(1, len(t.Responses)/steps)
	var sums []uint64
	var most uint64 = 1
	for i := 0; i+per <= len(t.Responses); i += per {
		var n uint64
		for _, c := range t.Responses[i : i+per] {
			n += uint64(c)
		}
		sums = append(sums, n)
		most = max(most, n)
	}
	for i, n := range sums {
		if i == len(sums)*2/3 {
			out.WriteByte('|')
		}
		h := 0
		if n > 0 {
			h = 1 + int(n*uint64(len(heights)-2)/most)
		}
		out.WriteRune(heights[h])
	}
	return out.String()
}
