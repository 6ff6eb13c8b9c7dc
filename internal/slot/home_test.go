package slot_test

import (
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/disk"
	"github.com/instar-os/instar/internal/pe"
	"github.com/instar-os/instar/internal/slot"
)

var (
	oldSystem = digest.Of([]byte("old"))
	newSystem = digest.Of([]byte("new"))
)

func image(sys digest.Digest) slot.Image {
	return slot.Image{System: sys, UKI: strings.NewReader("image of " + sys.String())}
}

func contents(t *testing.T, c slot.Contents) []disk.FATFile {
	t.Helper()
	c.Arch, c.Loader = "amd64", pe.Content(strings.NewReader("loader"))
	files, err := c.Files()
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestLeads(t *testing.T) {
	for _, row := range []struct {
		name     string
		c        slot.Contents
		old, new slot.Way
	}{
		{"confirmed", slot.Contents{New: image(newSystem), Good: image(oldSystem)}, slot.Never, slot.Always},
		{"of a configuration", slot.Contents{New: image(newSystem), Configuration: "night"}, slot.Never, slot.Always},
		{"on trial, counted", slot.Contents{New: image(newSystem), Good: image(oldSystem), Tries: 3}, slot.InTheEnd, slot.Never},
		{"on trial, once", slot.Contents{New: image(newSystem), Good: image(oldSystem), Tries: 3, Once: true}, slot.Always, slot.Never},
	} {
		files := contents(t, row.c)
		if got := slot.Leads(files, oldSystem); got != row.old {
			t.Errorf("%s: to the old system %v, want %v", row.name, got, row.old)
		}
		if got := slot.Leads(files, newSystem); got != row.new {
			t.Errorf("%s: to the new system %v, want %v", row.name, got, row.new)
		}
	}
}

// A trial that was confirmed in firmware and not in the record, and is found bad
// after that: the slot that was in force before holds the new system now, and
// the way home is the slot of the trial.
func TestHomeAfterConfirm(t *testing.T) {
	for _, once := range []bool{true, false} {
		d := newDisk(t, 2, 64*mib, true)
		at := slot.Disk{Device: d, Size: d.Size()}
		m := slot.Table{Disk: at}
		step := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		// Slot 0 gets a system of ours.
		step(m.Stage(1, contents(t, slot.Contents{New: image(oldSystem)})))
		step(m.Commit(1))
		step(m.Stage(0, contents(t, slot.Contents{New: image(oldSystem)})))
		step(m.Commit(0))

		step(m.Stage(1, contents(t, slot.Contents{New: image(newSystem), Good: image(oldSystem), Tries: 3, Once: once})))
		step(m.Try(1))
		inForce := func() slot.Way {
			t.Helper()
			n, err := m.Current()
			step(err)
			files, err := at.Files(n)
			step(err)
			return slot.Leads(files, oldSystem)
		}
		step(slot.Home(m, at, 0, oldSystem))
		if inForce() != slot.Always {
			t.Errorf("once %v: home from a trial is no slot that starts the old system", once)
		}
		step(m.Try(1))
		n, err := slot.Confirm(m, 1, 2, contents(t, slot.Contents{New: image(newSystem)}))
		step(err)
		if n != 0 || inForce() != slot.Never {
			t.Fatalf("once %v: confirmed in slot %d, %v", once, n, inForce())
		}
		step(slot.Home(m, at, 0, oldSystem))
		want := slot.InTheEnd
		if once {
			want = slot.Always
		}
		if got := inForce(); got != want {
			t.Errorf("once %v: home from what was confirmed, the old system is started %v, want %v", once, got, want)
		}
		step(slot.Home(m, at, 0, oldSystem)) // repeated
		if err := slot.Home(m, at, 0, digest.Of([]byte("gone"))); err == nil || !strings.Contains(err.Error(), "no slot leads") {
			t.Errorf("a system that no slot holds: %v", err)
		}
	}
}

func TestOpen(t *testing.T) {
	vars := variablesMachine{nil, map[string][]byte{}}
	for _, hide := range []bool{true, false} {
		d := newDisk(t, 2, 64*mib, hide)
		m, err := slot.Open(slot.Disk{Device: d, Size: d.Size()}, "amd64", vars)
		if err != nil {
			t.Fatal(err)
		}
		if slot.Counted(m) != hide {
			t.Errorf("hidden slots %v: %T", hide, m)
		}
		if _, err := slot.Open(slot.Disk{Device: d, Size: d.Size()}, "amd64", nil); (err == nil) != hide {
			t.Errorf("hidden slots %v, without variables: %v", hide, err)
		}
	}
}
