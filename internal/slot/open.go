package slot

import (
	"errors"

	"github.com/instar-os/instar/internal/disk"
	"github.com/instar-os/instar/internal/system"
)

// The firmwares, the ways to tell UEFI firmware, and who ends a trial there, as
// definition and manifest have them; "" is the first of each.
const (
	FirmwareUEFI  = "uefi"
	FirmwareUBoot = "uboot"
	FirmwarePi    = "raspberrypi"

	ByTable     = "table"
	ByVariables = "variables"

	TrialOnce    = "once"
	TrialCounter = "counter"
)

// Hidden says whether the slots that are not in force are hidden from firmware.
func Hidden(b system.Boot) bool {
	return (b.Firmware == "" || b.Firmware == FirmwareUEFI) && b.Switch != ByVariables
}

// Open returns the Method of a disk. The disk says itself which one that is, as
// it was made: a system cannot change how its machine's firmware is told. arch
// is a GOARCH; vars are the firmware's variables, nil when it has none.
func Open(d Disk, arch string, vars Store) (Method, error) {
	g, slots, err := d.read()
	if err != nil {
		return nil, err
	}
	if p, ok := g.Find(EnvironmentName); ok {
		return UBoot{Disk: d, Place: PlaceOf(p)}, nil
	}
	if _, ok := g.Find(SelectName); ok {
		return Pi{d}, nil
	}
	shown := 0
	for _, i := range slots {
		if g.Partitions[i].Type == disk.TypeESP {
			shown++
		}
	}
	switch {
	case shown < len(slots):
		return Table{d}, nil
	case vars == nil:
		return nil, errors.New("the slots of this disk are chosen by the firmware's variables, and it shows none")
	}
	return Variables{Disk: d, Arch: arch, Store: vars}, nil
}
