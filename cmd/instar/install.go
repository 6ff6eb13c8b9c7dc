package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/image"
	"github.com/instar-os/instar/internal/lock"
	"github.com/instar-os/instar/internal/store"
)

// installFlags are the flags of instar install.
type installFlags struct {
	arch, prefix  string
	force, dryRun bool
}

func installCommand(a *app) *cobra.Command {
	var f installFlags
	cmd := &cobra.Command{
		Use:   "install [DISK]",
		Short: "Install the machine on a disk, or its store into a directory",
		Long: `Writes the machine's disk onto DISK, a block device or an image file that is
there, using all of it: what slots and store leave becomes data. A disk that
holds something is refused without --force; one that is in use always. No
virtual machine is involved, and no root for an image file.

With --prefix only the store is filled, below a directory: what a system needs
that is started by other means.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(args) == 1) == (f.prefix != "") {
				return errors.New("give a disk or --prefix, one of them")
			}
			def, lk, err := a.locked()
			if err != nil {
				return err
			}
			arches, err := chosenArches(def, pick(f.arch))
			if err != nil {
				return err
			}
			if f.prefix != "" {
				return a.installStore(cmd.Context(), def, lk, arches[0], f)
			}
			return a.installDisk(cmd.Context(), def, lk, arches[0], args[0], f)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.arch, "arch", "", "architecture (default: the first of the definition)")
	fl.StringVar(&f.prefix, "prefix", "", "directory to fill with the store")
	fl.BoolVar(&f.force, "force", false, "replace what the disk holds")
	fl.BoolVar(&f.dryRun, "dry-run", false, "only say what would be written")
	return cmd
}

func (a *app) installDisk(ctx context.Context, def *config.Definition, lk *lock.Lock, arch, path string, f installFlags) error {
	size, err := image.DiskSize(path)
	if err != nil {
		return err
	}
	if err := image.CheckEmpty(path); err != nil && !(f.force && errors.Is(err, image.ErrOccupied)) {
		return err
	}
	res, st, err := a.system(ctx, def, lk, arch)
	if err != nil {
		return err
	}
	defer st.Close()
	def.VM.Disk = config.Size(size)
	plan, err := planDisk(st, res, def)
	if err != nil {
		return err
	}
	if !f.dryRun {
		tools, err := a.builder(st).FilesystemTools(ctx, def, lk)
		if err != nil {
			return err
		}
		if err := plan.Install(ctx, tools.Command, path); err != nil {
			return err
		}
	}
	return a.print(plan.Sizes, func(w io.Writer) error {
		fmt.Fprintln(w, path)
		return printDisk(w, &plan.Sizes)
	})
}

// installed is what install --prefix prints.
type installed struct {
	Prefix string        `json:"prefix"`
	System digest.Digest `json:"system"`
	Copied store.Amount  `json:"copied"`
	All    int64         `json:"bytes"` // of the system
}

func (a *app) installStore(ctx context.Context, def *config.Definition, lk *lock.Lock, arch string, f installFlags) error {
	res, st, err := a.system(ctx, def, lk, arch)
	if err != nil {
		return err
	}
	defer st.Close()
	closure, err := st.Closure(res.Digest)
	if err != nil {
		return err
	}
	done := installed{Prefix: f.prefix, System: res.Digest, All: closure.Bytes()}
	if !f.dryRun {
		if done.Copied, err = fill(ctx, f.prefix, st, closure, rootName(def.Machine, arch), res.Digest); err != nil {
			return err
		}
	}
	return a.print(done, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s: system %s, %s; %d files, %s copied\n", f.prefix, res.Digest.Short(),
			bytesText(done.All), done.Copied.Files, bytesText(done.Copied.Bytes))
		return err
	})
}

// fill copies a closure into the store at a directory and makes the system a
// root of it.
func fill(ctx context.Context, dir string, from *store.Store, c store.Closure, name string, d digest.Digest) (store.Amount, error) {
	to, err := store.Open(dir, store.Options{})
	if err != nil {
		return store.Amount{}, err
	}
	defer to.Close()
	got, err := to.CopyFrom(ctx, from, c)
	if err != nil {
		return got, err
	}
	return got, to.SetRoot(name, d)
}
