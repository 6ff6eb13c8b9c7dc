package slot

import (
	"fmt"

	"github.com/instar-os/instar/internal/system"
)

// The firmwares and the ways to tell UEFI firmware, as definition and manifest
// have them; "" is the first of each.
const (
	FirmwareUEFI  = "uefi"
	FirmwareUBoot = "uboot"
	FirmwarePi    = "raspberrypi"

	ByTable     = "table"
	ByVariables = "variables"
)

// Hidden says whether the slots that are not in force are hidden from firmware.
func Hidden(b system.Boot) bool {
	return (b.Firmware == "" || b.Firmware == FirmwareUEFI) && b.Switch != ByVariables
}

// Open returns the Method of a machine: of the system that runs on it, as its
// manifest has it. vars are the firmware's variables, nil when it has none.
func Open(m *system.Manifest, d Disk, vars Store) (Method, error) {
	b := m.Boot
	switch {
	case Hidden(b):
		return Table{d}, nil
	case b.Switch == ByVariables && vars == nil:
		return nil, fmt.Errorf("boot.switch is %s, and the firmware shows no variables", b.Switch)
	case b.Switch == ByVariables:
		return Variables{Disk: d, Arch: m.Arch, Store: vars}, nil
	}
	return nil, fmt.Errorf("boot slots for firmware %q are not known", b.Firmware)
}
