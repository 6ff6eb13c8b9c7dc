package boot

import (
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/disk"
	"github.com/instar-os/instar/internal/linux"
	"github.com/instar-os/instar/internal/pe"
	"github.com/instar-os/instar/internal/record"
	"github.com/instar-os/instar/internal/slot"
)

// slots is the firmware of a machine with boot slots.
type slots struct {
	disk   slot.Disk
	loader *loader // nil: nobody reads what it would be told
}

func (s slots) method() (slot.Method, error) {
	return slot.Open(s.disk, runtime.GOARCH, variables())
}

// Again implements firmware.
func (s slots) Again(t record.Trial) error {
	m, err := s.method()
	if err != nil {
		return err
	}
	switch m.(type) {
	case slot.Table:
		if s.loader == nil {
			return nil // the loader counts
		}
		return s.loader.next1.Set(slot.OneShot(t.System))
	case slot.Variables:
		return m.Try(t.Slot)
	}
	return nil // counts by itself, or tries once
}

// Home implements firmware.
func (s slots) Home(n int, good digest.Digest) error {
	m, err := s.method()
	if err != nil {
		return err
	}
	if err := slot.Home(m, s.disk, n, good); err != nil || s.loader == nil {
		return err
	}
	return s.loader.next1.Delete()
}

// Argument implements firmware.
func (s slots) Argument() string {
	if m, err := s.method(); err == nil {
		if _, ok := m.(slot.Pi); ok {
			return slot.TryArgument
		}
	}
	return ""
}

// Confirm implements firmware: the tried image goes to a slot where no tries are
// counted, or the slot that was tried is made the one of every boot.
func (s slots) Confirm(t record.Trial) error {
	m, err := s.method()
	if err != nil {
		return err
	}
	count, err := s.disk.Count()
	if err != nil {
		return err
	}
	var files []disk.FATFile
	if slot.Counted(m) {
		if files, err = s.confirmed(t); err != nil {
			return err
		}
	}
	if _, err := slot.Confirm(m, t.Slot, count, files); err != nil || s.loader == nil {
		return err
	}
	return s.loader.next1.Delete()
}

// confirmed are the files of a slot that starts what was tried, always.
func (s slots) confirmed(t record.Trial) ([]disk.FATFile, error) {
	files, err := s.disk.Files(t.Slot)
	if err != nil {
		return nil, err
	}
	image, ok := slot.Find(files, t.System)
	loader, ok2 := slot.Loader(files)
	if !ok || !ok2 {
		return nil, fmt.Errorf("slot %s holds system %s: %v, a loader: %v", slot.Name(t.Slot), t.System.Short(), ok, ok2)
	}
	c := slot.Contents{
		Arch: runtime.GOARCH, Loader: content(loader), New: slot.Image{System: t.System, UKI: content(image)}, Configuration: t.Configuration,
	}
	return c.Files()
}

// variables are those of the firmware, nil when it keeps none.
func variables() slot.Store {
	if _, err := os.Stat(linux.EFIVariables); err != nil {
		return nil
	}
	return linux.EFIVars{Dir: linux.EFIVariables, Vendor: linux.EFIGlobal}
}

func content(f disk.FATFile) pe.Content { return io.NewSectionReader(f.Data, 0, f.Size) }
