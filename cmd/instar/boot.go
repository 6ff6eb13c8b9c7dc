package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/instar-os/instar/internal/durable"
	"github.com/instar-os/instar/internal/graph"
	"github.com/instar-os/instar/internal/reason"
	"github.com/instar-os/instar/internal/wire"
)

// bootCommand is the parent of what concerns the boots of a device.
func bootCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "boot",
		Short: "Look into the boots of a device, and decide about systems on trial",
	}
	cmd.AddCommand(bootListCommand(a), bootLogCommand(a), bootShowCommand(a), bootPlotCommand(a))
	cmd.AddCommand(trialCommands(a)...)
	return cmd
}

func bootListCommand(a *app) *cobra.Command {
	var control string
	cmd := &cobra.Command{
		Use: "list", Short: "List the boots that the device remembers", Args: cobra.NoArgs,
		Long: "Lists the boots that the device remembers, the oldest first: what ran, how the boot began and how it ended.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.ask(cmd, control, func(ctx context.Context, c *wire.Client) error {
				list, err := c.Boots(ctx)
				if err != nil {
					return err
				}
				return a.print(list, func(w io.Writer) error { return printBoots(w, list) })
			})
		},
	}
	controlFlag(cmd, &control)
	return cmd
}

// ask connects and asks something that is answered at once.
func (a *app) ask(cmd *cobra.Command, control string, do func(context.Context, *wire.Client) error) error {
	c, err := a.connect(cmd.Context(), control)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(cmd.Context(), controlTimeout)
	defer cancel()
	return do(ctx, c)
}

func printBoots(w io.Writer, list wire.BootList) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "BOOT\tBEGAN\tLASTED\tSYSTEM\tCONFIGURATION\tBEGAN BY\tENDED BY")
	for _, b := range list.Boots {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", bootNumber(b), bootTime(b), b.Lasted.Round(time.Second),
			printable(b.System[:min(12, len(b.System))]), printable(b.Configuration), b.Start, bootEnd(b))
	}
	if err := tw.Flush(); err != nil || list.Kept {
		return err
	}
	_, err := fmt.Fprintln(w, "nothing lasts here: former boots are not known")
	return err
}

// bootNumber is - for a boot that has none, because nothing lasts.
func bootNumber(b wire.BootInfo) string {
	if b.Number == 0 {
		return "-"
	}
	return strconv.FormatInt(b.Number, 10)
}

func bootTime(b wire.BootInfo) string {
	if b.Began.IsZero() {
		return "(no clock)"
	}
	return b.Began.Local().Format(time.DateTime)
}

func bootEnd(b wire.BootInfo) string {
	switch {
	case b.Current && b.Wrong != "":
		return "runs, after " + string(b.Wrong)
	case b.Current:
		return "runs"
	case b.Wrong != "" && b.Wrong != b.End:
		return fmt.Sprintf("%s, after %s", b.End, b.Wrong)
	case b.End == "":
		return string(reason.Unknown)
	}
	return string(b.End)
}

// aboutBoot makes a command about one boot.
func (a *app) aboutBoot(use, short, long string, do func(wire.Status, wire.BootRecord) error) *cobra.Command {
	var control string
	cmd := &cobra.Command{
		Use: use + " [BOOT]", Short: short, Args: cobra.MaximumNArgs(1),
		Long: long + "\n\nBOOT is a number of instar boot list, or previous; without it the boot that runs is meant.",
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := parseBoot(args)
			if err != nil {
				return err
			}
			return a.ask(cmd, control, func(ctx context.Context, c *wire.Client) error {
				st, err := c.Status(ctx)
				if err != nil {
					return err
				}
				b, err := c.Boot(ctx, wire.BootRequest{Number: n})
				if err != nil {
					return err
				}
				return do(st, b)
			})
		},
	}
	controlFlag(cmd, &control)
	return cmd
}

func parseBoot(args []string) (int64, error) {
	if len(args) == 0 {
		return 0, nil
	}
	if args[0] == "previous" {
		return -1, nil
	}
	n, err := strconv.ParseInt(args[0], 10, 64)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("boot %q: want a number of instar boot list, or previous", args[0])
	}
	return n, nil
}

func bootLogCommand(a *app) *cobra.Command {
	return a.aboutBoot("log", "Print what happened in a boot, in order",
		"Prints the lines of init, the kernel's warnings and what became of containers, with the seconds since the kernel's start.",
		func(_ wire.Status, b wire.BootRecord) error {
			return a.print(b.Entries, func(w io.Writer) error { return printEntries(w, b.Entries, false) })
		})
}

func bootShowCommand(a *app) *cobra.Command {
	return a.aboutBoot("show", "Show all that is known of a boot",
		"Shows what a boot was, how it began and ended, and all that was recorded of it: steps with their durations, messages, and what a dying kernel left.",
		func(_ wire.Status, b wire.BootRecord) error {
			return a.print(b, func(w io.Writer) error {
				if err := printBoot(w, b.BootInfo); err != nil {
					return err
				}
				return printEntries(w, b.Entries, true)
			})
		})
}

func printBoot(w io.Writer, b wire.BootInfo) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, row := range [][2]string{
		{"boot", bootNumber(b) + "  " + printable(b.ID)},
		{"began", bootTime(b)},
		{"began by", explained(b.Start)},
		{"system", printable(b.System)},
		{"configuration", printable(b.Configuration)},
		{"kernel", printable(b.Kernel)},
		{"lasted", b.Lasted.Round(time.Millisecond).String()},
		{"healthy after", nonzero(b.Healthy)},
		{"went wrong", explained(b.Wrong)},
		{"ended by", ended(b)},
		{"detail", printable(b.Detail)},
	} {
		if row[1] != "" {
			fmt.Fprintf(tw, "%s\t%s\n", row[0], row[1])
		}
	}
	fmt.Fprintln(tw)
	return tw.Flush()
}

func nonzero(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.Round(time.Millisecond).String()
}

func ended(b wire.BootInfo) string {
	if b.Current {
		return "it runs"
	}
	return explained(b.End)
}

// explained is a code with its meaning.
func explained(c reason.Code) string {
	if c == "" {
		return ""
	}
	if m := c.Meaning(); m != "" {
		return string(c) + ": " + m
	}
	return printable(string(c))
}

// printEntries prints entries, all or those that make a log.
// They are written when they are over, and printed by when they began.
func printEntries(w io.Writer, entries []wire.BootEntry, all bool) error {
	entries = slices.Clone(entries)
	slices.SortStableFunc(entries, func(a, b wire.BootEntry) int { return cmp.Compare(a.At, b.At) })
	for _, e := range entries {
		text := entryText(e)
		if text == "" || !all && (e.Kind == wire.EntryStage || e.Kind == wire.EntryStep && e.Text == "" || e.Kind == wire.EntryBegin) {
			continue
		}
		if _, err := fmt.Fprintf(w, "[%12.6f] %s\n", e.At.Seconds(), text); err != nil {
			return err
		}
	}
	return nil
}

func entryText(e wire.BootEntry) string {
	text := printable(e.Text)
	switch e.Kind {
	case wire.EntryBegin:
		return "began by " + string(e.Reason) + after(": ", text)
	case wire.EntryStage:
		return e.Name + " took " + e.Took.Round(time.Millisecond).String()
	case wire.EntryStep:
		return "step: " + e.Name + " took " + e.Took.Round(10*time.Microsecond).String() + after(" and failed: ", text)
	case wire.EntryLine:
		return "init: " + text
	case wire.EntryKernel:
		return "kernel: " + text
	case wire.EntryContainer:
		return e.Name + " is " + string(e.State) + after(": ", text)
	case wire.EntryWrong:
		return "WRONG: " + string(e.Reason) + after(", could not ", e.Name) + after(": ", text)
	case wire.EntryAlive:
		return "alive" + after(" and ", e.Name)
	case wire.EntryDropped:
		if e.Count == 0 {
			return "(entries are missing here" + after(": ", text) + ")"
		}
		return fmt.Sprintf("(%d entries are missing here%s)", e.Count, after(": ", text))
	case wire.EntryCrash:
		return "last words of the kernel:\n" + printableLines(e.Text)
	case wire.EntryEnd:
		return "ended by " + string(e.Reason) + after(": ", text)
	}
	return string(e.Kind) + after(": ", text)
}

// after is text behind something, when there is one.
func after(lead, text string) string {
	if text == "" {
		return ""
	}
	return lead + text
}

func bootPlotCommand(a *app) *cobra.Command {
	var file string
	cmd := a.aboutBoot("plot", "Draw the time line of a boot as SVG",
		"Prints an SVG image of a boot: firmware and loader where they tell their times, the kernel, the steps of init, and each container from its start to its health.",
		func(st wire.Status, b wire.BootRecord) error {
			svg := graph.Boot(st.Machine, b)
			if file == "" {
				_, err := os.Stdout.Write(svg)
				return err
			}
			return durable.WriteFile(file, 0o644, svg)
		})
	cmd.Flags().StringVar(&file, "file", "", "file to write (default: standard output)")
	return cmd
}
