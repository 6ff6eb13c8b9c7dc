package slot

import (
	"fmt"
	"strconv"

	"github.com/instar-os/instar/internal/disk"
)

// UBoot is the Method for U-Boot with a redundant environment on the disk and
// CONFIG_BOOTCOUNT_ENV: while upgrade_available is 1 it counts boots in
// bootcount, and runs altbootcmd instead of bootcmd when that is more than
// bootlimit. Slots hold extlinux/extlinux.conf.
type UBoot struct {
	Disk
	Place EnvironmentPlace
	Tries int // of a trial; 0: 3
}

// The variables.
const (
	envPart  = "instar_part" // number of the partition in force
	envTry   = "instar_try"  // of the one on trial
	envTrial = "upgrade_available"
	envCount = "bootcount"
	envLimit = "bootlimit"
)

// UBootVariables is the environment of a new disk, whose first slot is
// partition part. device is U-Boot's name of the disk, "mmc 0".
func UBootVariables(device string, part int) map[string]string {
	return map[string]string{
		envPart: strconv.Itoa(part), envTrial: "0", envCount: "0", envLimit: "3", "bootdelay": "0",
		"bootcmd": "setenv instar_now ${" + envPart + "}; if test \"${" + envTrial + "}\" = 1; then setenv instar_now ${" + envTry +
			"}; fi; run instar_start",
		"altbootcmd":   "setenv instar_now ${" + envPart + "}; run instar_start",
		"instar_start": "sysboot " + device + ":${instar_now} any ${scriptaddr} /extlinux/extlinux.conf; reset",
	}
}

// Current implements Method.
func (u UBoot) Current() (int, error) {
	e, err := u.readEnvironment()
	if err != nil {
		return 0, err
	}
	return u.slotOf(e.vars[envPart])
}

// Stage implements Method. A trial of the slot ends before.
func (u UBoot) Stage(n int, files []disk.FATFile) error {
	if err := u.prepare(n, files); err != nil {
		return fmt.Errorf("staging slot %s: %w", Name(n), err)
	}
	return nil
}

func (u UBoot) prepare(n int, files []disk.FATFile) error {
	e, err := u.readEnvironment()
	if err != nil {
		return err
	}
	now, err := u.slotOf(e.vars[envPart])
	if err != nil {
		return err
	}
	if tried, err := u.slotOf(e.vars[envTry]); err == nil && tried == n && n != now {
		if err := u.change(map[string]string{envTry: "", envTrial: "0", envCount: "0"}); err != nil {
			return err
		}
	}
	return u.stageUnless(now, n, files)
}

// Try implements Method.
func (u UBoot) Try(n int) error {
	part, err := u.startable(n)
	if err == nil {
		tries := u.Tries
		if tries == 0 {
			tries = 3
		}
		err = u.change(map[string]string{envTry: strconv.Itoa(part), envTrial: "1", envCount: "0", envLimit: strconv.Itoa(tries)})
	}
	if err != nil {
		return fmt.Errorf("trying slot %s: %w", Name(n), err)
	}
	return nil
}

// Commit implements Method.
func (u UBoot) Commit(n int) error {
	part, err := u.startable(n)
	if err == nil {
		err = u.change(map[string]string{envPart: strconv.Itoa(part), envTry: "", envTrial: "0", envCount: "0"})
	}
	if err != nil {
		return fmt.Errorf("committing slot %s: %w", Name(n), err)
	}
	return nil
}
