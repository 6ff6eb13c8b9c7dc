package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/instar-os/instar/internal/assemble"
	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/durable"
	"github.com/instar-os/instar/internal/graph"
	"github.com/instar-os/instar/internal/image"
	"github.com/instar-os/instar/internal/prune"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/tree"
)

// sizeReport is what instar size prints.
type sizeReport struct {
	Disk  *image.Sizes `json:"disk"`
	Store *store.Usage `json:"store"`
	Areas graph.Area   `json:"areas"` // files by container, what several share, and package
}

// sizeFlags are the flags of instar size.
type sizeFlags struct {
	arch, configuration, svg, why string
	removed                       bool
	top                           int
}

func sizeCommand(a *app) *cobra.Command {
	var f sizeFlags
	cmd := &cobra.Command{
		Use:   "size",
		Short: "Show what takes the bytes of a machine's disk",
		Long: `Builds the system and prints what the boot slot and the store hold: kernel, init
with modules, configurations, containers, packages, and what sharing saves.

--svg draws the files of all containers, or of those of one --configuration, as
areas: what only one container has, what several share, and within each who
brought it. --why PATH tells who brought a file and what needs it, or which rule
has left it out. --removed lists what was left out and by which rule.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.size(cmd.Context(), f) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.arch, "arch", "", "architecture (default: the first of the definition)")
	fl.StringVar(&f.configuration, "configuration", "", "draw only the containers of this configuration")
	fl.StringVar(&f.svg, "svg", "", "file to draw into, - for the standard output")
	fl.StringVar(&f.why, "why", "", "path in a container to explain")
	fl.BoolVar(&f.removed, "removed", false, "list what was left out")
	fl.IntVar(&f.top, "top", 12, "list so many packages; 0 for all")
	return cmd
}

func (a *app) size(ctx context.Context, f sizeFlags) error {
	def, lk, err := a.locked()
	if err != nil {
		return err
	}
	if _, ok := def.Configurations[f.configuration]; !ok && f.configuration != "" {
		return fmt.Errorf("--configuration %s: the definition has no such configuration", f.configuration)
	}
	arches, err := chosenArches(def, pick(f.arch))
	if err != nil {
		return err
	}
	res, st, err := a.system(ctx, def, lk, arches[0])
	if err != nil {
		return err
	}
	defer st.Close()
	switch {
	case f.why != "":
		return a.sizeWhy(def, res, st, f.why)
	case f.removed:
		all := removedLines(res.Removed)
		return a.print(all, func(w io.Writer) error { return printRemoved(w, all) })
	}
	areas, err := a.builder(st).Areas(res, f.configuration)
	if err != nil {
		return err
	}
	if f.svg != "" {
		return a.drawSize(def, areas, f)
	}
	plan, err := planDisk(st, res, def)
	if err != nil {
		return err
	}
	usage, err := st.Du([]digest.Digest{res.Digest}, firstOwners(res.Owners))
	if err != nil {
		return err
	}
	report := sizeReport{&plan.Sizes, usage, areas}
	return a.print(report, func(w io.Writer) error { return printSize(w, report, f.top) })
}

func (a *app) drawSize(def *config.Definition, areas graph.Area, f sizeFlags) error {
	title := "Files of " + def.Machine
	if f.configuration != "" {
		title += ", configuration " + f.configuration
	}
	svg := graph.Treemap(title, areas, bytesText)
	a.progress.done()
	if f.svg == "-" {
		_, err := a.out.Write(svg)
		return err
	}
	return durable.WriteFile(f.svg, 0o644, svg)
}

func (a *app) sizeWhy(def *config.Definition, res *assemble.Result, st *store.Store, path string) error {
	all, err := a.builder(st).Why(def, res, path)
	if err != nil {
		return fmt.Errorf("--why: %w", err)
	}
	return a.print(all, func(w io.Writer) error { return printWhy(w, all) })
}

func printWhy(w io.Writer, all []assemble.Reason) error {
	for _, r := range all {
		fmt.Fprintf(w, "container %s (%s): %s\n", r.Container, strings.Join(r.Configurations, ", "), r.Path)
		if r.Rule != "" {
			fmt.Fprintf(w, "  of %s, %s, was left out by %s\n", r.Owner, bytesText(r.Bytes), r.Rule)
			continue
		}
		fmt.Fprintf(w, "  %s, of %s", bytesText(r.Bytes), r.Owner)
		if len(r.Trees) > 0 {
			fmt.Fprintf(w, " in tree %s", strings.Join(r.Trees, ", then "))
		}
		fmt.Fprintln(w)
		if len(r.Needed) > 0 {
			fmt.Fprintf(w, "  needed: %s\n", strings.Join(r.Needed, " -> "))
		}
	}
	return nil
}

// removedLine is one line of what --removed prints.
type removedLine struct {
	Container string `json:"container"`
	Path      string `json:"path"`
	Bytes     int64  `json:"bytes"`
	Owner     string `json:"owner"`
	Rule      string `json:"rule"`
	At        string `json:"at"`
}

func removedLines(all map[string]prune.Gone) []removedLine {
	out := []removedLine{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		for _, p := range all[name].Paths() {
			if r := all[name][p]; r.Entry.Kind != tree.Dir {
				out = append(out, removedLine{name, "/" + p, r.Entry.Size, r.Entry.Owner, r.Rule.Text, r.Rule.At})
			}
		}
	}
	return out
}

func printRemoved(w io.Writer, all []removedLine) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, r := range all {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s (%s)\n", r.Container, bytesText(r.Bytes), r.Path, r.Rule, r.At)
	}
	return tw.Flush()
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
