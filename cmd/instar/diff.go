package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/instar-os/instar/internal/durable"
	"github.com/instar-os/instar/internal/graph"
	"github.com/instar-os/instar/internal/lock"
	"github.com/instar-os/instar/internal/plan"
)

// differing is what diff was asked for.
type differing struct {
	files     bool
	arch, svg string
}

func diffCommand(a *app) *cobra.Command {
	var f differing
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Show what differs between two systems, or two locks",
		Long: `Compares two systems by packages, configurations, containers, files and bytes. A
and B are systems (a digest, its beginning, or MACHINE-ARCH), definitions
(NAME.yaml, which are built), or both locks (NAME.lock), of which the pins are
compared. They may be of two machines. What becomes of a machine that goes from
one to the other, and what is sent, says instar plan.

--files lists every file that differs and in what: content, mode, owner, kind,
target. --svg draws the bytes of each container by what becomes of them.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if filepath.Ext(args[0]) == ".lock" && filepath.Ext(args[1]) == ".lock" {
				return a.diffLocks(args[0], args[1])
			}
			return a.diff(cmd.Context(), f, args[0], args[1])
		},
	}
	cmd.Flags().BoolVar(&f.files, "files", false, "list every file that differs")
	cmd.Flags().StringVar(&f.arch, "arch", "", "architecture of definitions (default: the first)")
	cmd.Flags().StringVar(&f.svg, "svg", "", "file to draw into")
	return cmd
}

// diffLocks compares the pins of two locks.
func (a *app) diffLocks(from, to string) error {
	var locks [2]*lock.Lock
	for i, name := range []string{from, to} {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if locks[i], err = lock.Parse(text); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	changes := lock.Diff(locks[0], locks[1])
	return a.print(changes, func(w io.Writer) error {
		_, err := io.WriteString(w, changes.String())
		return err
	})
}

func (a *app) diff(ctx context.Context, f differing, from, to string) error {
	st, err := a.openStore()
	if err != nil {
		return err
	}
	defer st.Close()
	ways := &ends{a: a, st: st, o: planning{arch: f.arch}}
	x, err := ways.system(ctx, from)
	if err != nil {
		return err
	}
	y, err := ways.system(ctx, to)
	if err != nil {
		return err
	}
	d, err := plan.Differ(st, x, y)
	if err != nil {
		return err
	}
	if f.svg != "" {
		if err := durable.WriteFile(f.svg, 0o644, drawDifference(d)); err != nil {
			return err
		}
	}
	return a.print(d, func(w io.Writer) error { return printDifference(w, d, f.files) })
}

func drawDifference(d *plan.Difference) []byte {
	var rows []graph.DifferenceRow
	for _, i := range d.Images {
		note := "nothing differs"
		if n := i.Changed + i.Added + i.Removed; n > 0 {
			note = bytesText(i.Changed+i.Added) + " new"
			if i.Removed > 0 {
				note += ", " + bytesText(i.Removed) + " gone"
			}
		}
		rows = append(rows, graph.DifferenceRow{Name: i.Container, Kept: i.Kept, Changed: i.Changed, Added: i.Added, Removed: i.Removed, Note: note})
	}
	title := fmt.Sprintf("%s %s and %s %s", d.A.Machine, d.A.System.Short(), d.B.Machine, d.B.System.Short())
	return graph.Difference(title, differenceBytes(d)+fmt.Sprintf("; %d packages differ", len(d.Packages)), rows)
}

func differenceBytes(d *plan.Difference) string {
	return fmt.Sprintf("%s and %s, of these %s in both, %s and %s alone", bytesText(d.A.Bytes), bytesText(d.B.Bytes), bytesText(d.Shared), bytesText(d.A.Alone), bytesText(d.B.Alone))
}

func printDifference(w io.Writer, d *plan.Difference, files bool) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, s := range []struct {
		name string
		plan.Side
	}{{"a", d.A}, {"b", d.B}} {
		fmt.Fprintf(tw, "%s\t%s on %s\t%s\t%d packages\n", s.name, s.Machine, s.Arch, s.System.Short(), s.Packages)
	}
	fmt.Fprintf(tw, "bytes\t%s\n", differenceBytes(d))
	if d.Same() {
		fmt.Fprintln(tw, "they are the same system")
		return tw.Flush()
	}
	for _, p := range d.Packages {
		fmt.Fprintf(tw, "package\t%s\t%s -> %s\n", p.Name, nothing(p.From), nothing(p.To))
	}
	if len(d.Kernel) > 0 {
		fmt.Fprintf(tw, "boot\t%s\n", strings.Join(d.Kernel, ", "))
	}
	for _, m := range d.Modules {
		fmt.Fprintf(tw, "module\t%s\t%s\n", m.Name, m.Act)
	}
	for _, c := range d.Configurations {
		fmt.Fprintf(tw, "configuration\t%s\t%s\n", c.Name, c.Act)
	}
	for _, c := range d.Containers {
		if c.Act != plan.Kept {
			fmt.Fprintf(tw, "container\t%s/%s\t%s\n", c.Configuration, c.Name, strings.TrimSuffix(string(c.Act)+": "+strings.Join(c.Why, ", "), ": "))
		}
	}
	for _, i := range d.Images {
		if i.Changed+i.Added+i.Removed > 0 {
			fmt.Fprintf(tw, "files of\t%s\t%s kept, %s changed, %s added, %s removed\n", i.Container, bytesText(i.Kept), bytesText(i.Changed), bytesText(i.Added), bytesText(i.Removed))
		}
	}
	for _, f := range d.Files {
		if files {
			fmt.Fprintf(tw, "file\t%s:%s\t%s\n", f.Container, printable(f.Path), differenceText(f))
		}
	}
	if n := len(d.Files); n > 0 && !files {
		fmt.Fprintf(tw, "files\t%d differ; --files lists them\n", n)
	}
	return tw.Flush()
}

// differenceText says what became of a file.
func differenceText(f plan.ChangedEntry) string {
	switch f.Act {
	case plan.Added:
		return "added, " + bytesText(f.SizeTo)
	case plan.Removed:
		return "removed, " + bytesText(f.SizeFrom)
	}
	text := strings.Join(f.What, ", ")
	if f.From != "" {
		text += ": " + printable(f.From) + " -> " + printable(f.To)
	}
	if f.SizeFrom != f.SizeTo {
		text += fmt.Sprintf(", %s -> %s", bytesText(f.SizeFrom), bytesText(f.SizeTo))
	}
	return text
}
