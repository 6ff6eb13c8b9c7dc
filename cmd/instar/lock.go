package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/instar-os/instar/internal/assemble"
	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/durable"
	"github.com/instar-os/instar/internal/lock"
)

func lockCommand(a *app) *cobra.Command {
	var update, dryRun bool
	var accept []string
	cmd := &cobra.Command{
		Use:   "lock",
		Short: "Pin every input by digest",
		Long: `Resolves the packages of every tree, the kernel, the boot loader and the tools
against the signed archives, reads all maintainer scripts, and writes the lock
file beside the definition. A lock that fits the definition is left alone;
--update moves it to what the archives have now. Prints what changes: versions,
bytes, and the CVE numbers that the packages' own changelogs name.

With --offline the archives' answers of the last time are used.

Fails when a maintainer script does something that no rule explains, unless the
tree's "accept" lists the package. What was accepted is bound to the script's
SHA-256: when an update brings another script, --accept NAME accepts that one.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			def, err := a.definition()
			if err != nil {
				return err
			}
			old, err := a.readLock()
			if err != nil && !update {
				return err
			}
			if current, err := fits(def, old); err != nil || (current && !update) {
				if err == nil && !a.json() {
					fmt.Fprintf(a.out, "%s is up to date with the definition\n", a.lockPath())
				}
				return err
			}
			b, lk, err := a.resolve(cmd, def, old, accept)
			if err != nil {
				return err
			}
			if err := a.printChanges(cmd, b, def, old, lk); err != nil || dryRun {
				return err
			}
			text, err := lk.Format()
			if err != nil {
				return err
			}
			return durable.WriteFile(a.lockPath(), 0o644, text)
		},
	}
	cmd.Flags().BoolVar(&update, "update", false, "resolve anew though the lock fits the definition")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only print what would change")
	cmd.Flags().StringSliceVar(&accept, "accept", nil, "packages whose accepted scripts may have changed (repeatable)")
	return cmd
}

func outdatedCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "outdated",
		Short: "Show what lock --update would change",
		Long:  "Resolves the definition against what the archives have now and prints the differences to the lock, without writing it. Exits with 0 whether or not there are any.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			def, old, err := a.locked()
			if err != nil {
				return err
			}
			b, lk, err := a.resolve(cmd, def, old, nil)
			if err != nil {
				return err
			}
			return a.printChanges(cmd, b, def, old, lk)
		},
	}
}

// fits reports whether a lock answers the definition.
func fits(def *config.Definition, lk *lock.Lock) (bool, error) {
	if lk == nil {
		return false, nil
	}
	request, err := config.RequestDigest(def)
	if err != nil {
		return false, err
	}
	return lock.Check(lk, def.Machine, request) == nil, nil
}

func (a *app) resolve(cmd *cobra.Command, def *config.Definition, old *lock.Lock, accept []string) (*assemble.Builder, *lock.Lock, error) {
	st, err := a.openStore()
	if err != nil {
		return nil, nil, err
	}
	b := a.builder(st)
	lk, err := b.Lock(cmd.Context(), def, assemble.LockOptions{Old: old, Now: time.Now(), Keys: b.KeyFile, Accept: accept})
	return b, lk, err
}

func (a *app) printChanges(cmd *cobra.Command, b *assemble.Builder, def *config.Definition, old, lk *lock.Lock) error {
	changes := lock.Diff(old, lk)
	cves, err := b.Advisories(cmd.Context(), def, changes)
	if err != nil {
		return err
	}
	report := struct {
		lock.Changes
		Advisories []assemble.Advisory `json:"advisories"`
	}{changes, cves}
	return a.print(report, func(w io.Writer) error {
		if _, err := fmt.Fprint(w, changes.String()); err != nil {
			return err
		}
		for _, c := range cves {
			if _, err := fmt.Fprintf(w, "  fixes in %s %s: %s\n", c.Package, c.Version, c.List()); err != nil {
				return err
			}
		}
		return nil
	})
}

func vendorCommand(a *app) *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "vendor [DIR]",
		Short: "Collect every pinned input for builds without a network",
		Long:  "Copies all files that the lock pins, tools included, into DIR (default: vendor beside the definition). Builds use that directory before any download.",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			def, lk, err := a.locked()
			if err != nil {
				return err
			}
			dir := a.dir() + "/vendor"
			if len(args) == 1 {
				dir = args[0]
			}
			st, err := a.openStore()
			if err != nil {
				return err
			}
			b := a.builder(st)
			plan, err := b.PlanVendor(def, lk, dir)
			if err != nil {
				return err
			}
			if !dryRun {
				if err := os.MkdirAll(dir, 0o755); err != nil {
					return err
				}
				if err := b.ExecuteVendor(cmd.Context(), plan); err != nil {
					return err
				}
			}
			return a.print(plan, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "%s: %d files, %s; %d of them new, %s\n", dir,
					len(plan.Files), bytesText(plan.Bytes), plan.NewFiles, bytesText(plan.NewBytes))
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be copied")
	return cmd
}
