package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/wire"
)

// completionTimeout bounds what the completion of a name may take.
const completionTimeout = 2 * time.Second

// completeContainer completes the names of the running machine's containers.
func (a *app) completeContainer(control *string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(context.Background(), completionTimeout)
		defer cancel()
		c, err := a.connect(ctx, *control)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer c.Close()
		st, err := c.Status(ctx)
		if err != nil || (len(args) > 0 && cmd.Name() == "exec") {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var names []string
		for _, ct := range st.Containers {
			if !slices.Contains(args, ct.Name) {
				names = append(names, ct.Name+"\t"+string(ct.State))
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// onContainers makes a command that does one thing to each container named.
func (a *app) onContainers(use, short, long string, do func(context.Context, *wire.Client, string) error) *cobra.Command {
	var control string
	cmd := &cobra.Command{
		Use: use + " CONTAINER…", Short: short, Long: long,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeContainer(&control),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.eachContainer(cmd.Context(), control, args, do)
		},
	}
	controlFlag(cmd, &control)
	return cmd
}

func (a *app) eachContainer(ctx context.Context, control string, names []string, do func(context.Context, *wire.Client, string) error) error {
	c, err := a.connect(ctx, control)
	if err != nil {
		return err
	}
	defer c.Close()
	for _, name := range names {
		if err := do(ctx, c, name); err != nil {
			return err
		}
	}
	return nil
}

func startCommand(a *app) *cobra.Command {
	return a.onContainers("start", "Start stopped containers of a running machine",
		"Starts containers that are stopped, done or failed, and returns when they run or wait for others.",
		func(ctx context.Context, c *wire.Client, name string) error { return c.Start(ctx, name) })
}

func restartCommand(a *app) *cobra.Command {
	return a.onContainers("restart", "Stop containers and start them again", "",
		func(ctx context.Context, c *wire.Client, name string) error { return c.Restart(ctx, name) })
}

func pauseCommand(a *app) *cobra.Command {
	return a.onContainers("pause", "Let the processes of containers stand still",
		"The processes keep their memory and connections. Health is not checked until unpause; a machine with a paused container is not healthy.",
		func(ctx context.Context, c *wire.Client, name string) error { return c.Pause(ctx, name) })
}

func unpauseCommand(a *app) *cobra.Command {
	return a.onContainers("unpause", "Let paused containers go on", "",
		func(ctx context.Context, c *wire.Client, name string) error { return c.Unpause(ctx, name) })
}

func killCommand(a *app) *cobra.Command {
	var name string
	cmd := a.onContainers("kill", "Send a signal to the first process of containers",
		"What comes of it is the restart policy's: a container that ends may be started again. instar stop CONTAINER keeps it stopped.",
		func(ctx context.Context, c *wire.Client, container string) error {
			n, ok := config.SignalNumber(name)
			if !ok {
				return fmt.Errorf("no signal %q", name)
			}
			return c.Kill(ctx, wire.KillRequest{Container: container, Signal: n})
		})
	cmd.Flags().StringVarP(&name, "signal", "s", "KILL", "signal by name or number")
	return cmd
}

func topCommand(a *app) *cobra.Command {
	var control string
	cmd := &cobra.Command{
		Use: "top CONTAINER", Short: "List the processes of a container", Args: cobra.ExactArgs(1),
		ValidArgsFunction: a.completeContainer(&control),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.eachContainer(cmd.Context(), control, args, func(ctx context.Context, c *wire.Client, name string) error {
				top, err := c.Top(ctx, name)
				if err != nil {
					return err
				}
				return a.print(top.Processes, func(w io.Writer) error { return printProcesses(w, top.Processes) })
			})
		},
	}
	controlFlag(cmd, &control)
	return cmd
}

func printProcesses(w io.Writer, list []wire.ProcessStatus) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "PID\tPPID\tUID\tSTATE\tCPU\tMEMORY\tTHREADS\tCOMMAND")
	for _, p := range list {
		fmt.Fprintf(tw, "%d\t%d\t%d\t%s\t%s\t%s\t%d\t%s\n", p.PID, p.PPID, p.UID, p.State, p.CPU, bytesText(p.Memory), p.Threads, printable(p.Command))
	}
	return tw.Flush()
}

func statsCommand(a *app) *cobra.Command {
	var control string
	var interval time.Duration
	var follow bool
	cmd := &cobra.Command{
		Use: "stats", Short: "Show what the containers use",
		Long: "Prints processors, memory, processes and block input and output of every container. CPU is measured over the interval; --follow goes on until interrupted.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect(cmd.Context(), control)
			if err != nil {
				return err
			}
			defer c.Close()
			return a.stats(cmd.Context(), c, interval, follow)
		},
	}
	controlFlag(cmd, &control)
	cmd.Flags().BoolVar(&follow, "follow", false, "go on until interrupted")
	cmd.Flags().DurationVar(&interval, "interval", time.Second, "time over which CPU is measured")
	return cmd
}

func (a *app) stats(ctx context.Context, c *wire.Client, interval time.Duration, follow bool) error {
	before, err := c.Stats(ctx)
	for err == nil {
		select {
		case <-time.After(interval):
		case <-ctx.Done():
			return nil
		}
		var now wire.StatsReply
		if now, err = c.Stats(ctx); err != nil {
			break
		}
		if err = a.print(now, func(w io.Writer) error { return printStats(w, before, now) }); err != nil || !follow {
			break
		}
		before = now
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func printStats(w io.Writer, before, now wire.StatsReply) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "CONTAINER\tSTATE\tCPU\tMEMORY\tLIMIT\tPROCESSES\tREAD\tWRITTEN\tOOM")
	for _, s := range now.Containers {
		limit := ""
		if s.MemoryLimit > 0 {
			limit = bytesText(s.MemoryLimit)
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%d\n", s.Name, s.State, cpuShare(before, now.Time, s),
			bytesText(s.Memory), limit, s.Pids, bytesText(s.Read), bytesText(s.Written), s.OOMKills)
	}
	return tw.Flush()
}

// cpuShare is what a container has used of one processor between two answers.
func cpuShare(before wire.StatsReply, now time.Time, s wire.ContainerStats) string {
	i := slices.IndexFunc(before.Containers, func(o wire.ContainerStats) bool { return o.Name == s.Name })
	span := now.Sub(before.Time)
	if i < 0 || span <= 0 || s.CPU < before.Containers[i].CPU {
		return ""
	}
	return fmt.Sprintf("%.1f%%", 100*float64(s.CPU-before.Containers[i].CPU)/float64(span))
}
