package receive

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/disk"
	"github.com/instar-os/instar/internal/linux"
	"github.com/instar-os/instar/internal/pe"
	"github.com/instar-os/instar/internal/pid1/trial"
	"github.com/instar-os/instar/internal/record"
	"github.com/instar-os/instar/internal/slot"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/uki"
	"github.com/instar-os/instar/internal/update"
)

// device is the disk of a machine: slots and record.
type device struct {
	name   string // of the disk, "vda"
	runs   digest.Digest
	store  *store.Store
	disk   *linux.Disk
	at     slot.Disk // the same
	method slot.Method
	book   *record.Book
	slots  int
	found  map[digest.Digest]update.Content // boot parts in slots

	manifest    *system.Manifest // of what runs
	runningBoot system.Boot
	offline     bool // no machine runs from it: firmware and hardware are others'
}

func openDisk(path string, offline bool) (*device, error) {
	f, err := linux.OpenDisk(path)
	if err != nil {
		return nil, err
	}
	d := &device{disk: f, name: filepath.Base(path), found: map[digest.Digest]update.Content{}, offline: offline}
	if err := d.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("disk %s: %w", path, err), f.Close())
	}
	return d, nil
}

func (d *device) open() error {
	size, err := d.disk.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	g, err := disk.ReadGPT(d.disk, size)
	if err != nil {
		return err
	}
	p, ok := g.Find(record.Partition)
	if !ok {
		return fmt.Errorf("it has no partition %s", record.Partition)
	}
	if d.book, err = record.Open(area{d.disk, p.Offset()}, p.Size()); err != nil {
		return err
	}
	d.at = slot.Disk{Device: d.disk, Size: size}
	var vars slot.Store
	if !d.offline {
		d.at.Booted, vars = bootedFrom(), variables()
	}
	if d.method, err = slot.Open(d.at, runtime.GOARCH, vars); err != nil {
		return err
	}
	d.slots, err = d.at.Count()
	return err
}

// begin opens the store, and learns what runs.
func (d *device) begin(o Options) (err error) {
	if d.store, err = store.Open(o.Store, store.Options{}); err != nil {
		return err
	}
	d.runs = o.System
	if d.manifest, err = d.store.System(o.System); err != nil {
		return fmt.Errorf("what runs: %w", err)
	}
	d.runningBoot = d.manifest.Boot
	return nil
}

// Close closes disk and store.
func (d *device) Close() error { return errors.Join(d.closeStore(), d.disk.Close()) }

func (d *device) closeStore() error {
	if d.store == nil {
		return nil
	}
	st := d.store
	d.store = nil
	return st.Close()
}

// area is a part of a disk.
type area struct {
	*linux.Disk
	offset int64
}

func (a area) ReadAt(p []byte, off int64) (int, error)   { return a.Disk.ReadAt(p, a.offset+off) }
func (a area) WriteAt(p []byte, off int64) (int, error)  { return a.Disk.WriteAt(p, a.offset+off) }
func (a area) ReadBack(p []byte, off int64) (int, error) { return a.Disk.ReadBack(p, a.offset+off) }

// part finds a boot part in any slot, once: it has to hash what may be it.
func (d *device) part(o system.Object) update.Content {
	if c, ok := d.found[o.Digest]; ok {
		return c
	}
	c := d.search(o)
	if c != nil {
		d.found[o.Digest] = c
	}
	return c
}

func (d *device) search(o system.Object) update.Content {
	for n := range d.slots {
		files, err := d.at.Files(n)
		if err != nil {
			continue // being written, or never was
		}
		for _, f := range files {
			c := io.NewSectionReader(f.Data, 0, f.Size)
			if c.Size() == o.Size && isContent(c, o.Digest) {
				return c
			}
			image, err := uki.Open(c)
			if err != nil {
				continue
			}
			for _, p := range []pe.Content{image.Kernel, image.Initrd} {
				if p.Size() == o.Size && isContent(p, o.Digest) {
					return p
				}
			}
			if p := d.unpacked(image.Kernel, o); p != nil {
				return p
			}
		}
	}
	return nil
}

func isContent(c pe.Content, want digest.Digest) bool {
	d, _, err := digest.FromReader(io.NewSectionReader(c, 0, c.Size()))
	return err == nil && d == want
}

// stage writes a slot with the system and the last good one, and lets firmware
// try it. It may be cut and repeated.
//
// The record says staged before firmware knows of it, and armed after.
func (d *device) stage(r *update.Received) (int, error) {
	now, err := d.method.Current()
	if err != nil {
		return 0, err
	}
	n, err := d.free(now)
	if err != nil {
		return now, err
	}
	files, err := d.files(r)
	if err != nil {
		return n, err
	}
	if err := d.again(r.System); err != nil {
		return n, err
	}
	if err := d.method.Stage(n, files); err != nil {
		return n, err
	}
	if u, ok := d.method.(slot.UBoot); ok {
		u.Tries = tries(r.Manifest)
		d.method = u
	}
	t := record.Trial{System: r.System, Slot: n, Tries: tries(r.Manifest), Home: now}
	if err := d.change(func(rec *record.Record) error { return trial.Stage(rec, t) }); err != nil {
		return n, err
	}
	if err := d.method.Try(n); err != nil {
		return n, err
	}
	if err := d.tellLoader(r.System); err != nil {
		return n, err
	}
	return n, d.change(trial.Arm)
}

// free is the slot that is written next: neither the one in force nor the one
// that this machine runs from.
func (d *device) free(now int) (int, error) {
	booted, known := d.at.BootedSlot()
	for i := 1; i < d.slots; i++ {
		if n := (now + i) % d.slots; !known || n != booted {
			return n, nil
		}
	}
	return 0, fmt.Errorf("slot %s is in force and this machine runs from slot %s: no other is there to write; reboot first", slot.Name(now), slot.Name(booted))
}

// vacant finds before anything is written that no slot can be.
func (d *device) vacant() error {
	now, err := d.method.Current()
	if err == nil {
		_, err = d.free(now)
	}
	return err
}

// change changes the record; an error of the change leaves it as it was.
func (d *device) change(f func(*record.Record) error) error {
	var failed error
	err := d.book.Update(func(r *record.Record) {
		kept := *r
		if failed = f(r); failed != nil {
			*r = kept
		}
	})
	return errors.Join(failed, err)
}

// files gives the files of the slot that a system is tried from.
func (d *device) files(r *update.Received) ([]disk.FATFile, error) {
	if board := slot.IsBoard(r.Manifest.Boot); board != slot.IsBoard(d.runningBoot) {
		return nil, fmt.Errorf("it is for firmware %q, this machine has %q", firmwareOf(r.Manifest.Boot), firmwareOf(d.runningBoot))
	} else if board {
		return d.boardFiles(r)
	}
	loader, err := r.Part(r.Manifest.Kernel.Loader)
	if err != nil {
		return nil, err
	}
	image, err := uki.Build(d.parts(r), r.Manifest, r.System)
	if err != nil {
		return nil, err
	}
	c := slot.Contents{Arch: r.Manifest.Arch, Loader: loader, New: slot.Image{System: r.System, UKI: image}}
	if slot.Counted(d.method) { // others come back by themselves, to the slot in force
		if c.Good, err = d.good(); err != nil {
			return nil, err
		}
		c.Tries, c.Once = tries(r.Manifest), !d.offline && once(r.Manifest)
	}
	return c.Files()
}

func (d *device) boardFiles(r *update.Received) ([]disk.FATFile, error) {
	b := slot.Board{System: r.System, Manifest: r.Manifest}
	var err error
	if b.Kernel, err = r.Part(r.Manifest.Kernel.Image); err != nil {
		return nil, err
	}
	if b.Initrd, err = r.Part(r.Manifest.Kernel.Initrd); err != nil {
		return nil, err
	}
	if b.Further, err = slot.Further(d.store, r.Manifest.Boot); err != nil {
		return nil, err
	}
	return b.Files()
}

func firmwareOf(b system.Boot) string { return cmp.Or(b.Firmware, slot.FirmwareUEFI) }

// tries is how often the loader starts a system before it goes back; the record
// counts on its own.
func tries(m *system.Manifest) int {
	return min(m.Boot.Confirm.Resolved().Tries, slot.MaxTries)
}

// parts gives the parts of the new image: the stub out of the store, the rest
// of the update or of a slot, all verified.
func (d *device) parts(r *update.Received) uki.Parts {
	return func(o system.Object) (pe.Content, error) {
		if o != r.Manifest.Kernel.Stub {
			return r.Part(o)
		}
		b, err := d.store.Bytes(o.Digest, uki.MaxStub)
		if err != nil {
			return nil, fmt.Errorf("UEFI stub: %w", err)
		}
		return bytes.NewReader(b), nil
	}
}

// packedInitrd is how often the initrd of an image is smaller than it was, at
// best: how small it is shows when it is packed.
const packedInitrd = 4

// fits finds before anything is written that the slot cannot hold a system and
// the one to come back to. What may just fit is tried.
func (d *device) fits(m *system.Manifest, sys digest.Digest) error {
	if slot.IsBoard(m.Boot) {
		return nil // what else its slots hold comes with the update; staging finds it
	}
	k := m.Kernel
	image := slot.Zeros(k.Stub.Size + k.Image.Size + k.Initrd.Size/packedInitrd)
	c := slot.Contents{Arch: m.Arch, Loader: slot.Zeros(k.Loader.Size), New: slot.Image{System: sys, UKI: image}}
	if slot.Counted(d.method) {
		var err error
		if c.Good, err = d.good(); err != nil {
			return err
		}
		c.Tries = 1
	}
	files, err := c.Files()
	if err != nil {
		return err
	}
	return d.at.Fits(0, files)
}

// good finds the image of the last good system, which the new slot holds as
// well. A machine that has not remembered one yet is on it.
func (d *device) good() (slot.Image, error) {
	sys := d.book.Record().Current
	if sys.IsZero() {
		sys = d.runs
	}
	for n := range d.slots {
		files, err := d.at.Files(n)
		if err != nil {
			continue
		}
		f, ok := slot.Find(files, sys)
		if !ok {
			continue
		}
		c := io.NewSectionReader(f.Data, 0, f.Size)
		if image, err := uki.Open(c); err == nil && image.System == sys {
			return slot.Image{System: sys, UKI: c}, nil
		}
	}
	return slot.Image{}, fmt.Errorf("no slot holds the last good system %s", sys.Short())
}
