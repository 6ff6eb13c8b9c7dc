package slot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/instar-os/instar/internal/disk"
	"github.com/instar-os/instar/internal/uki"
)

// Store is where firmware keeps its global variables. A Set is whole or not at
// all, and lasts; Get of none is nil.
type Store interface {
	Names() ([]string, error)
	Get(name string) ([]byte, error)
	Set(name string, value []byte) error
	Delete(name string) error
}

// Variables is the Method for UEFI firmware whose memory can be trusted: each
// slot has a variable Boot####, BootOrder says which one is in force, and
// BootNext which one is started once. All slots are EFI System Partitions.
type Variables struct {
	Disk
	Arch  string // GOARCH
	Store Store
}

const (
	bootNext  = "BootNext"
	bootOrder = "BootOrder"

	// firstOption is the first number that is given to a slot: firmware numbers
	// what it finds from 0.
	firstOption = 0x0100
)

// world is the slots and what firmware remembers of them.
type world struct {
	g       *disk.GPT
	slots   []int
	numbers map[int]uint16 // by slot: its variable
	taken   map[uint16]bool
	order   []uint16
}

func (v Variables) look() (*world, error) {
	g, slots, err := v.read()
	if err != nil {
		return nil, err
	}
	w := &world{g: g, slots: slots, numbers: map[int]uint16{}, taken: map[uint16]bool{}}
	names, err := v.Store.Names()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		number, ok := optionNumber(name)
		if !ok {
			continue
		}
		w.taken[number] = true
		b, err := v.Store.Get(name)
		if err != nil {
			return nil, err
		}
		o, err := decodeLoadOption(b)
		if err != nil || !o.Active || o.Path != efiPath(uki.LoaderPaths[v.Arch]) {
			continue // something else's
		}
		for n, i := range slots {
			if _, known := w.numbers[n]; !known && g.Partitions[i].GUID == o.Partition {
				w.numbers[n] = number
			}
		}
	}
	order, err := v.Store.Get(bootOrder)
	if err != nil {
		return nil, err
	}
	for ; len(order) >= 2; order = order[2:] {
		w.order = append(w.order, binary.LittleEndian.Uint16(order))
	}
	return w, nil
}

// optionNumber reads "Boot01AB".
func optionNumber(name string) (uint16, bool) {
	digits, ok := strings.CutPrefix(name, "Boot")
	if !ok || len(digits) != 4 || strings.ToUpper(digits) != digits {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 16, 16)
	return uint16(n), err == nil
}

func optionName(n uint16) string { return fmt.Sprintf("Boot%04X", n) }

// current returns the first slot of BootOrder; on a machine that has never been
// told, the first one that holds something, which is what firmware finds.
func (v Variables) current(w *world) (int, error) {
	for _, number := range w.order {
		for n, have := range w.numbers {
			if have == number {
				return n, nil
			}
		}
	}
	for n, i := range w.slots {
		if v.staged(w.g.Partitions[i]) == nil {
			return n, nil
		}
	}
	return 0, errors.New("no slot holds anything to boot")
}

// Current implements Method.
func (v Variables) Current() (int, error) {
	w, err := v.look()
	if err != nil {
		return 0, err
	}
	return v.current(w)
}

// Stage implements Method. Firmware forgets the slot first.
func (v Variables) Stage(n int, files []disk.FATFile) error {
	if err := v.prepare(n, files); err != nil {
		return fmt.Errorf("staging slot %s: %w", Name(n), err)
	}
	return nil
}

func (v Variables) prepare(n int, files []disk.FATFile) error {
	w, err := v.look()
	if err != nil {
		return err
	}
	if err := within(n, w.slots); err != nil {
		return err
	}
	now, err := v.current(w)
	if err != nil {
		return err
	}
	if now == n {
		return errors.New("firmware boots from it")
	}
	if number, known := w.numbers[n]; known {
		if err := v.forget(w, number); err != nil {
			return err
		}
	}
	return v.stage(w.g, w.slots, n, files)
}

// forget takes a number out of BootNext and BootOrder.
func (v Variables) forget(w *world, number uint16) error {
	if err := v.notNext(number); err != nil {
		return err
	}
	if !slices.Contains(w.order, number) {
		return nil
	}
	return v.setOrder(w, slices.DeleteFunc(slices.Clone(w.order), func(o uint16) bool { return o == number }))
}

func (v Variables) notNext(number uint16) error {
	next, err := v.Store.Get(bootNext)
	if err != nil || len(next) != 2 || binary.LittleEndian.Uint16(next) != number {
		return err
	}
	return v.Store.Delete(bootNext)
}

// Try implements Method.
func (v Variables) Try(n int) error {
	if err := v.try(n); err != nil {
		return fmt.Errorf("trying slot %s: %w", Name(n), err)
	}
	return nil
}

func (v Variables) try(n int) error {
	w, err := v.startable(n)
	if err != nil {
		return err
	}
	now, err := v.current(w)
	if err != nil {
		return err
	}
	// What firmware comes back to has to be said, and not only found.
	if err := v.first(w, now); err != nil {
		return err
	}
	return v.set(bootNext, binary.LittleEndian.AppendUint16(nil, w.numbers[n]))
}

// Commit implements Method.
func (v Variables) Commit(n int) error {
	w, err := v.startable(n)
	if err == nil {
		err = v.first(w, n)
	}
	if err == nil { // also one of another slot would stand above it
		for _, number := range w.numbers {
			err = errors.Join(err, v.notNext(number))
		}
	}
	if err != nil {
		return fmt.Errorf("committing slot %s: %w", Name(n), err)
	}
	return nil
}

// startable checks that a slot is whole and gives it a variable.
func (v Variables) startable(n int) (*world, error) {
	w, err := v.look()
	if err != nil {
		return nil, err
	}
	if err := within(n, w.slots); err != nil {
		return nil, err
	}
	if err := v.staged(w.g.Partitions[w.slots[n]]); err != nil {
		return nil, err
	}
	return w, v.name(w, n)
}

// name writes a slot's variable, when that is missing or out of date.
func (v Variables) name(w *world, n int) error {
	number, known := w.numbers[n]
	for number = max(number, firstOption); !known && w.taken[number]; number++ {
	}
	p := w.g.Partitions[w.slots[n]]
	o := loadOption{Active: true, Description: "instar slot " + Name(n)[len(prefix):], Number: uint32(w.slots[n] + 1),
		First: p.First, Size: p.Last - p.First + 1, Partition: p.GUID, Path: efiPath(uki.LoaderPaths[v.Arch])}
	w.numbers[n], w.taken[number] = number, true
	return v.set(optionName(number), o.encode())
}

// first puts a slot at the beginning of BootOrder.
func (v Variables) first(w *world, n int) error {
	if err := v.name(w, n); err != nil {
		return err
	}
	number := w.numbers[n]
	rest := slices.DeleteFunc(slices.Clone(w.order), func(o uint16) bool { return o == number })
	return v.setOrder(w, append([]uint16{number}, rest...))
}

func (v Variables) setOrder(w *world, order []uint16) error {
	var b []byte
	for _, o := range order {
		b = binary.LittleEndian.AppendUint16(b, o)
	}
	w.order = order
	if len(b) == 0 {
		return v.Store.Delete(bootOrder)
	}
	return v.set(bootOrder, b)
}

// set writes a variable, unless it is that already, and reads it back: firmware
// that is out of memory is known to forget without an error.
func (v Variables) set(name string, value []byte) error {
	if have, err := v.Store.Get(name); err == nil && bytes.Equal(have, value) {
		return nil
	}
	if err := v.Store.Set(name, value); err != nil {
		return err
	}
	back, err := v.Store.Get(name)
	if err == nil && !bytes.Equal(back, value) {
		err = fmt.Errorf("UEFI variable %s reads back as something else than was written", name)
	}
	return err
}
