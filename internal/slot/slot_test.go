package slot_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/disk"
	"github.com/instar-os/instar/internal/linux"
	"github.com/instar-os/instar/internal/slot"
	"github.com/instar-os/instar/internal/slot/slottest"
)

const mib = 1 << 20

// newDisk is a disk as an image leaves it: the first slot whole and in force.
func newDisk(t testing.TB, slots int, size int64, hide bool) *slottest.Disk {
	t.Helper()
	d := slottest.NewDisk(size)
	g := &disk.GPT{Disk: disk.SeedGUID(nil, "disk"), Size: size}
	guid := func(name string) disk.GUID { return disk.SeedGUID(nil, name) }
	if err := slot.Add(g, slots, 4*mib, hide, guid); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Add(disk.Partition{Type: disk.TypeLinux, GUID: guid("instar-store"), Name: "instar-store"}, mib); err != nil {
		t.Fatal(err)
	}
	for n := range slots {
		off, length := slot.Span(g.Partitions[n])
		v := &disk.FAT{Size: length, Label: slot.Label(n)}
		if n == 0 {
			v.Files = slottest.Files("installed")
		}
		if err := v.Write(io.NewOffsetWriter(d, off)); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.Write(d); err != nil {
		t.Fatal(err)
	}
	return d
}

// machine is the common part of machines: a disk.
type machine struct {
	disk   *slottest.Disk
	slots  int
	booted disk.GUID
}

func (m *machine) slot() slot.Disk {
	return slot.Disk{Device: m.disk, Size: m.disk.Size(), Booted: m.booted}
}
func (m *machine) Slots() int                          { return m.slots }
func (m *machine) Holds(n int) ([]disk.FATFile, error) { return m.slot().Files(n) }
func (m *machine) Cut(n int, seed uint64)              { m.disk.CutAfter(n, seed) }
func (m *machine) Reboot()                             { m.disk.Reboot() }
func (m *machine) clone() *machine                     { c := *m; c.disk = m.disk.Clone(); return &c }

// tableMachine boots as EDK II does: the first partition in order that holds a
// file system, whatever its type.
type tableMachine struct{ *machine }

func (m tableMachine) Method() slot.Method     { return slot.Table{Disk: m.slot()} }
func (m tableMachine) Clone() slottest.Machine { return tableMachine{m.clone()} }

func (m tableMachine) Boot() (int, error) {
	g, err := disk.ReadGPT(m.disk, m.disk.Size())
	if err != nil {
		return 0, err
	}
	for i, p := range g.Partitions {
		v, err := disk.ReadFAT(io.NewSectionReader(m.disk, p.Offset(), p.Size()), p.Size())
		if err != nil || len(v.Files) == 0 {
			continue
		}
		if p.Type != disk.TypeESP {
			return 0, errors.New("a partition that is none for firmware has a file system for it")
		}
		m.booted = p.GUID
		return i, nil
	}
	return 0, errors.New("nothing to boot")
}

func TestTable(t *testing.T) {
	for _, slots := range []int{2, 3} {
		slottest.Run(t, func(t *testing.T) slottest.Machine {
			return tableMachine{&machine{disk: newDisk(t, slots, 64*mib, true), slots: slots, booted: disk.SeedGUID(nil, slot.Name(0))}}
		})
	}
}

// A disk that is larger than the table was made for: the first switch moves
// the backup to the end.
func TestTableOnLargerDisk(t *testing.T) {
	slottest.Run(t, func(t *testing.T) slottest.Machine {
		small := newDisk(t, 2, 64*mib, true)
		d := slottest.NewDisk(200*mib + 512)
		b := make([]byte, 64*mib)
		if _, err := small.ReadAt(b, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := d.WriteAt(b, 0); err != nil {
			t.Fatal(err)
		}
		if err := d.Sync(); err != nil {
			t.Fatal(err)
		}
		return tableMachine{&machine{disk: d, slots: 2, booted: disk.SeedGUID(nil, slot.Name(0))}}
	})
}

// The slot that the machine runs from is not written, also when another one is
// in force.
func TestBooted(t *testing.T) {
	d := newDisk(t, 2, 64*mib, true)
	m := slot.Table{Disk: slot.Disk{Device: d, Size: d.Size(), Booted: disk.SeedGUID(nil, slot.Name(0))}}
	if n, ok := m.BootedSlot(); n != 0 || !ok {
		t.Errorf("booted from %d, %v", n, ok)
	}
	if err := m.Stage(1, slottest.Files("x")); err != nil {
		t.Fatal(err)
	}
	if err := m.Try(1); err != nil {
		t.Fatal(err)
	}
	if err := m.Stage(0, slottest.Files("y")); err == nil || !strings.Contains(err.Error(), "runs from") {
		t.Errorf("staged over the running slot: %v", err)
	}
}

// Each sync and each reading back of Stage and Try is needed: without it, or on
// a medium that damages what is written, an error is returned or the slot is not
// whole after a cut.
func TestMutants(t *testing.T) {
	files := slottest.Files("x")
	for n := 1; n <= 12; n++ {
		d := newDisk(t, 2, 64*mib, true)
		d.CutAfter(1<<30, 1)
		d.DropSync(func(op int) bool { return op == n })
		m := slot.Table{Disk: slot.Disk{Device: d, Size: d.Size()}}
		err := m.Stage(1, files)
		if err == nil {
			err = m.Try(1)
		}
		if err != nil {
			continue
		}
		d.Reboot()
		got, err := m.Current()
		if err != nil || got == 1 && len(mustFiles(t, m, 1)) != len(files) {
			t.Errorf("sync %d dropped: slot %d in force, %v", n, got, err)
		}
	}
	for _, at := range []int64{11, 4096, 64 << 10} { // of boot sector, table, a file
		d := newDisk(t, 2, 64*mib, true)
		d.Rot(7*mib + at)
		m := slot.Table{Disk: slot.Disk{Device: d, Size: d.Size()}}
		if err := m.Stage(1, files); err == nil || !strings.Contains(err.Error(), "are not what was written") {
			t.Errorf("a medium that loses byte %d: %v", at, err)
		}
	}
}

func mustFiles(t *testing.T, m slot.Table, n int) []disk.FATFile {
	t.Helper()
	files, err := m.Files(n)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestContents(t *testing.T) {
	newSystem, good := digest.Of([]byte("new")), digest.Of([]byte("good"))
	c := slot.Contents{Arch: "amd64", Loader: strings.NewReader("loader"), New: slot.Image{System: newSystem, UKI: strings.NewReader("new uki")},
		Good: slot.Image{System: good, UKI: strings.NewReader("good uki")}, Tries: 3}
	files, err := c.Files()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range files {
		b, err := io.ReadAll(io.NewSectionReader(f.Data, 0, f.Size))
		if err != nil {
			t.Fatal(err)
		}
		got[f.Path] = string(b)
	}
	n, g := newSystem.Short(), good.Short()
	want := map[string]string{
		"EFI/BOOT/BOOTX64.EFI":                   "loader",
		"EFI/instar/instar-" + n + ".efi":        "new uki",
		"EFI/instar/good-" + g + ".efi":          "good uki",
		"loader/entries/instar-" + n + "+3.conf": "title instar-" + n + ".efi\nsort-key 1\nlinux /EFI/instar/instar-" + n + ".efi\n",
		"loader/entries/good-" + g + ".conf":     "title good-" + g + ".efi\nsort-key 2\nlinux /EFI/instar/good-" + g + ".efi\n",
		"loader/loader.conf":                     "timeout 0\neditor no\nauto-entries no\nauto-firmware no\n",
	}
	for p, b := range want {
		if got[p] != b {
			t.Errorf("%s is %q, not %q", p, got[p], b)
		}
	}
	if len(got) != len(want) {
		t.Errorf("files %v", got)
	}
	for _, sys := range []digest.Digest{newSystem, good} {
		if f, ok := slot.Find(files, sys); !ok || !strings.Contains(f.Path, sys.Short()) {
			t.Errorf("found %q, %v", f.Path, ok)
		}
	}
	if f, ok := slot.Loader(files); !ok || f.Path != "EFI/BOOT/BOOTX64.EFI" {
		t.Errorf("the loader is %q", f.Path)
	}
	confirmed := c
	confirmed.Tries, confirmed.Configuration = 0, "night"
	if files, err = confirmed.Files(); err != nil || files[1].Path != "EFI/Linux/instar-"+n+".efi" || files[2].Path != "EFI/Linux/good-"+g+".efi" {
		t.Errorf("confirmed: %+v, %v", files, err)
	}
	if b, err := io.ReadAll(io.NewSectionReader(files[3].Data, 0, files[3].Size)); err != nil || !strings.HasPrefix(string(b), "default instar-"+n+".efi@night\n") {
		t.Errorf("confirmed: loader.conf is %q, %v", b, err)
	}
	for name, change := range map[string]func(*slot.Contents){
		"profile":      func(c *slot.Contents) { c.Configuration = "x" },
		"architecture": func(c *slot.Contents) { c.Arch = "vax" },
		"system":       func(c *slot.Contents) { c.New = slot.Image{} },
		"loader":       func(c *slot.Contents) { c.Loader = nil },
		"tries":        func(c *slot.Contents) { c.Tries = 10 },
		"way back":     func(c *slot.Contents) { c.Good = slot.Image{} },
	} {
		bad := c
		change(&bad)
		if _, err := bad.Files(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestEntry(t *testing.T) {
	for name, want := range map[string]slot.Entry{
		"instar-0123456789ab.efi":         {System: "0123456789ab"},
		"instar-0123456789ab+3.efi@night": {System: "0123456789ab", Counted: true, Tries: 3, Profile: "night"},
		"instar-0123456789ab+0-3.efi":     {System: "0123456789ab", Counted: true, Done: 3},
		"good-0123456789ab.efi@a@b":       {System: "0123456789ab", Good: true, Profile: "a@b"},
	} {
		if got, ok := slot.ParseEntry(name); !ok || got != want || got.Name() != name {
			t.Errorf("%s: %+v, %v, written %s", name, got, ok, got.Name())
		}
	}
	for _, bad := range []string{"", "instar-", "instar-0123456789ab", "windows.efi", "instar-0123456789aB.efi", "instar-0123456789ab+.efi", "instar-0123456789ab+-1.efi"} {
		if got, ok := slot.ParseEntry(bad); ok {
			t.Errorf("%q: %+v", bad, got)
		}
	}
}

func FuzzParseEntry(f *testing.F) {
	f.Add("instar-0123456789ab+2-1.efi@night")
	f.Fuzz(func(t *testing.T, name string) {
		e, ok := slot.ParseEntry(name)
		if !ok {
			return
		}
		if back, ok := slot.ParseEntry(e.Name()); !ok || back != e {
			t.Errorf("%q is %+v, then %+v", name, e, back)
		}
	})
}

// variablesMachine is UEFI firmware with a memory: BootNext once, then
// BootOrder, then whatever is there.
type variablesMachine struct {
	*machine
	vars map[string][]byte
}

func (m variablesMachine) Method() slot.Method {
	return slot.Variables{Disk: m.slot(), Arch: "amd64", Store: m}
}

func (m variablesMachine) Clone() slottest.Machine {
	return variablesMachine{m.clone(), maps.Clone(m.vars)}
}

func (m variablesMachine) Names() ([]string, error) { return slices.Sorted(maps.Keys(m.vars)), nil }

func (m variablesMachine) Get(name string) ([]byte, error) { return m.vars[name], nil }

func (m variablesMachine) Set(name string, value []byte) error {
	return m.disk.Step(func() { m.vars[name] = value })
}

func (m variablesMachine) Delete(name string) error {
	return m.disk.Step(func() { delete(m.vars, name) })
}

func (m variablesMachine) Boot() (int, error) {
	order := append(slices.Clone(m.vars["BootNext"]), m.vars["BootOrder"]...)
	delete(m.vars, "BootNext")
	g, err := disk.ReadGPT(m.disk, m.disk.Size())
	if err != nil {
		return 0, err
	}
	for ; len(order) > 0; order = order[2:] {
		option := m.vars[fmt.Sprintf("Boot%02X%02X", order[1], order[0])]
		for n := range m.slots {
			if guid := g.Partitions[n].GUID; bytes.Contains(option, guid[:]) && m.starts(n) {
				return n, nil
			}
		}
	}
	for n := range m.slots {
		if m.starts(n) {
			return n, nil
		}
	}
	return 0, errors.New("nothing to boot")
}

// starts boots a slot if there is something in it.
func (m *machine) starts(n int) bool {
	files, err := m.Holds(n)
	if err == nil && len(files) > 0 {
		m.booted = disk.SeedGUID(nil, slot.Name(n))
	}
	return err == nil && len(files) > 0
}

func TestVariables(t *testing.T) {
	for _, slots := range []int{2, 3} {
		slottest.Run(t, func(t *testing.T) slottest.Machine {
			other := []byte("\x01\x00\x00\x00\x04\x00o\x00\x00\x00\x7f\xff\x04\x00") // of firmware
			return variablesMachine{
				&machine{disk: newDisk(t, slots, 64*mib, false), slots: slots, booted: disk.SeedGUID(nil, slot.Name(0))},
				map[string][]byte{"Boot0100": other, "BootOrder": {0, 1}},
			}
		})
	}
}

// A directory stands for efivarfs: what is written is what firmware would find.
func TestVariablesDirectory(t *testing.T) {
	dir := t.TempDir()
	d := newDisk(t, 2, 64*mib, false)
	m := slot.Variables{Disk: slot.Disk{Device: d, Size: d.Size()}, Arch: "amd64", Store: linux.EFIVars{Dir: dir, Vendor: linux.EFIGlobal}}
	if err := m.Stage(1, slottest.Files("x")); err != nil {
		t.Fatal(err)
	}
	if err := m.Try(1); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"BootNext": "\x07\x00\x00\x00\x00\x01", "BootOrder": "\x07\x00\x00\x00\x01\x01"} {
		b, err := os.ReadFile(filepath.Join(dir, name+"-8be4df61-93ca-11d2-aa0d-00e098032b8c"))
		if err != nil || string(b) != want {
			t.Errorf("%s is %q, not %q: %v", name, b, want, err)
		}
	}
	if err := m.Commit(1); err != nil {
		t.Fatal(err)
	}
	if n, err := m.Current(); n != 1 || err != nil {
		t.Errorf("slot %d is in force: %v", n, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "BootNext-8be4df61-93ca-11d2-aa0d-00e098032b8c")); err == nil {
		t.Error("BootNext is left")
	}
}
