package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/instar-os/instar/internal/wire"
)

func gcCommand(a *app) *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "gc DEVICE",
		Short: "Delete what a machine does not need, of boot slots and store together",
		Long: `Shows what stays and why, and deletes the rest: systems that are neither what
runs nor the last good one, the one before it, on trial, or a root of the store;
the slots that hold them; what came of an update that was cut. A machine does it
by itself when it has confirmed a system.

DEVICE is the path of a control socket, the name of a machine that instar vm runs
here, or ssh:HOST. The store of this host is collected by instar store gc.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.dial(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer c.Close()
			p, err := c.Collect(cmd.Context(), wire.CollectRequest{DryRun: dryRun})
			if err != nil {
				return err
			}
			return a.print(p, func(w io.Writer) error { return printCollected(w, p) })
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be deleted")
	return cmd
}

func printCollected(w io.Writer, p wire.CollectPlan) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, k := range p.Keep {
		fmt.Fprintf(tw, "keep\tsystem %s\t%s\n", shortDigest(k.System), strings.Join(k.Why, ", "))
	}
	for _, s := range p.Slots {
		act, why := "keep", ""
		if s.Clear {
			act = "clear"
		}
		if s.InForce {
			why = "in force"
		}
		fmt.Fprintf(tw, "%s\tslot %c\t%s\t%s\n", act, 'a'+rune(s.Slot), printable(shortDigests(s.Systems)), why)
	}
	for _, d := range p.Delete {
		fmt.Fprintf(tw, "delete\tsystem %s\t\n", shortDigest(d))
	}
	if p.Partial {
		fmt.Fprintf(tw, "delete\twhat came of an update that was cut\t\n")
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%d images and %d objects go: %s; %s stay\n", p.Images, p.Objects, bytesText(p.Free), bytesText(p.Rest))
	return err
}

func shortDigests(list []string) string {
	var all []string
	for _, s := range list {
		all = append(all, shortDigest(s))
	}
	return strings.Join(all, " ")
}
