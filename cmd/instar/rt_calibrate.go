package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/instar-os/instar/internal/wire"
)

func rtCalibrateCommand(a *app) *cobra.Command {
	var control, to string
	var cpu int
	var during time.Duration
	cmd := &cobra.Command{
		Use:   "calibrate",
		Short: "Measure what the kernel of a running machine takes",
		Long: `Measures on a processor of a running machine, above all of its tasks, which may
be late meanwhile: how long the kernel takes from a timer's instant until a
thread runs, for a context switch, and for the release of a job. Prints a dated
file for realtime.overheads.file of a definition. The longest times that were
seen are no proof that there are no longer ones: measure for long, under load.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect(cmd.Context(), control)
			if err != nil {
				return err
			}
			defer c.Close()
			m, err := c.Calibrate(cmd.Context(), wire.CalibrateRequest{CPU: cpu, For: during})
			if err != nil {
				return err
			}
			if to != "" {
				return os.WriteFile(to, []byte(overheadsFile(m)), 0o644)
			}
			return a.print(m, func(w io.Writer) error {
				_, err := io.WriteString(w, overheadsFile(m))
				return err
			})
		},
	}
	controlFlag(cmd, &control)
	cmd.Flags().IntVar(&cpu, "cpu", 0, "processor")
	cmd.Flags().DurationVar(&during, "for", 30*time.Second, "how long to measure")
	cmd.Flags().StringVar(&to, "to", "", "file to write instead of printing")
	return cmd
}

// overheadsFile writes a calibration as taskset.ParseOverheads reads it.
func overheadsFile(m wire.Calibration) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# What the kernel takes on CPU %d, measured by instar rt calibrate.\n", m.CPU)
	fmt.Fprintf(&b, "measured: %s\nkernel: %q\nmachine: %q\n", m.Time.Format(time.DateOnly), m.Kernel, m.Machine)
	fmt.Fprintf(&b, "switch: %s\nrelease: %s\nlatency: %s\n", m.Switch.Max, max(m.Release.Max, m.Noise.Max), max(m.Latency.Max, m.Thread.Max))
	if m.Untraced != "" {
		fmt.Fprintf(&b, "# Without the kernel's own tracers: %q\n", m.Untraced)
	}
	b.WriteString("seen:\n")
	for _, l := range []struct {
		name string
		wire.Longest
	}{{"switch", m.Switch}, {"release", m.Release}, {"latency", m.Latency}, {"timerlat-irq", m.Timer}, {"timerlat-thread", m.Thread}, {"osnoise", m.Noise}} {
		if l.Samples == 0 {
			continue
		}
		fmt.Fprintf(&b, "  %s: {max: %s, mean: %s, samples: %d}\n", l.name, l.Max, l.Mean, l.Samples)
	}
	return b.String()
}
