package receive

import (
	"errors"
	"os"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/disk"
	"github.com/instar-os/instar/internal/linux"
	"github.com/instar-os/instar/internal/slot"
	"github.com/instar-os/instar/internal/system"
)

// variables are those of the firmware, nil when it keeps none.
func variables() slot.Store {
	if _, err := os.Stat(linux.EFIVariables); err != nil {
		return nil
	}
	return linux.EFIVars{Dir: linux.EFIVariables, Vendor: linux.EFIGlobal}
}

func loaderVariable(name string) linux.EFIText {
	return linux.EFIText{Dir: linux.EFIVariables, Name: name, Vendor: linux.EFILoader}
}

// bootedFrom is the partition that the loader was started from, zero when it
// does not tell.
func bootedFrom() disk.GUID {
	text, err := loaderVariable("LoaderDevicePartUUID").Get()
	if err != nil {
		return disk.GUID{}
	}
	g, err := disk.ParseGUID(text)
	if err != nil {
		return disk.GUID{}
	}
	return g
}

// once says whether the loader is told by a variable, for each start anew, to
// start what is on trial.
func once(m *system.Manifest) bool {
	return m.Boot.Trial != slot.TrialCounter && loaderListens() == nil
}

var errNoVariables = errors.New("a trial here is one start at a time, by a variable of the firmware for the boot loader, and there is no such variable; " +
	"with boot.trial: counter in its definition the loader counts instead")

// loaderListens returns why the loader cannot be told what to start once.
func loaderListens() error {
	switch text, err := loaderVariable("LoaderEntrySelected").Get(); {
	case err != nil:
		return err
	case text == "":
		return errNoVariables
	}
	return nil
}

// tellLoader lets the loader start a system on trial, once, when it listens.
func (d *device) tellLoader(sys digest.Digest) error {
	if d.offline || !slot.Counted(d.method) || loaderListens() != nil {
		return nil
	}
	return loaderVariable("LoaderEntryOneShot").Set(slot.OneShot(sys))
}
