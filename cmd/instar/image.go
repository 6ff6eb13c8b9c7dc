package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/instar-os/instar/internal/assemble"
	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/image"
	"github.com/instar-os/instar/internal/lock"
	"github.com/instar-os/instar/internal/store"
)

func imageCommand(a *app) *cobra.Command {
	var arch, kind, to string
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "image",
		Short: "Write a disk image of the machine",
		Long: `Builds the system and writes a disk that boots by UEFI: boot slots, the store,
and, with vm.disk, room for the data partition that the device makes at its
first boot. Needs no root and mounts nothing. The same system gives the same bytes.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			def, lk, err := a.locked()
			if err != nil {
				return err
			}
			arches, err := chosenArches(def, pick(arch))
			if err != nil {
				return err
			}
			if kind != "raw" && kind != "qcow2" {
				return fmt.Errorf("--type %q: want raw or qcow2", kind)
			}
			if to == "" {
				to = filepath.Join(a.dir(), "out", def.Machine+"-"+arches[0]+"."+kind)
			}
			return a.image(cmd.Context(), def, lk, arches[0], kind, to, dryRun)
		},
	}
	cmd.Flags().StringVar(&arch, "arch", "", "architecture (default: the first of the definition)")
	cmd.Flags().StringVarP(&kind, "type", "t", "raw", "raw or qcow2")
	cmd.Flags().StringVar(&to, "to", "", "file to write (default: out/MACHINE-ARCH.TYPE beside the definition)")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only print the sizes")
	return cmd
}

func (a *app) image(ctx context.Context, def *config.Definition, lk *lock.Lock, arch, kind, to string, dryRun bool) error {
	res, st, err := a.system(ctx, def, lk, arch)
	if err != nil {
		return err
	}
	defer st.Close()
	plan, err := planDisk(st, res, def)
	if err != nil {
		return err
	}
	if !dryRun {
		if err := a.writeDisk(ctx, st, def, lk, plan, kind, to); err != nil {
			return err
		}
	}
	return a.print(plan.Sizes, func(w io.Writer) error {
		fmt.Fprintln(w, to)
		return printDisk(w, &plan.Sizes)
	})
}

func planDisk(st *store.Store, res *assemble.Result, def *config.Definition) (*image.Plan, error) {
	return image.NewPlan(st, res.Digest, image.Options{
		Size: int64(def.VM.Disk), StoreSize: int64(def.Boot.StoreSize),
		Budget: image.Budget{
			Slot: int64(def.Budget.Slot), Store: int64(def.Budget.Store), Total: int64(def.Budget.Total),
		},
	})
}

func (a *app) writeDisk(ctx context.Context, st *store.Store, def *config.Definition, lk *lock.Lock, plan *image.Plan, kind, to string) error {
	tools, err := a.builder(st).FilesystemTools(ctx, def, lk)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	a.progress.event(assemble.Event{Stage: "image", Item: to})
	if kind == "qcow2" {
		return plan.WriteQcow2(ctx, tools.Command, to)
	}
	return plan.WriteRaw(ctx, tools.Command, to)
}

func printDisk(w io.Writer, s *image.Sizes) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(tw, "%s\t boot slot\n", bytesText(s.SlotUsed))
	for _, p := range s.Slot {
		fmt.Fprintf(tw, "%s\t   %s\n", bytesText(p.Bytes), p.Name)
	}
	fmt.Fprintf(tw, "%s\t store\n", bytesText(s.StoreUsed))
	for _, p := range s.Store {
		fmt.Fprintf(tw, "%s\t   %s\n", bytesText(p.Bytes), p.Name)
	}
	fmt.Fprintf(tw, "%s\t slot and store\n", bytesText(s.Used()))
	fmt.Fprintf(tw, "%s\t disk\n", bytesText(s.Disk))
	return tw.Flush()
}

// defaultData is the room that a virtual machine's disk has for data when the
// definition does not say.
const defaultData = 64 << 20

// vmDisk returns the disk image to boot and the size it is to have. Images lie
// in the cache by the system's digest; --disk is made from one when it is not there.
func (a *app) vmDisk(ctx context.Context, def *config.Definition, lk *lock.Lock, arch string, f vmFlags) (path string, size int64, err error) {
	res, st, err := a.system(ctx, def, lk, arch)
	if err != nil {
		return "", 0, err
	}
	defer st.Close()
	plan, err := planDisk(st, res, def)
	if err != nil {
		return "", 0, err
	}
	if size = int64(def.VM.Disk); size == 0 {
		size = plan.Sizes.Disk + defaultData
	}
	path = f.disk
	if path == "" {
		path = filepath.Join(a.cacheDir, "disks", fmt.Sprintf("%s-%d.raw", res.Digest, plan.Sizes.Disk))
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return path, size, err
	}
	if f.disk == "" {
		if err := a.dropOldDisks(); err != nil {
			return "", 0, err
		}
	}
	return path, size, a.writeDisk(ctx, st, def, lk, plan, "raw", path)
}

// keptDisks is how many disk images of instar vm stay in the cache.
const keptDisks = 6

// dropOldDisks removes the oldest cached disk images.
func (a *app) dropOldDisks() error {
	dir := filepath.Join(a.cacheDir, "disks")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for len(entries) >= keptDisks {
		oldest := 0
		for i := range entries {
			if modified(entries[i]) < modified(entries[oldest]) {
				oldest = i
			}
		}
		if err := os.Remove(filepath.Join(dir, entries[oldest].Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		entries = append(entries[:oldest], entries[oldest+1:]...)
	}
	return nil
}

func modified(e fs.DirEntry) int64 {
	info, err := e.Info()
	if err != nil {
		return 0
	}
	return info.ModTime().UnixNano()
}
