package crashtest_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/instar-os/instar/internal/crashtest"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/disk"
	"github.com/instar-os/instar/internal/pid1/trial"
	"github.com/instar-os/instar/internal/reason"
	"github.com/instar-os/instar/internal/record"
	"github.com/instar-os/instar/internal/slot"
	"github.com/instar-os/instar/internal/slot/slottest"
)

// Slots that the scenarios work on: home holds the last good system, fresh the
// one on trial.
const (
	home     = 0
	fresh    = 1
	slotDisk = 16 * mib
)

// firmware is a kind of machine with two slots.
type firmware struct {
	name  string
	hide  bool
	add   func(g *disk.GPT, b memory) error // what it needs beside the slots
	open  func(d *crashtest.Disk) slot.Method
	start func(d *crashtest.Disk) (now, tried int, err error) // what it starts from; tried differs during a trial by itself
	disk  []byte                                              // as installed; nobody writes to it
}

var ubootPlace = slot.EnvironmentPlace{Offsets: [2]int64{256 << 10, 512 << 10}, Size: 8 << 10}

func onDisk(d *crashtest.Disk) slot.Disk { return slot.Disk{Device: d, Size: slotDisk} }

func pick(m slot.Method) (int, int, error) { n, err := m.Current(); return n, n, err }

func firmwares() []firmware {
	table := func(d *crashtest.Disk) slot.Method { return slot.Table{Disk: onDisk(d)} }
	uboot := func(d *crashtest.Disk) slot.Method { return slot.UBoot{Disk: onDisk(d), Place: ubootPlace} }
	pi := func(d *crashtest.Disk) slot.Method { return slot.Pi{Disk: onDisk(d)} }
	all := []firmware{
		{"the partition table", true, addRecord, table, func(d *crashtest.Disk) (int, int, error) { return pick(table(d)) }, nil},
		{"U-Boot", false, addEnvironment, uboot, startUBoot, nil},
		{"a Raspberry Pi", false, addSelect, pi, startPi, nil},
	}
	for i, f := range all {
		var err error
		if all[i].disk, err = slotsOf(f); err != nil {
			panic(err)
		}
	}
	return all
}

func addRecord(g *disk.GPT, _ memory) error {
	_, err := g.Add(disk.Partition{Type: disk.TypeLinux, GUID: disk.SeedGUID(nil, record.Partition), Name: record.Partition}, mib)
	return err
}

func addEnvironment(_ *disk.GPT, b memory) error {
	env, err := slot.EncodeEnvironment(slot.UBootVariables("mmc 0", home+1), 255, ubootPlace.Size)
	copy(b[ubootPlace.Offsets[0]:], env)
	return err
}

// startUBoot reads the environment as U-Boot does.
func startUBoot(d *crashtest.Disk) (now, tried int, err error) {
	var vars map[string]string
	var flag byte
	for _, at := range ubootPlace.Offsets {
		b := make([]byte, ubootPlace.Size)
		if _, err := d.ReadAt(b, at); err != nil {
			return 0, 0, err
		}
		if v, f, err := slot.DecodeEnvironment(b); err == nil && (vars == nil || int8(f-flag) > 0) {
			vars, flag = v, f
		}
	}
	if now, err = strconv.Atoi(vars["instar_part"]); err != nil {
		return 0, 0, fmt.Errorf("no copy of the environment names a partition: %w", err)
	}
	tried = now
	if vars["upgrade_available"] == "1" {
		tried, err = strconv.Atoi(vars["instar_try"])
	}
	return now - 1, tried - 1, err
}

func addSelect(g *disk.GPT, b memory) error {
	p, err := g.Add(disk.Partition{Type: disk.TypeESP, GUID: disk.SeedGUID(nil, slot.SelectName), Name: slot.SelectName}, 4*mib)
	if err != nil {
		return err
	}
	auto := slot.Autoboot(home+1, home+1)
	v := &disk.FAT{Size: p.Size(), Label: "SELECT", Files: []disk.FATFile{{Path: "autoboot.txt", Size: int64(len(auto)), Data: bytes.NewReader(auto)}}}
	return v.Write(io.NewOffsetWriter(b, p.Offset()))
}

// startPi reads autoboot.txt as the firmware does.
func startPi(d *crashtest.Disk) (now, tried int, err error) {
	g, err := disk.ReadGPT(d, slotDisk)
	if err != nil {
		return 0, 0, err
	}
	sel, _ := g.Find(slot.SelectName)
	v, err := disk.ReadFAT(io.NewSectionReader(d, sel.Offset(), sel.Size()), sel.Size())
	if err != nil {
		return 0, 0, err
	}
	text, err := io.ReadAll(io.NewSectionReader(v.Files[0].Data, 0, v.Files[0].Size))
	if err != nil {
		return 0, 0, err
	}
	_, err = fmt.Sscanf(string(text), "[all]\ntryboot_a_b=1\nboot_partition=%d\n[tryboot]\nboot_partition=%d\n", &now, &tried)
	return now - 1, tried - 1, err
}

// slotsOf is a disk whose first slot holds a system.
func slotsOf(f firmware) ([]byte, error) {
	b := make(memory, slotDisk)
	g := &disk.GPT{Disk: disk.SeedGUID(nil, "disk"), Size: slotDisk}
	if err := slot.Add(g, 2, 3*mib, f.hide, func(name string) disk.GUID { return disk.SeedGUID(nil, name) }); err != nil {
		return nil, err
	}
	for n := range 2 {
		off, size := slot.Span(g.Partitions[n])
		v := &disk.FAT{Size: size, Label: slot.Label(n), Files: slottest.Files([]string{home: "good", fresh: "older"}[n])}
		if err := v.Write(io.NewOffsetWriter(b, off)); err != nil {
			return nil, err
		}
	}
	if err := f.add(g, b); err != nil {
		return nil, err
	}
	return b, g.Write(b)
}

// holds says what a slot holds, which must be whole.
func holds(d *crashtest.Disk, n int, names ...string) error {
	files, err := onDisk(d).Files(n)
	if err != nil {
		return err
	}
	for _, name := range names {
		if same(files, slottest.Files(name)) {
			return nil
		}
	}
	return fmt.Errorf("slot %s holds %d files, which are not those of %q", slot.Name(n), len(files), names)
}

// nothingElse finds that a slot which is not in force holds something whole, or
// no file system: there is firmware that looks into every partition.
func nothingElse(d *crashtest.Disk, n int, names ...string) error {
	if files, err := onDisk(d).Files(n); err != nil || len(files) == 0 {
		return nil
	}
	return holds(d, n, names...)
}

// twice finds that both copies of a partition table are whole and the same.
func twice(d *crashtest.Disk, n int) error {
	g, err := disk.ReadGPT(d, slotDisk)
	if err != nil || g.Recovered {
		return fmt.Errorf("the primary table is damaged: %w", err)
	}
	head := make([]byte, disk.SectorSize)
	if _, err := d.WriteAt(head, disk.SectorSize); err != nil {
		return err
	}
	if now, err := (slot.Table{Disk: onDisk(d)}).Current(); err != nil || now != n {
		return fmt.Errorf("the backup of the table names slot %d, %w", now, err)
	}
	return nil
}

func same(got, want []disk.FATFile) bool {
	if len(got) != len(want) {
		return false
	}
	for i, f := range got {
		a, err1 := io.ReadAll(io.NewSectionReader(f.Data, 0, f.Size))
		b, err2 := io.ReadAll(io.NewSectionReader(want[i].Data, 0, want[i].Size))
		if err1 != nil || err2 != nil || f.Path != want[i].Path || !bytes.Equal(a, b) {
			return false
		}
	}
	return true
}

func slotScenarios() []*crashtest.Scenario {
	kinds := firmwares()
	all := []*crashtest.Scenario{armUpdate(kinds[0]), confirmUpdate(kinds[0]), failUpdate(kinds[0])}
	for _, f := range kinds {
		all = append(all, stageSlot(f), commitSlot(f))
	}
	return all
}

// stageSlot writes a slot and lets firmware try it.
func stageSlot(f firmware) *crashtest.Scenario {
	return &crashtest.Scenario{
		Name: "slot: stage and try, by " + f.name,
		Setup: func(e *crashtest.Env) error {
			e.AddDisk("sda", f.disk)
			return nil
		},
		Run: func(e *crashtest.Env) error {
			d := e.Disk("sda")
			if _, tried, err := f.start(d); err != nil || tried == fresh {
				e.Ack("new")
				return err
			}
			if holds(d, fresh, "fresh") != nil {
				if err := f.open(d).Stage(fresh, slottest.Files("fresh")); err != nil {
					return err
				}
			}
			e.Ack("staged")
			if err := f.open(d).Try(fresh); err != nil {
				return err
			}
			e.Ack("new")
			return nil
		},
		Check: func(s *crashtest.State) (string, error) {
			d := s.Disk("sda")
			_, tried, err := f.start(d)
			if err == nil {
				err = errors.Join(holds(d, home, "good"), nothingElse(d, fresh, "older", "fresh"))
			}
			if err == nil && (s.Has("staged") || tried == fresh) {
				err = holds(d, fresh, "fresh")
			}
			if err == nil && s.Has("new") && f.hide {
				err = twice(d, fresh)
			}
			switch {
			case err != nil:
				return "", err
			case tried == fresh:
				return "new", nil
			}
			return acknowledged(s, "old")
		},
	}
}

// commitSlot makes what is on trial the system of every boot.
func commitSlot(f firmware) *crashtest.Scenario {
	return &crashtest.Scenario{
		Name: "slot: confirm, by " + f.name,
		Setup: func(e *crashtest.Env) error {
			m := f.open(e.AddDisk("sda", f.disk))
			return errors.Join(m.Stage(fresh, slottest.Files("fresh")), m.Try(fresh))
		},
		Run: func(e *crashtest.Env) error {
			if _, err := slot.Confirm(f.open(e.Disk("sda")), fresh, 2, slottest.Files("confirmed")); err != nil {
				return err
			}
			e.Ack("new")
			return nil
		},
		Check: func(s *crashtest.State) (string, error) {
			d := s.Disk("sda")
			now, tried, err := f.start(d)
			switch counted := slot.Counted(f.open(d)); {
			case err != nil:
				return "", err
			case counted && now == home:
				if err = holds(d, home, "confirmed"); err == nil && s.Has("new") {
					err = twice(d, home)
				}
				return "new", err
			case !counted && now == fresh && tried == fresh:
				return "new", holds(d, fresh, "fresh")
			case counted:
				err = nothingElse(d, home, "good", "confirmed")
			default:
				err = holds(d, home, "good")
			}
			if err := errors.Join(err, holds(d, fresh, "fresh")); err != nil {
				return "", err
			}
			return acknowledged(s, "old")
		},
	}
}

// A pair is the record and the slots of a machine, as the receiver of updates
// and PID 1 change them.
type pair struct {
	disk  *crashtest.Disk
	slots slot.Table
	book  *record.Book
}

// area is the partition of the record.
type area struct {
	*crashtest.Disk
	at int64
}

func (a area) ReadAt(p []byte, off int64) (int, error)   { return a.Disk.ReadAt(p, a.at+off) }
func (a area) WriteAt(p []byte, off int64) (int, error)  { return a.Disk.WriteAt(p, a.at+off) }
func (a area) ReadBack(p []byte, off int64) (int, error) { return a.Disk.ReadBack(p, a.at+off) }

func openPair(d *crashtest.Disk) (*pair, error) {
	g, err := disk.ReadGPT(d, slotDisk)
	if err != nil {
		return nil, err
	}
	p, _ := g.Find(record.Partition)
	b, err := record.Open(area{d, p.Offset()}, p.Size())
	if err == nil {
		err = b.Damaged
	}
	return &pair{d, slot.Table{Disk: onDisk(d)}, b}, err
}

func (p *pair) change(f func(*record.Record) error) error {
	var failed error
	err := p.book.Update(func(r *record.Record) {
		kept := *r
		if failed = f(r); failed != nil {
			*r = kept
		}
	})
	return errors.Join(failed, err)
}

var (
	goodSystem  = digest.Of([]byte("good"))
	freshSystem = digest.Of([]byte("fresh"))
)

// arm does what the receiver of an update does.
func (p *pair) arm() error {
	if now, err := p.slots.Current(); err != nil || now == fresh {
		// A boot between would have been the trial; the record may not say so yet.
		if t := p.book.Record().Trial; err != nil || t != nil && t.Phase != record.Staged {
			return err
		}
		return p.change(trial.Arm)
	}
	if err := p.slots.Stage(fresh, slottest.Files("fresh")); err != nil {
		return err
	}
	t := record.Trial{System: freshSystem, Slot: fresh, Tries: 3, Home: home}
	if err := p.change(func(r *record.Record) error { return trial.Stage(r, t) }); err != nil {
		return err
	}
	if err := p.slots.Try(fresh); err != nil {
		return err
	}
	return p.change(trial.Arm)
}

func setupPair(f firmware, before ...func(p *pair) error) func(e *crashtest.Env) error {
	return func(e *crashtest.Env) error {
		p, err := openPair(e.AddDisk("sda", f.disk))
		if err != nil {
			return err
		}
		err = p.change(func(r *record.Record) error { r.Current = goodSystem; return nil })
		for _, f := range before {
			err = errors.Join(err, f(p))
		}
		return err
	}
}

// boot is the decision of the first boot of what is on trial.
func (p *pair) boot() error {
	return p.change(func(r *record.Record) error {
		if d := trial.Decide(r, trial.Boot{System: freshSystem}); d.Action != trial.Try {
			return fmt.Errorf("the boot leads to %+v", d)
		}
		return nil
	})
}

// found reads what a cut has left: the slot in force, which must be whole, and
// the record.
func found(s *crashtest.State) (now int, r record.Record, err error) {
	p, err := openPair(s.Disk("sda"))
	if err != nil {
		return 0, r, err
	}
	if now, err = p.slots.Current(); err != nil {
		return 0, r, err
	}
	names := [][]string{home: {"good", "confirmed"}, fresh: {"older", "fresh"}}
	err = errors.Join(holds(p.disk, now, names[now]...), nothingElse(p.disk, 1-now, names[1-now]...))
	if err == nil && s.Has("new") {
		err = twice(p.disk, now)
	}
	return now, p.book.Record(), err
}

// armUpdate stages a system in slot and record.
func armUpdate(f firmware) *crashtest.Scenario {
	return &crashtest.Scenario{
		Name:  "slot: an update is staged in slot and record",
		Setup: setupPair(f),
		Run: func(e *crashtest.Env) error {
			p, err := openPair(e.Disk("sda"))
			if err == nil {
				err = p.arm()
			}
			if err == nil {
				e.Ack("new")
			}
			return err
		},
		Check: func(s *crashtest.State) (string, error) {
			now, r, err := found(s)
			if err == nil && now == fresh {
				err = holds(s.Disk("sda"), fresh, "fresh")
			}
			phase := record.Phase("")
			if r.Trial != nil {
				phase = r.Trial.Phase
			}
			switch {
			case err != nil:
				return "", err
			case now == fresh && phase == "":
				return "", errors.New("firmware boots a system that the record does not know")
			case now == home && phase == record.Armed:
				return "", errors.New("the record takes a system for tried that firmware does not boot")
			case now == fresh && phase == record.Armed:
				return "new", nil
			case now == fresh:
				return acknowledged(s, "between")
			}
			return acknowledged(s, "old")
		},
	}
}

// confirmUpdate tells firmware, then the record, that what is on trial stays.
func confirmUpdate(f firmware) *crashtest.Scenario {
	return &crashtest.Scenario{
		Name:  "slot: a trial is confirmed in slot and record",
		Setup: setupPair(f, (*pair).arm, (*pair).boot),
		Run: func(e *crashtest.Env) error {
			p, err := openPair(e.Disk("sda"))
			if err != nil {
				return err
			}
			if _, err := slot.Confirm(p.slots, fresh, 2, slottest.Files("confirmed")); err != nil {
				return err
			}
			if p.book.Record().Current != freshSystem {
				err = p.change(func(r *record.Record) error { return trial.Confirm(r, reason.Confirmed, 0) })
			}
			if err == nil {
				e.Ack("new")
			}
			return err
		},
		Check: func(s *crashtest.State) (string, error) {
			now, r, err := found(s)
			if err == nil && now == home {
				err = holds(s.Disk("sda"), home, "confirmed")
			}
			switch {
			case err != nil:
				return "", err
			case r.Current == freshSystem && now != home:
				return "", errors.New("it is confirmed, and firmware still counts its tries")
			case r.Current == freshSystem:
				return "new", nil
			case r.Trial == nil:
				return "", errors.New("the trial is lost")
			case now == home:
				return acknowledged(s, "between")
			}
			return acknowledged(s, "old")
		},
	}
}

// failUpdate gives a verdict and tells firmware to go back.
func failUpdate(f firmware) *crashtest.Scenario {
	return &crashtest.Scenario{
		Name:  "slot: a trial fails and firmware goes back",
		Setup: setupPair(f, (*pair).arm, (*pair).boot),
		Run: func(e *crashtest.Env) error {
			p, err := openPair(e.Disk("sda"))
			if err != nil {
				return err
			}
			if t := p.book.Record().Trial; t != nil && t.Phase == record.Running {
				if err := p.change(func(r *record.Record) error { return trial.Fail(r, reason.HealthTimeout, "", 0) }); err != nil {
					return err
				}
			}
			e.Ack("verdict")
			if err := p.slots.Commit(home); err != nil {
				return err
			}
			if err := p.change(func(r *record.Record) error { trial.Home(r, goodSystem); return nil }); err != nil {
				return err
			}
			e.Ack("new")
			return nil
		},
		Check: func(s *crashtest.State) (string, error) {
			now, r, err := found(s)
			if err == nil {
				err = holds(s.Disk("sda"), home, "good")
			}
			switch {
			case err != nil:
				return "", err
			case s.Has("verdict") && !r.Bad(freshSystem):
				return "", errors.New("the verdict is lost")
			case r.Trial == nil && (now != home || !r.Bad(freshSystem)):
				return "", errors.New("the trial is over, and firmware still boots what was on trial")
			case now == home && r.Trial != nil && r.Trial.Phase == record.Running:
				return "", errors.New("firmware went back, and nobody knows why")
			case r.Trial == nil:
				return "new", nil
			case now == home || r.Trial.Phase == record.Failed:
				return acknowledged(s, "between")
			}
			return acknowledged(s, "old")
		},
	}
}
