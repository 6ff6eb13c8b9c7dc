package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/image"
	"github.com/instar-os/instar/internal/store"
)

func printUsage(w io.Writer, u *store.Usage) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, s := range u.Systems {
		fmt.Fprintf(tw, "%s\t%s\tkernel and init\t%s\n", s.Machine, s.System.Short(), bytesText(s.Boot.Bytes))
		for _, c := range s.Configurations {
			fmt.Fprintf(tw, "\t%s\t%d files\t%s\n", c.Name, c.Objects.Files, bytesText(c.Objects.Bytes))
			for _, ct := range c.Containers {
				fmt.Fprintf(tw, "\t  %s\t%d files\t%s\t%s its own\n", ct.Name, ct.Files.Files, bytesText(ct.Files.Bytes), bytesText(ct.Own.Bytes))
			}
		}
	}
	fmt.Fprintf(tw, "all trees\t\t%d files\t%s\n", u.Trees.Files, bytesText(u.Trees.Bytes))
	fmt.Fprintf(tw, "kept once\t\t%d objects\t%s\n", u.Objects.Files, bytesText(u.Objects.Bytes))
	fmt.Fprintf(tw, "images\t\t%d\t%s\n", u.Images.Files, bytesText(u.Images.Bytes))
	fmt.Fprintf(tw, "sharing saves\t\t%s\t%s\n", percent(u.Saved, u.Trees.Bytes), bytesText(u.Saved))
	return tw.Flush()
}

func percent(part, whole int64) string {
	if whole == 0 {
		return "0 %"
	}
	return fmt.Sprintf("%.0f %%", 100*float64(part)/float64(whole))
}

// sizeReport is what instar size prints.
type sizeReport struct {
	Disk  *image.Sizes `json:"disk"`
	Store *store.Usage `json:"store"`
}

func sizeCommand(a *app) *cobra.Command {
	var arch string
	var top int
	cmd := &cobra.Command{
		Use:   "size",
		Short: "Show what takes the bytes of a machine's disk",
		Long:  "Builds the system and prints what the boot slot and the store hold: kernel, init with modules, configurations, containers, packages, and what sharing saves.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			def, lk, err := a.locked()
			if err != nil {
				return err
			}
			arches, err := chosenArches(def, pick(arch))
			if err != nil {
				return err
			}
			res, st, err := a.system(cmd.Context(), def, lk, arches[0])
			if err != nil {
				return err
			}
			defer st.Close()
			plan, err := planDisk(st, res, def)
			if err != nil {
				return err
			}
			usage, err := st.Du([]digest.Digest{res.Digest}, firstOwners(res.Owners))
			if err != nil {
				return err
			}
			report := sizeReport{&plan.Sizes, usage}
			return a.print(report, func(w io.Writer) error { return printSize(w, report, top) })
		},
	}
	cmd.Flags().StringVar(&arch, "arch", "", "architecture (default: the first of the definition)")
	cmd.Flags().IntVar(&top, "top", 12, "list so many packages; 0 for all")
	return cmd
}

// firstOwners gives each object one owner: the first that brought it.
func firstOwners(all map[digest.Digest][]string) map[digest.Digest]string {
	out := make(map[digest.Digest]string, len(all))
	for d, o := range all {
		out[d] = o[0]
	}
	return out
}

func printSize(w io.Writer, r sizeReport, top int) error {
	if err := printDisk(w, r.Disk); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if err := printUsage(w, r.Store); err != nil {
		return err
	}
	fmt.Fprintln(w)
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	for i, o := range r.Store.Owners {
		if top > 0 && i == top {
			fmt.Fprintf(tw, "…\t and %d more (--top 0)\n", len(r.Store.Owners)-top)
			break
		}
		fmt.Fprintf(tw, "%s\t %s\n", bytesText(o.Bytes), o.Owner)
	}
	return tw.Flush()
}
