package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/instar-os/instar/internal/assemble"
	"github.com/instar-os/instar/internal/delta"
	"github.com/instar-os/instar/internal/delta/pack"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/durable"
	"github.com/instar-os/instar/internal/store"
)

func deltaCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "delta",
		Short: "Make updates from one system to the next",
	}
	cmd.AddCommand(deltaMakeCommand(a), deltaExplainCommand(a))
	return cmd
}

func deltaMakeCommand(a *app) *cobra.Command {
	var to string
	var keys []string
	cmd := &cobra.Command{
		Use:   "make [FROM…] TO",
		Short: "Write an update to a file",
		Long: `Writes the signed difference that leads from any of the systems FROM to the
system TO, as one file for instar send, instar apply or any web server. Without
FROM the update is complete: it leads to TO from every system of the machine.
Systems are named by a digest, the beginning of one, or as MACHINE-ARCH.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			signers, err := readKeys(keys)
			if err != nil {
				return err
			}
			st, err := a.openStore()
			if err != nil {
				return err
			}
			defer st.Close()
			systems, err := chosenSystems(st, args)
			if err != nil {
				return err
			}
			target := systems[len(systems)-1]
			o := pack.Options{Bases: systems[:len(systems)-1], Keys: signers}
			if to == "" {
				to = target.Short() + ".instar"
			}
			r, err := a.writeDelta(cmd.Context(), st, target, o, to)
			if err != nil {
				return err
			}
			return a.print(r, func(w io.Writer) error {
				fmt.Fprintln(w, to)
				return printDelta(w, r)
			})
		},
	}
	keyFlag(cmd, &keys)
	cmd.Flags().StringVar(&to, "to", "", "file to write (default: named after TO, with .instar)")
	return cmd
}

// writeDelta makes an update in a file that appears when it is whole.
func (a *app) writeDelta(ctx context.Context, st *store.Store, target digest.Digest, o pack.Options, to string) (*pack.Report, error) {
	o.Progress = func(done, total int64) {
		a.progress.event(assemble.Event{Stage: "update", Done: done, Total: total, Bytes: true})
	}
	o.Scratch = filepath.Dir(to)
	f, err := durable.Create(filepath.Dir(to), 0o644)
	if err != nil {
		return nil, err
	}
	r, err := pack.Write(ctx, st, target, o, f)
	if err != nil {
		return nil, errors.Join(err, f.Abort())
	}
	return r, f.Commit(to)
}

func printDelta(w io.Writer, r *pack.Report) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(tw, "%s\t head, hashes, signatures\t\n", bytesText(r.Front))
	for _, p := range r.Parts {
		what := plural(p.Kind)
		if p.Class != 0 {
			what = p.Class.String()
		}
		fmt.Fprintf(tw, "%s\t %s\t %d of %s, %s\n", bytesText(p.Stored), p.Method, p.Contents, what, bytesText(p.Size))
	}
	fmt.Fprintf(tw, "%s\t in all\t\n", bytesText(r.Size))
	return tw.Flush()
}

func plural(k delta.Kind) string { return k.String() + "s" }

func deltaExplainCommand(a *app) *cobra.Command {
	var files bool
	cmd := &cobra.Command{
		Use:   "explain FILE",
		Short: "Show where an update leads from and to, who signed it, and where its bytes are",
		Long: `Shows where an update leads from and to, who signed it, and where its bytes are,
by kind of content. With --files it says what each file costs, the dearest first:
for that it is decoded, which needs one of its bases in the store.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			u, err := a.openUpdate(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer u.Close()
			e := explainedDelta{Machine: u.Machine, Arch: u.Arch, Report: pack.Report{
				Target: u.Target, Bases: u.Bases, Front: u.Update.Front, Size: u.Update.Front + u.BodySize, Parts: pack.Parts(&u.Head)}}
			for _, s := range u.Signatures {
				e.Signers = append(e.Signers, s.Key.String())
			}
			if files {
				if e.Files, err = a.deltaFiles(u.Update, args[0]); err != nil {
					return err
				}
			}
			return a.print(e, func(w io.Writer) error { return printExplained(w, &e) })
		},
	}
	cmd.Flags().BoolVar(&files, "files", false, "say what each file costs")
	return cmd
}

// deltaFiles lists what the contents of an update cost, the dearest first.
func (a *app) deltaFiles(u *delta.Update, name string) ([]pack.File, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("--files decodes a file of this host: %w", err)
	}
	defer f.Close()
	st, err := a.openStore()
	if err != nil {
		return nil, err
	}
	defer st.Close()
	all, err := pack.Files(st, u, io.NewSectionReader(f, u.Front, u.BodySize))
	slices.SortStableFunc(all, func(a, b pack.File) int { return cmp.Compare(b.Stored, a.Stored) })
	return all, err
}

// explainedDelta is what explain prints.
type explainedDelta struct {
	Machine string   `json:"machine"`
	Arch    string   `json:"arch"`
	Signers []string `json:"signers"` // IDs of keys; nobody checked the signatures
	pack.Report
	Files []pack.File `json:"files,omitempty"`
}

func printExplained(w io.Writer, e *explainedDelta) error {
	fmt.Fprintf(w, "for %s on %s\n", e.Machine, e.Arch)
	for _, b := range e.Bases {
		fmt.Fprintf(w, "from system %s\n", b)
	}
	if len(e.Bases) == 0 {
		fmt.Fprintln(w, "from any system, or none")
	}
	fmt.Fprintf(w, "to system %s\nsigned by %s\n", e.Target, strings.Join(e.Signers, ", "))
	if err := printDelta(w, &e.Report); err != nil || e.Files == nil {
		return err
	}
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	for _, f := range e.Files {
		text := f.Kind.String() + " " + printable(f.Path)
		if f.Base != "" && f.Base != f.Path {
			text += ", made of " + printable(f.Base)
		}
		fmt.Fprintf(tw, "%s\t of %s\t %s\n", bytesText(f.Stored), bytesText(f.Size), text)
	}
	return tw.Flush()
}
