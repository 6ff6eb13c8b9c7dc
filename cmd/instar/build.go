package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/instar-os/instar/internal/assemble"
	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/lock"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/system"
)

// built is one line of what build prints.
type built struct {
	Machine string        `json:"machine"`
	Arch    string        `json:"arch"`
	System  digest.Digest `json:"system"`
	Checked bool          `json:"checked,omitempty"`
	// Conditions are those of the real-time proofs, by configuration.
	Conditions map[string][]string `json:"conditions,omitempty"`
}

func buildCommand(a *app) *cobra.Command {
	var arches []string
	var check, dryRun bool
	cmd := &cobra.Command{
		Use:   "build [FILE...]",
		Short: "Build the system of a definition into the store",
		Long: `Builds the system of each architecture and prints its digest. Several
definitions may be named; what they share is built once. --check builds a second
time from the downloads alone, in a fresh store and cache, and compares.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{a.file}
			}
			var all []built
			for _, name := range args {
				a.file = name
				done, err := a.buildOne(cmd.Context(), arches, check, dryRun)
				if err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
				all = append(all, done...)
			}
			return a.print(all, func(w io.Writer) error { return printBuilt(w, all) })
		},
	}
	cmd.Flags().StringSliceVar(&arches, "arch", nil, "architectures to build (default: those of the definition)")
	cmd.Flags().BoolVar(&check, "check", false, "build twice and compare")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be fetched")
	return cmd
}

func printBuilt(w io.Writer, all []built) error {
	for _, b := range all {
		note := ""
		if b.Checked {
			note = "  built twice, bit for bit equal"
		}
		if _, err := fmt.Fprintf(w, "%s %s %s%s\n", b.Machine, b.Arch, b.System, note); err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(b.Conditions)) {
			for _, c := range b.Conditions[name] {
				fmt.Fprintf(w, "%s: its tasks are in time on the condition that %s\n", name, c)
			}
		}
	}
	return nil
}

func (a *app) buildOne(ctx context.Context, arches []string, check, dryRun bool) ([]built, error) {
	def, lk, err := a.locked()
	if err != nil {
		return nil, err
	}
	if arches, err = chosenArches(def, arches); err != nil {
		return nil, err
	}
	a.notes(def)
	if dryRun {
		return nil, a.printMissing(def, lk, arches)
	}
	var out []built
	for _, arch := range arches {
		res, _, err := a.system(ctx, def, lk, arch)
		if err != nil {
			return nil, err
		}
		a.progress.done()
		for _, n := range res.Notes {
			fmt.Fprintf(a.err, "note: %s\n", n)
		}
		if check {
			if err := a.buildAgain(ctx, def, lk, arch, res); err != nil {
				return nil, err
			}
		}
		out = append(out, built{def.Machine, arch, res.Digest, check, conditions(res.Manifest)})
	}
	return out, nil
}

// conditions returns what the proofs of a system rest upon, by configuration.
func conditions(m *system.Manifest) map[string][]string {
	out := map[string][]string{}
	for _, c := range m.Configurations {
		if c.RealTime != nil && len(c.RealTime.Conditions) > 0 {
			out[c.Name] = c.RealTime.Conditions
		}
	}
	return out
}

func chosenArches(def *config.Definition, chosen []string) ([]string, error) {
	if len(chosen) == 0 {
		return def.Arch, nil
	}
	for _, c := range chosen {
		if !slices.Contains(def.Arch, c) {
			return nil, fmt.Errorf("--arch %s: the definition is for %v", c, def.Arch)
		}
	}
	return chosen, nil
}

// rootName names a built system among the store's roots.
func rootName(machine, arch string) string { return machine + "-" + arch }

// system builds one architecture and makes it a root of the store.
func (a *app) system(ctx context.Context, def *config.Definition, lk *lock.Lock, arch string) (*assemble.Result, *store.Store, error) {
	st, err := a.openStore()
	if err != nil {
		return nil, nil, err
	}
	res, err := a.builder(st).System(ctx, def, lk, arch)
	if err != nil {
		return nil, nil, err
	}
	return res, st, st.SetRoot(rootName(def.Machine, arch), res.Digest)
}

// buildAgain builds in a store and cache of its own and compares the systems.
func (a *app) buildAgain(ctx context.Context, def *config.Definition, lk *lock.Lock, arch string, first *assemble.Result) error {
	dir, err := os.MkdirTemp(a.cacheDir, "check-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	st, err := store.Open(filepath.Join(dir, "store"), store.Options{})
	if err != nil {
		return err
	}
	b := a.builder(st)
	b.Cache, b.Parallel = dir, 1
	second, err := b.System(ctx, def, lk, arch)
	if err != nil {
		return fmt.Errorf("second build: %w", err)
	}
	if second.Digest == first.Digest {
		return nil
	}
	return fmt.Errorf("the second build gave another system: %s, then %s\n%s", first.Digest, second.Digest,
		assemble.Difference(first.Manifest, second.Manifest))
}

func (a *app) printMissing(def *config.Definition, lk *lock.Lock, arches []string) error {
	st, err := a.openStore()
	if err != nil {
		return err
	}
	plan, err := a.builder(st).PlanFetch(def, lk, arches)
	if err != nil {
		return err
	}
	return a.print(plan, func(w io.Writer) error {
		tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
		for _, f := range plan.Files {
			fmt.Fprintf(tw, "%s\t%s\n", f.What, bytesText(f.Size))
		}
		fmt.Fprintf(tw, "to download: %d files\t%s\n", len(plan.Files), bytesText(plan.Bytes))
		return tw.Flush()
	})
}
