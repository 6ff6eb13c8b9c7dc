package boot

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/linux"
	"github.com/instar-os/instar/internal/pid1/flight"
	"github.com/instar-os/instar/internal/reason"
	"github.com/instar-os/instar/internal/wire"
)

// recordDir is where a directory that lasts has the record of boots.
const recordDir = "boots"

// What a machine waits for the record of its boot, at most.
const (
	riskPatience = 2 * time.Second // before a step that may be its last
	endPatience  = 5 * time.Second
)

// record makes the flight recorder and gives it init's log.
func (m *machine) record() {
	m.flight = flight.New(flight.Options{
		Now: time.Now, Since: func() time.Duration { return time.Since(m.began) }, Log: m.log.Printf,
	})
	m.log.Tee(func(l wire.LogLine) { m.flight.Note(wire.BootEntry{Kind: wire.EntryLine, Text: l.Text}) })
}

// noteStep notes a step of the boot that is over.
func (m *machine) noteStep(name string, began time.Time, err error) {
	e := wire.BootEntry{Kind: wire.EntryStep, Name: name, At: began.Sub(m.began), Took: time.Since(began)}
	if err != nil {
		e.Text = err.Error()
	}
	m.flight.Note(e)
}

// noteContainer notes where a container has come to.
func (m *machine) noteContainer(name string, st wire.State, detail string) {
	m.flight.Note(wire.BootEntry{Kind: wire.EntryContainer, Name: name, State: st, Text: detail})
}

// identity is what of this boot is known.
func (m *machine) identity() wire.BootIdentity {
	id := wire.BootIdentity{Kernel: kernel()}
	if !m.system.IsZero() {
		id.System = m.system.String()
	}
	if m.configuration != nil {
		id.Configuration = m.configuration.Name
	}
	if m.contained {
		id.ID = rand.Text()
		return id
	}
	if b, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		id.ID = strings.TrimSpace(string(b))
	}
	return id
}

// keepRecord lets a directory take the record, until the end.
func (m *machine) keepRecord(dir string) {
	m.flight.Identify(m.identity())
	m.flight.Keep(filepath.Join(dir, recordDir), m.evidence)
	m.later("close the record of the boot", func() error { return m.flight.Release(endPatience) })
}

// recordInMemory is keepRecord for a boot without a disk that lasts.
func (m *machine) recordInMemory() {
	m.flight.Identify(m.identity())
	m.flight.Keep("", m.evidence)
	m.later("close the record of the boot", func() error { return m.flight.Release(endPatience) })
}

// evidence is what this boot finds of the one before.
func (m *machine) evidence() flight.Evidence {
	if m.contained {
		return flight.Evidence{Starts: reason.Started}
	}
	ev := flight.Evidence{Kexec: kexeced(), Watchdog: watchdogFired("/sys"), Words: firmwareWords()}
	var err error
	if ev.Crash, err = crash(); err != nil {
		m.log.Printf("%v", err)
	}
	return ev
}

// kexecKey stands on the command line of a kernel that another one started.
const kexecKey = "instar.kexec"

func kexeced() bool {
	b, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return false
	}
	_, ok := linux.ParseCmdline(string(b)).Lookup(kexecKey)
	return ok
}

// cardReset is WDIOF_CARDRESET (include/uapi/linux/watchdog.h).
const cardReset = 0x20

// watchdogFired says whether the first watchdog has reset the machine.
func watchdogFired(sysfs string) bool {
	b, err := os.ReadFile(filepath.Join(sysfs, "class/watchdog/watchdog0/bootstatus"))
	if err != nil {
		return false
	}
	status, err := strconv.ParseUint(strings.TrimSpace(string(b)), 0, 32)
	return err == nil && status&cardReset != 0
}

// firmwareWords is the variable of the last words, nil where the firmware has
// none.
func firmwareWords() *flight.Words {
	if !linux.Mounted(linux.EFIVariables, unix.EFIVARFS_MAGIC) {
		return nil
	}
	v := linux.EFIText{Dir: linux.EFIVariables, Name: flight.WordsName, Vendor: flight.WordsVendor}
	return &flight.Words{Read: v.Get, Write: v.Set, Delete: v.Delete}
}

// crash reads what a dying kernel has left.
func crash() (*flight.Crash, error) {
	const dir = "/sys/fs/pstore"
	if _, err := os.Stat(dir); err != nil {
		return nil, nil
	}
	if !linux.Mounted(dir, unix.PSTOREFS_MAGIC) {
		m := linux.Mount{Source: "pstore", Target: dir, Type: "pstore", Flags: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC}
		if err := m.Do(); err != nil {
			return nil, err
		}
	}
	return flight.ReadCrash(dir)
}

// witness lets the kernel's log have what a panic of init prints, where the
// storage for dying kernels takes it, and the record the kernel's warnings.
func (d *device) witness() {
	kmsg, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err == nil {
		// Without a limit: else a panic loses all but its first lines.
		err = errors.Join(os.WriteFile("/proc/sys/kernel/printk_devkmsg", []byte("on\n"), 0),
			debug.SetCrashOutput(kmsg, debug.CrashOptions{}), kmsg.Close())
	}
	if err != nil {
		d.log.Printf("a panic of init would not be in the kernel's log: %v", err)
	}
	go func() {
		f, err := os.Open("/dev/kmsg")
		if err == nil {
			defer f.Close()
			err = d.flight.FollowKernel(f)
		}
		if err != nil {
			d.log.Printf("%v", err)
		}
	}()
}

// noteStages notes what ran before init: firmware and loader, where the loader
// or the kernel tells, and the kernel.
func (d *device) noteStages() {
	firmware, loader := d.beforeKernel()
	if firmware > 0 {
		d.flight.Note(wire.BootEntry{Kind: wire.EntryStage, Name: "firmware", At: -firmware - loader, Took: firmware})
	}
	if loader > 0 {
		d.flight.Note(wire.BootEntry{Kind: wire.EntryStage, Name: "loader", At: -loader, Took: loader})
	}
	d.flight.Note(wire.BootEntry{Kind: wire.EntryStage, Name: "kernel", Took: d.ready})
}

// maxStage is the longest time that is believed of firmware or loader.
const maxStage = 24 * time.Hour

// beforeKernel returns how long firmware and loader took, 0 when nobody tells.
// A kernel that another one started had neither.
func (d *device) beforeKernel() (firmware, loader time.Duration) {
	if kexeced() {
		return 0, 0
	}
	if begin, end, ok := loaderTimes(linux.EFIVariables); ok {
		return begin, end - begin
	}
	// Nanoseconds since power-on, of the ACPI firmware performance data table
	// (Documentation/ABI/testing/sysfs-firmware-acpi).
	load, err1 := readNumber("/sys/firmware/acpi/fpdt/boot/bootloader_load_ns")
	exit, err2 := readNumber("/sys/firmware/acpi/fpdt/boot/exitbootservice_end_ns")
	if err1 != nil || err2 != nil || load <= 0 || exit < load || exit > int64(maxStage) {
		return 0, 0
	}
	return time.Duration(load), time.Duration(exit - load)
}

// loaderTimes reads when the loader began and when it started the kernel, since
// power-on: LoaderTimeInitUSec and LoaderTimeExecUSec (Boot Loader Interface).
func loaderTimes(dir string) (begin, end time.Duration, ok bool) {
	var at [2]time.Duration
	for i, name := range []string{"LoaderTimeInitUSec", "LoaderTimeExecUSec"} {
		text, err := linux.EFIText{Dir: dir, Name: name, Vendor: linux.EFILoader}.Get()
		if err != nil {
			return 0, 0, false
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n <= 0 || n > int64(maxStage/time.Microsecond) {
			return 0, 0, false
		}
		at[i] = time.Duration(n) * time.Microsecond
	}
	return at[0], at[1], at[1] >= at[0]
}

func readNumber(path string) (int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
}

// codeOf says in a code how a machine ends.
func codeOf(how Ending) reason.Code {
	switch how {
	case Reboot:
		return reason.Reboot
	case PowerOff:
		return reason.PowerOff
	case Kexec:
		return reason.Kexec
	}
	return reason.Unknown
}

// noteEnd writes the last entry of a boot that ends as it should.
func (m *machine) noteEnd(code reason.Code, detail string) {
	m.flight.Note(wire.BootEntry{Kind: wire.EntryEnd, Reason: code, Text: detail})
	m.flight.Flush(riskPatience)
}

// Boots implements wire.Historian.
func (m *machine) Boots() (wire.BootList, error) { return m.flight.Boots() }

// Boot implements wire.Historian.
func (m *machine) Boot(r wire.BootRequest) (wire.BootRecord, error) {
	if r.Number < -flight.MaxBoots {
		return wire.BootRecord{}, fmt.Errorf("%d boots back: the last %d are kept", -r.Number, flight.MaxBoots)
	}
	return m.flight.Boot(r)
}
