// Package image makes disks of systems: boot slots (FAT with systemd-boot and
// one unified kernel image), the record, the store as an ext4 partition, and the
// partition table around them. Nothing here needs root, a loop device or a mount, and the
// same system gives the same bytes on every machine.
package image

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/disk"
	"github.com/instar-os/instar/internal/durable"
	"github.com/instar-os/instar/internal/record"
	"github.com/instar-os/instar/internal/slot"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/system"
)

// Names of the partitions, which init finds them by. The slots' are slot.Name's.
const (
	StoreName = "instar-store"
	DataName  = "instar-data"
)

// Tool returns the command that runs a program, such as mke2fs, by its name.
// Its working directory and environment are the caller's choice.
type Tool func(ctx context.Context, name string, args ...string) *exec.Cmd

// Options of a disk. The zero value makes the smallest disk.
type Options struct {
	Size      int64  // of the disk in bytes; what is left becomes data. 0: as small as possible
	StoreSize int64  // of the store partition in bytes. 0: room for the system twice, and minStoreFree
	Budget    Budget // limits of what is in it
}

// minStoreFree is what a store partition has beside two systems, in bytes: for
// what an update keeps while it is received, and the file system's own needs.
const minStoreFree = 16 << 20

// Plan is a disk that can be made. It is computed without writing anything.
type Plan struct {
	System   digest.Digest
	Manifest *system.Manifest
	Sizes    Sizes
	Table    *disk.GPT // the disk's size and partitions

	store *store.Store
	slot  []disk.FATFile
	files []storeFile
}

// NewPlan computes the disk of a system that is in the store, whole and
// committed. It fails when something does not fit where it goes, or exceeds a
// budget; the error names the largest parts.
func NewPlan(s *store.Store, sys digest.Digest, o Options) (*Plan, error) {
	p, err := newPlan(s, sys, o)
	if err != nil {
		return nil, fmt.Errorf("planning the disk of system %s: %w", sys.Short(), err)
	}
	return p, nil
}

func newPlan(s *store.Store, sys digest.Digest, o Options) (*Plan, error) {
	m, err := s.System(sys)
	if err != nil {
		return nil, err
	}
	closure, err := s.Closure(sys)
	if err != nil {
		return nil, err
	}
	p := &Plan{System: sys, Manifest: m, store: s}
	if p.files, err = storeFiles(s, m, closure); err != nil {
		return nil, err
	}
	if p.slot, err = SlotFiles(s, m, sys, 0, slot.Image{}); err != nil {
		return nil, err
	}
	if err := p.checkSlot(); err != nil {
		return nil, err
	}
	storeSize, err := p.storeSize(o.StoreSize)
	if err != nil {
		return nil, err
	}
	if err := p.partition(o.Size, storeSize); err != nil {
		return nil, err
	}
	p.Sizes = p.measure()
	return p, p.checkBudget(o.Budget)
}

// seed is what everything that must be unique but reproducible derives from.
func (p *Plan) seed() []byte { return p.System[:] }

func (p *Plan) partition(size, storeSize int64) error {
	sizes := []int64{storeSize, record.Size}
	if p.Manifest.Boot.Firmware == slot.FirmwarePi {
		sizes = append(sizes, slot.SelectSize)
	}
	for range p.Manifest.Boot.Slots {
		sizes = append(sizes, p.Manifest.Boot.SlotSize+slot.Gap)
	}
	if least := disk.MinSize(sizes...); size == 0 {
		size = least
	} else if size < least {
		return fmt.Errorf("a disk of %d bytes; %d slots of %d and a store of %d need %d",
			size, p.Manifest.Boot.Slots, p.Manifest.Boot.SlotSize, storeSize, least)
	}
	p.Table = &disk.GPT{Disk: disk.SeedGUID(p.seed(), "disk"), Size: size / disk.SectorSize * disk.SectorSize}
	guid := func(name string) disk.GUID { return disk.SeedGUID(p.seed(), name) }
	if p.Manifest.Boot.Firmware == slot.FirmwarePi { // the firmware reads the first one
		if err := p.add(slot.SelectName, disk.TypeESP, slot.SelectSize); err != nil {
			return err
		}
	}
	if err := slot.Add(p.Table, p.Manifest.Boot.Slots, p.Manifest.Boot.SlotSize, slot.Hidden(p.Manifest.Boot), guid); err != nil {
		return err
	}
	if err := p.add(record.Partition, disk.TypeRecord, record.Size); err != nil {
		return err
	}
	if err := p.add(StoreName, disk.TypeLinux, storeSize); err != nil {
		return err
	}
	if e := p.Manifest.Boot.Environment; e != nil { // before the first one, where nothing else is
		p.Table.Partitions = append(p.Table.Partitions, slot.EnvironmentPartition(e.Offset, e.Size, guid(slot.EnvironmentName)))
	}
	return nil
}

func (p *Plan) add(name string, kind disk.GUID, size int64) error {
	_, err := p.Table.Add(disk.Partition{Type: kind, GUID: disk.SeedGUID(p.seed(), name), Name: name}, size)
	return err
}

// WriteRaw writes the disk as a sparse file at path, replacing what is there
// when it is whole and synced. A failure leaves nothing behind. mke2fs must be
// of version 1.47.2 or later, with libarchive.
func (p *Plan) WriteRaw(ctx context.Context, tool Tool, path string) error {
	return p.commit(path, func(f *os.File) error { return p.writeDisk(ctx, tool, f) })
}

// WriteQcow2 writes the disk as a qcow2 image, in the same way. It needs space
// for the raw disk beside it for a while.
func (p *Plan) WriteQcow2(ctx context.Context, tool Tool, path string) error {
	return p.commit(path, func(f *os.File) error {
		raw, err := os.CreateTemp(filepath.Dir(path), ".instar-raw-")
		if err != nil {
			return err
		}
		defer os.Remove(raw.Name())
		defer raw.Close()
		if err := p.writeDisk(ctx, tool, raw); err != nil {
			return err
		}
		return disk.WriteQcow2(f, raw, p.Table.Size)
	})
}

// commit lets write fill a new file, and gives it its name.
func (p *Plan) commit(path string, write func(*os.File) error) error {
	pending, err := durable.Create(filepath.Dir(path), 0o644)
	if err != nil {
		return fmt.Errorf("writing the disk of system %s: %w", p.System.Short(), err)
	}
	defer pending.Abort()
	err = func() error {
		f, err := os.OpenFile(pending.Name(), os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := write(f); err != nil {
			return err
		}
		return pending.Commit(path)
	}()
	if err != nil {
		return fmt.Errorf("writing the disk of system %s to %s: %w", p.System.Short(), path, err)
	}
	return nil
}

// writeDisk fills an empty file: slots, store, and the partition table last.
func (p *Plan) writeDisk(ctx context.Context, tool Tool, f *os.File) error {
	if err := f.Truncate(p.Table.Size); err != nil {
		return err
	}
	w := disk.Sparse{W: f}
	if err := p.writeParts(ctx, tool, w, f); err != nil {
		return err
	}
	return p.writeTable(w)
}

// writeTable writes the partition table of a disk that has none.
func (p *Plan) writeTable(w io.WriterAt) error {
	g := *p.Table // writing changes where the next one would go
	return g.Write(w)
}

// writeRecord writes the first record: the system is good. On a disk that held
// another one, what the old record left in the second copy is wiped.
func (p *Plan) writeRecord(w io.WriterAt) error {
	part, _ := p.Table.Find(record.Partition)
	first, err := record.Encode(record.Record{Current: p.System}, 1)
	if err != nil {
		return err
	}
	_, err = w.WriteAt(append(first, make([]byte, record.Size-len(first))...), part.Offset())
	return err
}

// writeParts writes the slots and the record through w, and the store's file system into f,
// which is the same disk.
func (p *Plan) writeParts(ctx context.Context, tool Tool, w io.WriterAt, f *os.File) error {
	for i := range p.Manifest.Boot.Slots {
		if err := p.writeSlot(w, i); err != nil {
			return err
		}
	}
	if err := p.writeRecord(w); err != nil {
		return err
	}
	if err := p.writeChoice(w); err != nil {
		return err
	}
	part, _ := p.Table.Find(StoreName)
	return p.writeStore(ctx, tool, f, part)
}
