package main

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/instar-os/instar/internal/assemble"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/store"
)

func storeCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "store",
		Short: "Look after the store of objects, images and systems",
	}
	cmd.AddCommand(storeDuCommand(a), storeVerifyCommand(a), storeGCCommand(a))
	return cmd
}

func storeDuCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "du [SYSTEM...]",
		Short: "Show what systems take and what sharing saves",
		Long:  "Default: all systems that are roots of the store.",
		RunE: func(_ *cobra.Command, args []string) error {
			st, err := a.openStore()
			if err != nil {
				return err
			}
			defer st.Close()
			systems, err := chosenSystems(st, args)
			if err != nil {
				return err
			}
			usage, err := st.Du(systems, nil)
			if err != nil {
				return err
			}
			return a.print(usage, func(w io.Writer) error { return printUsage(w, usage) })
		},
	}
}

// chosenSystems resolves names, or takes every root's system once.
func chosenSystems(st *store.Store, names []string) ([]digest.Digest, error) {
	var out []digest.Digest
	for _, n := range names {
		d, err := findSystem(st, n)
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	if len(names) > 0 {
		return out, nil
	}
	roots, err := st.Roots()
	if err != nil {
		return nil, err
	}
	seen := map[digest.Digest]bool{}
	for _, r := range roots {
		if !seen[r.System] {
			seen[r.System] = true
			out = append(out, r.System)
		}
	}
	return out, nil
}

func storeVerifyCommand(a *app) *cobra.Command {
	var from string
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Hash everything in the store again",
		Long:  "Compares every object, image and system with its name and lists what is damaged or missing; exits with 1 when something is. --repair takes good copies from another store directory.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			st, err := a.openStore()
			if err != nil {
				return err
			}
			defer st.Close()
			report, err := a.verifyStore(cmd, st)
			if err != nil {
				return err
			}
			if !report.OK() && from != "" {
				if report, err = a.repair(cmd, st, from, report); err != nil {
					return err
				}
			}
			if err := a.print(report, func(w io.Writer) error { return printReport(w, report) }); err != nil {
				return err
			}
			if !report.OK() {
				return exitCode(1)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&from, "repair", "", "store directory to take good copies from")
	return cmd
}

func (a *app) verifyStore(cmd *cobra.Command, st *store.Store) (*store.Report, error) {
	return st.Verify(cmd.Context(), func(done, total int64) {
		a.progress.event(assemble.Event{Stage: "verify", Done: done, Total: total, Bytes: true})
	})
}

// repair copies what is damaged or missing and verifies again.
func (a *app) repair(cmd *cobra.Command, st *store.Store, from string, report *store.Report) (*store.Report, error) {
	src, err := store.Open(from, store.Options{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer src.Close()
	got, err := st.Repair(cmd.Context(), src, report)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(a.err, "repaired %d files, %s\n", got.Files, bytesText(got.Bytes))
	return a.verifyStore(cmd, st)
}

func printReport(w io.Writer, r *store.Report) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, f := range r.Damaged {
		fmt.Fprintf(tw, "damaged\t%s\t%s\t%s\n", f.Kind, f.Digest, f.Problem)
	}
	for _, f := range r.Missing {
		fmt.Fprintf(tw, "missing\t%s\t%s\t%s\n", f.Kind, f.Digest, f.Problem)
	}
	for _, p := range r.Strange {
		fmt.Fprintf(tw, "strange\t%s\n", p)
	}
	fmt.Fprintf(tw, "checked %d files, %s: %d damaged, %d missing\n", r.Checked.Files, bytesText(r.Checked.Bytes), len(r.Damaged), len(r.Missing))
	return tw.Flush()
}

func storeGCCommand(a *app) *cobra.Command {
	var dryRun bool
	var forget []string
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Delete what no root of the store needs",
		Long:  "The system last built from each definition and architecture is a root; --forget removes such a name first. Unpacked packages that no system uses go too and are unpacked again when a build wants them.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			st, err := a.openStore()
			if err != nil {
				return err
			}
			defer st.Close()
			if dryRun && len(forget) > 0 {
				return errors.New("--forget changes the store, --dry-run does not: give one of them")
			}
			for _, name := range forget {
				if err := st.DeleteRoot(name); err != nil {
					return err
				}
			}
			plan, err := st.PlanGC(nil)
			if err != nil {
				return err
			}
			if !dryRun {
				if err := st.ExecuteGC(cmd.Context(), plan); err != nil {
					return err
				}
			}
			return a.print(plan, func(w io.Writer) error {
				_, err := fmt.Fprint(w, plan.String())
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be deleted")
	cmd.Flags().StringArrayVar(&forget, "forget", nil, "root to remove, as greenhouse-amd64 (repeatable)")
	return cmd
}
