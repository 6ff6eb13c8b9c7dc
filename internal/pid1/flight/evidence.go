package flight

import (
	"errors"

	"github.com/instar-os/instar/internal/reason"
	"github.com/instar-os/instar/internal/wire"
)

// Evidence is what this boot finds of the one before, beside the ring.
type Evidence struct {
	Kexec    bool        // the kernel before says that it started this one
	Watchdog bool        // the hardware says that its watchdog reset the machine
	Crash    *Crash      // nil: none was left
	Words    *Words      // nil: there is no firmware variable
	Starts   reason.Code // what the boot is when nothing else is known; "": power-on
}

// start is why this boot began, by how the one before has ended.
func (ev Evidence) start(before reason.Code) reason.Code {
	switch {
	case ev.Starts != "":
		return ev.Starts
	case ev.Kexec:
		return reason.Kexec
	case before == reason.Panic || before == reason.InitCrash || ev.Crash.panicked():
		return reason.Panic
	case ev.Watchdog:
		return reason.Watchdog
	case before == reason.Kexec || before == reason.CannotRun || before == reason.Rollback:
		return reason.Reboot // kexec was to be and firmware did it, or what was left is not on trial any more
	case before == reason.Reboot || before == reason.Reset:
		return before
	}
	return reason.PowerOn
}

// Cause is why the boot before, of a system, has come to nothing, as those tell
// who saw it; "" when nobody did.
func (ev Evidence) Cause(system string) (reason.Code, string) {
	switch words, err := ev.Words.read(); {
	case ev.Crash.panicked():
		return ev.Crash.verdict()
	case ev.Watchdog:
		return reason.Watchdog, "the hardware watchdog has reset the machine"
	case err == nil && words != nil && words.System == system:
		return words.Reason, words.Step + ": " + words.Text
	}
	return "", ""
}

// settle gives the boot before its end, when it could not write one itself, and
// records one that had no disk. It returns how the last boot ended, Unknown
// when there was none. It may be repeated after a cut.
func (ev Evidence) settle(ring *Ring) (reason.Code, error) {
	words, err := ev.Words.read()
	if err != nil {
		words = nil // what cannot be read is written over one day
	}
	var last []wire.BootEntry
	numbers := ring.Numbers()
	if len(numbers) > 0 {
		if last, err = ring.Read(numbers[len(numbers)-1]); err != nil {
			return reason.Unknown, err
		}
	}
	if words != nil && !recorded(ring, words.ID) {
		if _, err := ring.Insert(words.entries()); err != nil {
			return reason.Unknown, err
		}
		last, numbers = words.entries(), ring.Numbers()
	}
	if len(numbers) == 0 {
		return reason.Unknown, nil
	}
	if info := Describe(0, last); info.End != "" {
		return info.End, nil
	}
	end := ev.end()
	end.At = Describe(0, last).Lasted
	entries := ev.Crash.entries()
	for i := range entries {
		entries[i].At = end.At
	}
	return end.Reason, ring.Amend(numbers[len(numbers)-1], append(entries, end))
}

// end is how the boot before ended, when it did not say so.
func (ev Evidence) end() wire.BootEntry {
	e := wire.BootEntry{Kind: wire.EntryEnd, Reason: reason.Reset, Text: "it has no last word: power was cut, or something reset the machine"}
	switch {
	case ev.Crash.panicked():
		e.Reason, e.Text = ev.Crash.verdict()
	case ev.Watchdog:
		e.Reason, e.Text = reason.Watchdog, "the watchdog was not fed in time"
	case ev.Kexec:
		e.Reason, e.Text = reason.Kexec, "it started the next kernel"
	}
	return e
}

// recorded says whether the ring has a boot of an ID.
func recorded(ring *Ring, id string) bool {
	for _, n := range ring.Numbers() {
		entries, err := ring.Read(n)
		if err == nil && len(entries) > 0 && entries[0].Boot != nil && entries[0].Boot.ID == id {
			return true
		}
	}
	return false
}

// clear removes what is in the ring now.
func (ev Evidence) clear() error {
	return errors.Join(ev.Words.clear(), ev.Crash.clear())
}
