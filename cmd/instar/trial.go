package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/instar-os/instar/internal/wire"
)

// trialCommands are the subcommands of boot that decide about what is on trial.
func trialCommands(a *app) []*cobra.Command {
	return []*cobra.Command{confirmCommand(a), rejectCommand(a), verdictsCommand(a), forgiveCommand(a)}
}

// onMachine completes a command that does one thing to the machine.
func (a *app) onMachine(cmd *cobra.Command, do func(context.Context, *wire.Client, []string) error) *cobra.Command {
	var control string
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.connect(cmd.Context(), control)
		if err != nil {
			return err
		}
		defer c.Close()
		ctx, cancel := context.WithTimeout(cmd.Context(), controlTimeout)
		defer cancel()
		return do(ctx, c, args)
	}
	controlFlag(cmd, &control)
	return cmd
}

func confirmCommand(a *app) *cobra.Command {
	return a.onMachine(&cobra.Command{
		Use: "confirm", Short: "Confirm the system or configuration that is on trial", Args: cobra.NoArgs,
		Long: "Makes what is on trial the last good system at once, whatever its health. Without it the machine confirms by itself when all that boot.confirm declares has held.",
	}, func(ctx context.Context, c *wire.Client, _ []string) error { return c.ConfirmTrial(ctx) })
}

func rejectCommand(a *app) *cobra.Command {
	return a.onMachine(&cobra.Command{
		Use: "reject REASON…", Short: "Reject what is on trial: the machine goes back and reboots", Args: cobra.MinimumNArgs(1),
		Long: "Gives the verdict bad over what is on trial, with a reason for people, and reboots into the last good system. It is not tried again until instar boot forgive.",
	}, func(ctx context.Context, c *wire.Client, args []string) error {
		return c.RejectTrial(ctx, wire.RejectRequest{Reason: strings.Join(args, " ")})
	})
}

func forgiveCommand(a *app) *cobra.Command {
	return a.onMachine(&cobra.Command{
		Use: "forgive DIGEST", Short: "Forget the verdict over a system, so that it may be tried again", Args: cobra.ExactArgs(1),
		Long: "DIGEST is the digest of a system in instar boot verdicts, or its beginning. This is the only way in which a system that was found bad is tried again.",
	}, func(ctx context.Context, c *wire.Client, args []string) error {
		return c.Forgive(ctx, wire.ForgiveRequest{System: args[0]})
	})
}

func verdictsCommand(a *app) *cobra.Command {
	return a.onMachine(&cobra.Command{
		Use: "verdicts", Short: "List what became of the systems that were tried", Args: cobra.NoArgs,
		Long: "Lists the verdicts that the machine keeps, the newest first: at most 64, the last over each system, and over each configuration that was tried by itself.",
	}, func(ctx context.Context, c *wire.Client, _ []string) error {
		v, err := c.Verdicts(ctx)
		if err != nil {
			return err
		}
		return a.print(v, func(w io.Writer) error { return printJudged(w, v) })
	})
}

func printJudged(w io.Writer, v wire.Verdicts) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintf(tw, "last good\t%s\n", v.Current)
	if v.Previous != "" {
		fmt.Fprintf(tw, "before\t%s\n", v.Previous)
	}
	if err := tw.Flush(); err != nil || len(v.Verdicts) == 0 {
		return err
	}
	fmt.Fprintln(w)
	fmt.Fprintln(tw, "SYSTEM\tCONFIGURATION\tIS\tREASON\tTIME\tDETAIL")
	for _, o := range v.Verdicts {
		is := "bad"
		if o.Good {
			is = "good"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\n", shortDigest(o.System), printable(o.Configuration), is, printable(o.Reason),
			o.Time.Format(time.DateTime), printable(o.Detail))
	}
	return tw.Flush()
}

// shortDigest is what people call a system by.
func shortDigest(s string) string { return s[:min(len(s), 12)] }

// printTrial prints how a boot stands, as rows of a status.
func printTrial(w io.Writer, t *wire.TrialStatus) {
	if t == nil {
		return
	}
	text := string(t.Standing)
	if t.Standing == wire.OnTrial {
		if t.Configuration != "" {
			text = "configuration " + t.Configuration + " " + text
		}
		text += fmt.Sprintf(", goes back in %s, %d further tries", t.Left.Round(time.Second), t.Tries)
	}
	if t.Standing == wire.OnTrial || t.Standing == wire.Settling {
		text += fmt.Sprintf("; all has held for %s of %s", t.Held.Round(time.Second), t.After)
	}
	if t.Why != "" {
		text += " (" + t.Why + ")"
	}
	fmt.Fprintf(w, "boot\t%s\n", text)
	if t.Staged != "" {
		fmt.Fprintf(w, "staged\t%s\n", t.Staged)
	}
	if t.Standing == wire.OnTrial || t.Standing == wire.Settling {
		for _, m := range t.Missing {
			fmt.Fprintf(w, "missing\t%s\n", m)
		}
	}
}
