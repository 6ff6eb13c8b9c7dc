// Package slot writes boot slots and tells firmware which one to start from.
// A slot is a partition with a FAT file system that is written whole: what a
// device boots from is never changed in place.
//
// Each kind of firmware has its Method. All keep the same promises, which
// slottest.Run checks: the slot in force is never written, a slot that is not
// whole is never started, and a cut at any write leaves firmware with the old
// choice or the new one. docs/design/slots.md has the reasons.
package slot

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/disk"
)

// Method is how firmware is told what to boot. Slots are counted from 0. Every
// call may be cut and repeated.
type Method interface {
	// Current returns the slot that firmware starts from.
	Current() (int, error)

	// Stage formats a slot and fills it with files, syncs, and reads all back
	// from the medium. It refuses the slot in force and the one the machine was
	// booted from. When it fails or is cut, the slot holds no file system.
	Stage(n int, files []disk.FATFile) error

	// Try lets the next boot start from a staged slot. Without Commit the machine
	// comes back to the last good system: by firmware, or when Counted says so by
	// the loader in that slot.
	Try(n int) error

	// Commit lets every boot from now on start from a staged slot.
	Commit(n int) error
}

// Counted says that the loader within a tried slot counts the tries, in the
// name of the entry: Try lasts, and what is to be committed is another slot
// without the counter. Other methods try a slot once by themselves, and commit
// the slot that was tried.
func Counted(m Method) bool {
	c, ok := m.(interface{ Counted() bool })
	return ok && c.Counted()
}

// Confirm makes the system that was tried in slot tried the one of every boot.
// With a method that is Counted, files go to another slot, which is then
// committed: neither the running slot nor the counter in it is touched. It
// returns the slot in force. It may be cut and repeated, also by a boot of what
// it has committed: another slot than the tried one can only be in force when
// it was confirmed before.
func Confirm(m Method, tried, slots int, files []disk.FATFile) (int, error) {
	if !Counted(m) {
		return tried, m.Commit(tried)
	}
	switch current, err := m.Current(); {
	case err != nil:
		return tried, fmt.Errorf("confirming what slot %s holds: %w", Name(tried), err)
	case current != tried:
		return current, nil
	}
	n := (tried + 1) % slots
	if err := m.Stage(n, files); err != nil {
		return n, fmt.Errorf("confirming what slot %s holds: %w", Name(tried), err)
	}
	return n, m.Commit(n)
}

// Home makes every boot start the last good system again, after a trial of
// another one. n is the slot that was in force before the trial. Where the trial
// was confirmed already but for the record, that slot may hold the new system
// now; with a method that is Counted any slot serves whose loader leads to the
// good one. It may be cut and repeated.
func Home(m Method, d Disk, n int, good digest.Digest) error {
	if !Counted(m) {
		return m.Commit(n)
	}
	count, err := d.Count()
	if err != nil {
		return err
	}
	order := []int{n} // the one in force if it serves, or else the one that was
	if now, err := m.Current(); err == nil {
		order = []int{now, n}
	}
	for i := range count {
		order = append(order, i)
	}
	best, way := -1, Never
	for _, k := range order {
		files, err := d.Files(k)
		if err != nil {
			continue // half written
		}
		if w := Leads(files, good); w > way {
			best, way = k, w
		}
	}
	if way == Never {
		return fmt.Errorf("no slot leads to the last good system %s", good.Short())
	}
	return m.Commit(best)
}

// Device is the disk that the slots are on. ReadBack reads from the medium,
// past every cache; after a Sync it returns what lasts.
type Device interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
	ReadBack(p []byte, off int64) (int, error)
}

// Limits of the number of slots.
const (
	Min = 2
	Max = 8
)

// prefix of the slots' partitions; a letter follows.
const prefix = "instar-slot-"

// Gap is how far, in bytes, the partition of a slot begins before its file
// system while the slot is hidden: firmware that looks into every partition
// whatever its type, as EDK II does, finds zeros there and no file system.
const Gap = disk.Align

// Name returns the name of a slot's partition.
func Name(n int) string { return prefix + string(rune('a'+n)) }

// Label returns the volume label of a slot's file system.
func Label(n int) string { return "INSTAR-" + string(rune('A'+n)) }

// Add appends the partitions of slots to a new table, each with a file system
// of size bytes. With hide, all but the first are hidden.
func Add(g *disk.GPT, slots int, size int64, hide bool, guid func(name string) disk.GUID) error {
	for n := range slots {
		i := len(g.Partitions)
		if _, err := g.Add(disk.Partition{Type: disk.TypeSlot, GUID: guid(Name(n)), Name: Name(n)}, size+Gap); err != nil {
			return err
		}
		if n == 0 || !hide {
			show(&g.Partitions[i])
		}
	}
	return nil
}

// Span returns where a slot's file system lies on the disk, in bytes.
func Span(p disk.Partition) (offset, size int64) {
	if p.Type == disk.TypeSlot {
		return p.Offset() + Gap, p.Size() - Gap
	}
	return p.Offset(), p.Size()
}

// show and hide change the partition of a slot for firmware.
func show(p *disk.Partition) {
	if p.Type == disk.TypeSlot {
		p.Type, p.First = disk.TypeESP, p.First+Gap/disk.SectorSize
	}
}

func hide(p *disk.Partition) {
	if p.Type == disk.TypeESP {
		p.Type, p.First = disk.TypeSlot, p.First-Gap/disk.SectorSize
	}
}

// find returns the index in the table of each slot, in order.
func find(g *disk.GPT) ([]int, error) {
	var all []int
	for n := range Max {
		i := slices.IndexFunc(g.Partitions, func(p disk.Partition) bool { return p.Name == Name(n) })
		if i < 0 {
			break
		}
		if p := g.Partitions[i]; p.Type != disk.TypeESP && p.Type != disk.TypeSlot {
			return nil, fmt.Errorf("partition %s has the type %s, which is no slot's", p.Name, p.Type)
		}
		all = append(all, i)
	}
	if len(all) < Min {
		return nil, fmt.Errorf("the disk has %d boot slots; %d or more are needed", len(all), Min)
	}
	return all, nil
}

// Disk is the disk with its slots.
type Disk struct {
	Device Device
	Size   int64 // bytes

	// Booted is the GUID of the partition that the running loader was started
	// from, when firmware tells; it is never written.
	Booted disk.GUID
}

// Count returns the number of slots.
func (d Disk) Count() (int, error) {
	_, slots, err := d.read()
	return len(slots), err
}

// BootedSlot returns the slot of Booted; false when that is not known.
func (d Disk) BootedSlot() (int, bool) {
	g, slots, err := d.read()
	if err != nil || d.Booted == (disk.GUID{}) {
		return 0, false
	}
	n := slices.IndexFunc(slots, func(i int) bool { return g.Partitions[i].GUID == d.Booted })
	return n, n >= 0
}

// Files returns what a slot holds.
func (d Disk) Files(n int) ([]disk.FATFile, error) {
	g, slots, err := d.read()
	if err != nil {
		return nil, err
	}
	if err := within(n, slots); err != nil {
		return nil, err
	}
	v, err := d.volume(g.Partitions[slots[n]])
	if err != nil {
		return nil, err
	}
	return v.Files, nil
}

func (d Disk) volume(p disk.Partition) (*disk.FAT, error) {
	offset, size := Span(p)
	v, err := disk.ReadFAT(io.NewSectionReader(d.Device, offset, size), size)
	if err != nil {
		return nil, fmt.Errorf("slot %s: %w", p.Name, err)
	}
	return v, nil
}

func (d Disk) read() (*disk.GPT, []int, error) {
	g, err := disk.ReadGPT(d.Device, d.Size)
	if err != nil {
		return nil, nil, err
	}
	slots, err := find(g)
	return g, slots, err
}

// staged returns an error when a slot holds nothing that can be started.
func (d Disk) staged(p disk.Partition) error {
	v, err := d.volume(p)
	if err == nil && len(v.Files) == 0 {
		err = fmt.Errorf("slot %s: %w", p.Name, errors.New("it is empty"))
	}
	return err
}

func within(n int, slots []int) error {
	if n < 0 || n >= len(slots) {
		return fmt.Errorf("there is no slot %d; the disk has %d", n, len(slots))
	}
	return nil
}
