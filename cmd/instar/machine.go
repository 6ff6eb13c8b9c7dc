package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/instar-os/instar/internal/wire"
)

// runDir is where a running machine's sockets lie. The path of a Unix socket
// is short, so it does not lie beside the definition.
func (a *app) runDir(machine string) string {
	base := os.Getenv("XDG_RUNTIME_DIR")
	if base == "" {
		base = "/run"
		if os.Getuid() != 0 {
			base = filepath.Join(os.TempDir(), fmt.Sprintf("instar-%d", os.Getuid()))
		}
	}
	return filepath.Join(base, "instar", machine)
}

// controlFlag adds the flag that names a machine's control socket.
func controlFlag(cmd *cobra.Command, control *string) {
	cmd.Flags().StringVar(control, "control", "", "control socket (default: of the machine that instar vm or instar run has started from this definition)")
}

// errNotRunning says that nobody listens on the machine's control socket.
var errNotRunning = errors.New("the machine does not run")

// connect opens the control socket of the running machine.
func (a *app) connect(ctx context.Context, control string) (*wire.Client, error) {
	if control == "" {
		def, err := a.definition()
		if err != nil {
			return nil, err
		}
		control = filepath.Join(a.runDir(def.Machine), "control.sock")
	}
	c, err := wire.Dial(ctx, control)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("%s: %w", control, errNotRunning)
	}
	return c, err
}

// controlTimeout bounds one question to a machine.
const controlTimeout = 10 * time.Second

func (a *app) machineStatus(ctx context.Context, control string) (*wire.Status, error) {
	c, err := a.connect(ctx, control)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	st, err := c.Status(ctx)
	return &st, err
}

func psCommand(a *app) *cobra.Command {
	var control string
	cmd := &cobra.Command{
		Use:   "ps",
		Short: "List the containers of a running machine",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			st, err := a.machineStatus(cmd.Context(), control)
			if err != nil {
				return err
			}
			return a.print(st.Containers, func(w io.Writer) error { return printContainers(w, st) })
		},
	}
	controlFlag(cmd, &control)
	return cmd
}

func statusCommand(a *app) *cobra.Command {
	var control string
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show whether a running machine is healthy, and why not",
		Long:  "Prints machine, system, configuration, interfaces and containers. Exits with 3 when the machine is not healthy; --wait gives it time to become so.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			st, err := a.waitStatus(cmd.Context(), control, wait)
			if err != nil {
				return err
			}
			if err := a.print(st, func(w io.Writer) error { return printStatus(w, st) }); err != nil {
				return err
			}
			if !st.Healthy {
				return exitCode(3)
			}
			return nil
		},
	}
	controlFlag(cmd, &control)
	cmd.Flags().DurationVar(&wait, "wait", 0, "time to wait for health")
	return cmd
}

// pollInterval is how often a machine is asked while it becomes healthy.
const pollInterval = 200 * time.Millisecond

// waitStatus asks until the machine is healthy or the time is up.
func (a *app) waitStatus(ctx context.Context, control string, wait time.Duration) (*wire.Status, error) {
	deadline := time.Now().Add(wait)
	for {
		st, err := a.machineStatus(ctx, control)
		if (err == nil && st.Healthy) || !time.Now().Before(deadline) || ctx.Err() != nil {
			return st, err
		}
		select {
		case <-ctx.Done():
		case <-time.After(pollInterval):
		}
	}
}

func printStatus(w io.Writer, st *wire.Status) error {
	health := "healthy"
	if !st.Healthy {
		health = "not healthy"
	}
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintf(tw, "machine\t%s\t%s\n", st.Machine, health)
	fmt.Fprintf(tw, "configuration\t%s\n", st.Configuration)
	if st.Host != "" {
		fmt.Fprintf(tw, "host\t%s\n", st.Host)
	}
	if s := st.Switch; s != nil {
		fmt.Fprintf(tw, "last switch\t%s -> %s %s %s\n", s.From, s.To, s.Outcome, s.Why)
	}
	fmt.Fprintf(tw, "system\t%s\n", st.System)
	printTrial(tw, st.Trial)
	fmt.Fprintf(tw, "kernel\t%s\n", st.Kernel)
	if st.Ready > 0 {
		fmt.Fprintf(tw, "init after\t%s\n", st.Ready.Round(time.Millisecond))
	}
	fmt.Fprintf(tw, "up\t%s\n", st.Uptime.Round(time.Second))
	for _, i := range st.Interfaces {
		fmt.Fprintf(tw, "interface\t%s %s %s %s\n", i.Name, i.State, strings.Join(i.Addresses, " "), i.Detail)
	}
	printNetworks(tw, st.Networks)
	printDevices(tw, st.Devices)
	for _, warning := range st.Warnings {
		fmt.Fprintf(tw, "warning\t%s\n", warning)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	return printContainers(w, st)
}

func printContainers(w io.Writer, st *wire.Status) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "CONTAINER\tSTATE\tFOR\tPID\tRESTARTS\tMEMORY\tDETAIL")
	now := st.Started.Add(st.Uptime)
	for _, c := range st.Containers {
		memory, pid := "", ""
		if c.Memory > 0 {
			memory = bytesText(c.Memory)
		}
		if c.PID > 0 {
			pid = fmt.Sprint(c.PID)
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%d\t%s\t%s\n", c.Name, c.State,
			now.Sub(c.Since).Round(time.Second), pid, c.Restarts, memory, c.Detail)
	}
	return tw.Flush()
}

func stopCommand(a *app) *cobra.Command {
	var control string
	var reboot bool
	cmd := &cobra.Command{
		Use:   "stop [CONTAINER…]",
		Short: "Stop a running machine, or containers of it",
		Long: `Without a name it stops all containers in order and then the machine that
instar vm or instar run has started. With names it stops these containers only;
they stay stopped until instar start.`,
		ValidArgsFunction: a.completeContainer(&control),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				if reboot {
					return errors.New("--reboot is the machine's; instar restart starts containers again")
				}
				return a.eachContainer(cmd.Context(), control, args, func(ctx context.Context, c *wire.Client, name string) error {
					return c.Stop(ctx, name)
				})
			}
			c, err := a.connect(cmd.Context(), control)
			if err != nil {
				return err
			}
			defer c.Close()
			if reboot {
				return c.Reboot(cmd.Context())
			}
			return c.PowerOff(cmd.Context())
		},
	}
	controlFlag(cmd, &control)
	cmd.Flags().BoolVar(&reboot, "reboot", false, "start again instead of powering off")
	return cmd
}
