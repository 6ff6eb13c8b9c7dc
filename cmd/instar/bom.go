package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/instar-os/instar/internal/assemble"
	"github.com/instar-os/instar/internal/bom"
	"github.com/instar-os/instar/internal/durable"
)

func bomCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bom",
		Short: "Say what systems are made of: bills of material",
	}
	cmd.AddCommand(bomMakeCommand(a), bomQueryCommand(a))
	return cmd
}

// billing is what bom make was asked for.
type billing struct {
	assemble.BOMOptions
	format, arch, to string
}

func bomMakeCommand(a *app) *cobra.Command {
	f := billing{}
	cmd := &cobra.Command{
		Use:   "make",
		Short: "Write the bill of material of a system or a container",
		Long: `Builds the system of the definition and writes what it is made of: packages of
Debian with their source packages, licences and dependencies, paths of Nix closures,
OCI images with the packages that their own lists name, downloads, and which
container of which configuration has each. With --files every file is listed with
its SHA-1 and SHA-256.

The formats are SPDX 2.3 and CycloneDX 1.6, both in JSON. The same lock gives the
same bytes: all times are the lock's.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.Tool = version
			return a.makeBill(cmd.Context(), f)
		},
	}
	cmd.Flags().StringVar(&f.format, "format", "spdx", "spdx or cyclonedx")
	cmd.Flags().StringVar(&f.Container, "container", "", "container to write the bill of (default: the whole system)")
	cmd.Flags().StringVar(&f.arch, "arch", "", "architecture (default: the definition's first)")
	cmd.Flags().BoolVar(&f.Files, "files", false, "list every file with its digests")
	cmd.Flags().StringVar(&f.to, "to", "", "file to write (default: standard output)")
	return cmd
}

func (a *app) makeBill(ctx context.Context, f billing) error {
	write, ok := map[string]func(*bom.Bill) ([]byte, error){"spdx": (*bom.Bill).SPDX, "cyclonedx": (*bom.Bill).CycloneDX}[f.format]
	if !ok {
		return fmt.Errorf("--format %q: want spdx or cyclonedx", f.format)
	}
	bill, err := a.bill(ctx, f)
	if err != nil {
		return err
	}
	text, err := write(bill)
	if err != nil {
		return err
	}
	a.progress.done()
	if f.to == "" {
		_, err := a.out.Write(text)
		return err
	}
	if err := os.MkdirAll(filepath.Dir(f.to), 0o755); err != nil {
		return err
	}
	if err := durable.WriteFile(f.to, 0o644, text); err != nil {
		return err
	}
	done := billed{f.to, len(bill.Components), len(bill.Files), bill.System.String()}
	return a.print(done, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s: %d components, %d files of system %.12s\n", done.To, done.Components, done.Files, done.System)
		return err
	})
}

// billed is what bom make prints.
type billed struct {
	To         string `json:"to"`
	Components int    `json:"components"`
	Files      int    `json:"files"`
	System     string `json:"system"`
}

// bill gathers the bill of material of the definition.
func (a *app) bill(ctx context.Context, f billing) (*bom.Bill, error) {
	def, lk, err := a.locked()
	if err != nil {
		return nil, err
	}
	arches, err := chosenArches(def, pick(f.arch))
	if err != nil {
		return nil, err
	}
	st, err := a.openStore()
	if err != nil {
		return nil, err
	}
	defer st.Close()
	bill, _, err := a.builder(st).BOM(ctx, def, lk, arches[0], f.BOMOptions)
	return bill, err
}
