// Command slots measures what a switch of boot slots costs: a slot of 200 MB is
// formatted, written, synced, read back from the medium and put in force, beside
// dd that writes the same bytes to the same file and syncs them.
package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/instar-os/instar/internal/disk"
	"github.com/instar-os/instar/internal/linux"
	"github.com/instar-os/instar/internal/slot"
)

const (
	content  = 200 << 20 // bytes of one slot's files
	slotSize = 256 << 20
	rounds   = 7
	goal     = 1.5 // of dd's time
)

type result struct {
	Bytes int64     `json:"bytes"`
	DD    []float64 `json:"dd"`     // seconds of each round
	Slot  []float64 `json:"slot"`   // the same
	Ratio float64   `json:"ratio"`  // of the medians
	Goal  float64   `json:"atMost"` // that ratio
}

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(report string) error {
	dir, err := os.MkdirTemp(filepath.Dir(report), "slots-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	source, target := filepath.Join(dir, "source"), filepath.Join(dir, "disk")
	if err := fill(source, content); err != nil {
		return err
	}
	if err := format(target); err != nil {
		return err
	}
	r := result{Bytes: content, Goal: goal}
	for range rounds {
		took, err := timed(func() error { return dd(source, target) })
		if err != nil {
			return err
		}
		r.DD = append(r.DD, took)
		if took, err = timed(func() error { return change(source, target) }); err != nil {
			return err
		}
		r.Slot = append(r.Slot, took)
	}
	r.Ratio = median(r.Slot) / median(r.DD)
	fmt.Printf("%d MiB: dd and sync %.3f s, slot written, verified and switched %.3f s: %.2f times\n",
		content>>20, median(r.DD), median(r.Slot), r.Ratio)
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(report, append(b, '\n'), 0o644); err != nil {
		return err
	}
	if r.Ratio > goal {
		return fmt.Errorf("a switch takes %.2f times what dd takes; at most %.1f is the goal", r.Ratio, goal)
	}
	return nil
}

func timed(do func() error) (float64, error) {
	began := time.Now()
	err := do()
	return time.Since(began).Seconds(), err
}

func median(all []float64) float64 {
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
}

// fill writes random bytes, which no layer below can make less of.
func fill(path string, n int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.CopyN(f, rand.Reader, n)
	return errors.Join(err, f.Sync(), f.Close())
}

// format makes a disk of two slots whose blocks are all there.
func format(path string) error {
	size := disk.MinSize(slotSize+slot.Gap, slotSize+slot.Gap)
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.CopyN(f, rand.Reader, size); err != nil {
		return err
	}
	g := &disk.GPT{Disk: disk.SeedGUID(nil, "disk"), Size: size}
	if err := slot.Add(g, 2, slotSize, true, func(name string) disk.GUID { return disk.SeedGUID(nil, name) }); err != nil {
		return err
	}
	return errors.Join(g.Write(f), f.Sync())
}

// dd writes the bytes where the first slot's begin.
func dd(source, target string) error {
	out, err := exec.Command("dd", "if="+source, "of="+target, "bs=1M", "seek=16", "conv=notrunc,fsync", "status=none").CombinedOutput()
	if err != nil {
		return fmt.Errorf("dd: %w: %s", err, out)
	}
	return nil
}

// change does what an update does: stage the slot that is not in force, and try it.
func change(source, target string) error {
	d, err := linux.OpenDisk(target)
	if err != nil {
		return err
	}
	defer d.Close()
	src, err := os.Open(source)
	if err != nil {
		return err
	}
	defer src.Close()
	size, err := d.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	m := slot.Table{Disk: slot.Disk{Device: d, Size: size}}
	now, err := m.Current()
	if err != nil {
		return err
	}
	files := []disk.FATFile{
		{Path: "EFI/instar/a.efi", Size: content / 2, Data: io.NewSectionReader(src, 0, content/2)},
		{Path: "EFI/instar/b.efi", Size: content / 2, Data: io.NewSectionReader(src, content/2, content/2)},
	}
	if err := m.Stage(1-now, files); err != nil {
		return err
	}
	return m.Try(1 - now)
}
