package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

func treeCommand(a *app) *cobra.Command {
	var arch, to string
	cmd := &cobra.Command{
		Use:   "tree NAME",
		Short: "List a tree of the definition, or write it into a directory",
		Long: `Builds one tree and lists it: path, kind, mode, owner, size, content and target
of each entry. With --to its files are written into a new directory, as
ordinary files of the calling user: owners, devices and setuid bits are dropped.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			def, lk, err := a.locked()
			if err != nil {
				return err
			}
			if _, ok := def.Trees[args[0]]; !ok {
				return fmt.Errorf("the definition has no tree %q", args[0])
			}
			arches, err := chosenArches(def, pick(arch))
			if err != nil {
				return err
			}
			st, err := a.openStore()
			if err != nil {
				return err
			}
			defer st.Close()
			b := a.builder(st)
			trees, err := b.Trees(cmd.Context(), def, lk, arches[0], args)
			if err != nil {
				return err
			}
			if err := st.Commit(); err != nil {
				return err
			}
			t := trees[args[0]]
			if to != "" {
				if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
					return errors.Join(fmt.Errorf("%s exists already; a tree is written into a new directory", to), err)
				}
				dir, err := filepath.Abs(to)
				if err != nil {
					return err
				}
				return b.Export(t, dir)
			}
			listing, err := t.MarshalText()
			if err != nil {
				return err
			}
			a.progress.done()
			_, err = a.out.Write(listing)
			return err
		},
	}
	cmd.Flags().StringVar(&arch, "arch", "", "architecture (default: the first of the definition)")
	cmd.Flags().StringVar(&to, "to", "", "directory to write, which must not exist")
	return cmd
}
