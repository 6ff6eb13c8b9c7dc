package slot_test

import (
	"testing"

	"github.com/instar-os/instar/internal/disk"
	"github.com/instar-os/instar/internal/slot"
	"github.com/instar-os/instar/internal/slot/slottest"
)

// A slot that is cleared holds no file system, also after a cut; the one in
// force and the one that was booted are not cleared.
func TestClear(t *testing.T) {
	m := &machine{disk: newDisk(t, 3, 64*mib, true), slots: 3}
	table := slot.Table{Disk: m.slot()}
	for n := 1; n < 3; n++ {
		if err := table.Stage(n, slottest.Files("x")); err != nil {
			t.Fatal(err)
		}
	}
	if err := slot.Clear(table, m.slot(), 0); err == nil {
		t.Error("the slot in force was cleared")
	}
	booted := m.slot()
	booted.Booted = disk.SeedGUID(nil, slot.Name(2))
	if err := slot.Clear(table, booted, 2); err == nil {
		t.Error("the slot that was booted was cleared")
	}
	if err := slot.Clear(table, m.slot(), 3); err == nil {
		t.Error("a slot that is not there was cleared")
	}
	if err := slot.Clear(table, m.slot(), 1); err != nil {
		t.Fatal(err)
	}
	m.disk.Reboot() // loses what was not synced
	if files, err := m.slot().Files(1); err == nil {
		t.Errorf("a cleared slot holds %d files", len(files))
	}
	if files, err := m.slot().Files(2); err != nil || len(files) == 0 {
		t.Errorf("another slot: %v", err)
	}
	if now, err := table.Current(); err != nil || now != 0 {
		t.Errorf("in force is %d, %v", now, err)
	}
}
