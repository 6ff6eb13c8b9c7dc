package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/instar-os/instar/internal/wire"
)

// switchFlags are the flags of instar switch.
type switchFlags struct {
	control                          string
	live, reboot, once, dryRun, list bool
	kexec                            bool
	within                           time.Duration
}

func switchCommand(a *app) *cobra.Command {
	var f switchFlags
	cmd := &cobra.Command{
		Use:   "switch [CONFIGURATION]",
		Short: "Switch a running machine to another configuration",
		Long: `Shows what becomes of each container, and does it. Live, which is the default,
containers that are the same in both configurations run on untouched, the others
are stopped in reverse order and started in order. When one of them does not
start, or not all are healthy in time, the machine goes back by itself to what
it ran before. What would not be the same as after a boot is refused: then
--reboot boots the configuration, now and from now on, and --once for one boot.
With --kexec such a boot goes without firmware: the running kernel starts the
next one. A machine that cannot do that says why, and takes the firmware.

--list shows the configurations, what runs, and what the next boot runs.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case f.list && len(args) == 0:
				return a.listConfigurations(cmd.Context(), f.control)
			case f.list || len(args) == 0:
				return errors.New("instar switch takes either a configuration or --list")
			}
			return a.switchTo(cmd.Context(), args[0], f)
		},
	}
	fl := cmd.Flags()
	controlFlag(cmd, &f.control)
	fl.BoolVar(&f.live, "live", false, "without a boot (the default)")
	fl.BoolVar(&f.reboot, "reboot", false, "boot the configuration, now and from now on")
	fl.BoolVar(&f.once, "once", false, "boot the configuration once; the boot after it runs what it would have run before")
	fl.BoolVar(&f.kexec, "kexec", false, "reboot without firmware, from kernel to kernel, where the machine can; alone it implies --reboot")
	fl.BoolVar(&f.dryRun, "dry-run", false, "only show what would be done")
	fl.DurationVar(&f.within, "within", wire.DefaultWithin, "time in which a live switch has to become healthy")
	fl.BoolVar(&f.list, "list", false, "list the configurations")
	cmd.MarkFlagsMutuallyExclusive("live", "reboot")
	cmd.MarkFlagsMutuallyExclusive("live", "once")
	cmd.MarkFlagsMutuallyExclusive("live", "kexec")
	return cmd
}

func (f switchFlags) mode() wire.SwitchMode {
	switch {
	case f.once:
		return wire.SwitchOnce
	case f.reboot, f.kexec:
		return wire.SwitchReboot
	}
	return wire.SwitchLive
}

// errNeedsReboot says that a live switch was refused.
var errNeedsReboot = errors.New("not possible live")

// switchSlack is what an answer to a switch may take beyond its limits: stops
// come before, and going back after the time to become healthy.
const switchSlack = 2 * time.Minute

func (a *app) switchTo(ctx context.Context, to string, f switchFlags) error {
	c, err := a.connect(ctx, f.control)
	if err != nil {
		return err
	}
	defer c.Close()
	req := wire.SwitchRequest{Configuration: to, Mode: f.mode(), Within: f.within, Kexec: f.kexec}
	p, err := c.PlanSwitch(ctx, req)
	if err != nil {
		return err
	}
	if err := a.print(p, func(w io.Writer) error { return printSwitch(w, p) }); err != nil {
		return err
	}
	switch {
	case req.Mode != wire.SwitchLive && p.NoReboot != "":
		return fmt.Errorf("the machine cannot boot %s: %s", p.To, p.NoReboot)
	case req.Mode == wire.SwitchLive && len(p.Reboot) > 0:
		return fmt.Errorf("switching from %s to %s is %w: %s", p.From, p.To, errNeedsReboot, strings.Join(p.Reboot, "; "))
	case f.dryRun:
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*f.within+switchSlack)
	defer cancel()
	began := time.Now()
	if p, err = c.Switch(ctx, req); err != nil {
		return err
	}
	if a.json() {
		return nil
	}
	done := fmt.Sprintf("switched to %s in %s", p.To, time.Since(began).Round(100*time.Microsecond))
	if req.Mode != wire.SwitchLive {
		done = "rebooting into " + p.To
		switch {
		case p.Kexec:
			done += " without firmware"
		case p.NoKexec != "":
			done += " through the firmware: " + p.NoKexec
		}
	}
	_, err = fmt.Fprintln(a.out, done)
	return err
}

// printSwitch prints a plan.
func printSwitch(w io.Writer, p wire.SwitchPlan) error {
	how := ""
	if p.Kexec {
		how = ", without firmware"
	}
	switch p.Mode {
	case wire.SwitchReboot:
		_, err := fmt.Fprintf(w, "%s -> %s: stop everything and boot %s, now and from now on%s\n", p.From, p.To, p.To, how)
		return err
	case wire.SwitchOnce:
		_, err := fmt.Fprintf(w, "%s -> %s: stop everything and boot %s once%s\n", p.From, p.To, p.To, how)
		return err
	}
	fmt.Fprintf(w, "%s -> %s\n", p.From, p.To)
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, c := range p.Changes {
		fmt.Fprintf(tw, "  %s\t%s\t%s\n", c.Act, c.Container, c.Why)
	}
	for _, why := range p.Reboot {
		fmt.Fprintf(tw, "  needs a reboot:\t%s\n", why)
	}
	return tw.Flush()
}

func (a *app) listConfigurations(ctx context.Context, control string) error {
	c, err := a.connect(ctx, control)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	list, err := c.Configurations(ctx)
	if err != nil {
		return err
	}
	return a.print(list, func(w io.Writer) error {
		tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
		fmt.Fprintln(tw, "CONFIGURATION\tIS\tCONTAINERS")
		for _, info := range list.List {
			fmt.Fprintf(tw, "%s\t%s\t%s\n", info.Name, roles(list, info), strings.Join(info.Containers, " "))
		}
		return tw.Flush()
	})
}

// roles says what a configuration is to the machine.
func roles(list wire.Configurations, info wire.ConfigurationInfo) string {
	var all []string
	for _, r := range []struct {
		is   bool
		word string
	}{
		{info.Name == list.Current, "current"},
		{info.Name == list.Next && !list.Once, "next"},
		{info.Name == list.Next && list.Once, "next (once)"},
		{info.Name == list.Default, "default"},
		{info.Fallback, "fallback"},
	} {
		if r.is {
			all = append(all, r.word)
		}
	}
	return strings.Join(all, ", ")
}

// remote takes the words of one conversation off an error that is handed on in
// another.
func remote(err error) error {
	if err == nil || !errors.Is(err, wire.ErrRemote) {
		return err
	}
	_, text, _ := strings.Cut(err.Error(), wire.ErrRemote.Error()+": ")
	return errors.New(text)
}

// Configurations implements wire.Control.
func (r relay) Configurations() (wire.Configurations, error) {
	ctx, cancel := bounded()
	defer cancel()
	list, err := r.v.Control().Configurations(ctx)
	return list, remote(err)
}

// PlanSwitch implements wire.Control.
func (r relay) PlanSwitch(req wire.SwitchRequest) (wire.SwitchPlan, error) {
	ctx, cancel := bounded()
	defer cancel()
	p, err := r.v.Control().PlanSwitch(ctx, req)
	return p, remote(err)
}

// Switch implements wire.Control.
func (r relay) Switch(ctx context.Context, req wire.SwitchRequest) (wire.SwitchPlan, error) {
	p, err := r.v.Control().Switch(ctx, req)
	return p, remote(err)
}
