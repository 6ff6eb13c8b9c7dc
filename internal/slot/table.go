package slot

import (
	"errors"
	"fmt"
	"io"

	"github.com/instar-os/instar/internal/disk"
)

// Table is the Method for UEFI firmware that boots by the partition table alone:
// the one slot that is an EFI System Partition is in force, and one sector is
// written to make it another. Nothing of it is in the firmware's memory, so a
// disk boots the same in another machine.
//
// The tries of a slot are counted by the loader in it: Counted.
type Table struct{ Disk }

// Counted says that a tried slot stays in force.
func (Table) Counted() bool { return true }

// Current implements Method.
func (t Table) Current() (int, error) {
	g, slots, err := t.read()
	if err != nil {
		return 0, err
	}
	return current(g, slots)
}

func current(g *disk.GPT, slots []int) (int, error) {
	found := -1
	for n, i := range slots {
		switch {
		case g.Partitions[i].Type != disk.TypeESP:
		case found >= 0:
			return 0, fmt.Errorf("both %s and %s are for firmware to boot", Name(found), Name(n))
		default:
			found = n
		}
	}
	if found < 0 {
		return 0, errors.New("no slot is for firmware to boot")
	}
	return found, nil
}

// Stage implements Method.
func (t Table) Stage(n int, files []disk.FATFile) error {
	g, slots, err := t.read()
	if err == nil {
		err = within(n, slots)
	}
	if err != nil {
		return fmt.Errorf("staging a slot: %w", err)
	}
	// In a table that nobody can tell the slot in force from, none is.
	if now, err := current(g, slots); err == nil && now == n {
		return fmt.Errorf("staging slot %s: firmware boots from it", Name(n))
	}
	if err := t.stage(g, slots, n, files); err != nil {
		return fmt.Errorf("staging: %w", err)
	}
	return nil
}

// Try implements Method.
func (t Table) Try(n int) error { return t.choose(n) }

// Commit implements Method.
func (t Table) Commit(n int) error { return t.choose(n) }

// choose puts a slot in force; see disk.GPT.Write for the order of writes.
func (t Table) choose(n int) error {
	if err := t.write(n); err != nil {
		return fmt.Errorf("choosing slot %s: %w", Name(n), err)
	}
	return nil
}

func (t Table) write(n int) error {
	g, slots, err := t.read()
	if err != nil {
		return err
	}
	if err := within(n, slots); err != nil {
		return err
	}
	if err := t.staged(g.Partitions[slots[n]]); err != nil {
		return err
	}
	if now, err := current(g, slots); err == nil && now == n && !g.Recovered {
		return nil
	}
	for m, i := range slots {
		if m == n {
			show(&g.Partitions[i])
		} else {
			hide(&g.Partitions[i])
		}
	}
	if err := g.Write(t.Device); err != nil {
		return err
	}
	return t.chosen(n)
}

// chosen reads both copies of the table back from the medium.
func (t Table) chosen(n int) error {
	from := medium{t.Device}
	return errors.Join(t.names(n, from, false), t.names(n, backup{from}, true))
}

// names checks that a table names a slot.
func (t Table) names(n int, from io.ReaderAt, recovered bool) error {
	g, err := disk.ReadGPT(from, t.Size)
	if err != nil {
		return fmt.Errorf("reading the table back: %w", err)
	}
	slots, err := find(g)
	if err != nil {
		return fmt.Errorf("reading the table back: %w", err)
	}
	if now, err := current(g, slots); err != nil || now != n || g.Recovered != recovered {
		return errors.Join(errors.New("the table reads back as something else than was written"), err)
	}
	return nil
}

// medium reads a device past its caches.
type medium struct{ dev Device }

// ReadAt implements io.ReaderAt.
func (m medium) ReadAt(p []byte, off int64) (int, error) { return m.dev.ReadBack(p, off) }

// backup shows a disk whose primary table is lost.
type backup struct{ io.ReaderAt }

// ReadAt implements io.ReaderAt. The header is read alone.
func (b backup) ReadAt(p []byte, off int64) (int, error) {
	n, err := b.ReaderAt.ReadAt(p, off)
	if off == disk.SectorSize {
		clear(p[:n])
	}
	return n, err
}
