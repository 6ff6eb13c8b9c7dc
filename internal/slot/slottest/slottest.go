// Package slottest holds what every implementation of slot.Method must do. An
// implementation runs it on a Machine of its own kind, whose firmware the test
// plays.
package slottest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/instar-os/instar/internal/disk"
	"github.com/instar-os/instar/internal/slot"
)

// Machine is a machine with slots 0 to Slots-1, of which 0 is whole and in
// force, and was booted from.
type Machine interface {
	Method() slot.Method                 // as after a start of the machine
	Slots() int                          //
	Holds(n int) ([]disk.FATFile, error) // what slot n holds, as firmware reads it
	Boot() (int, error)                  // what firmware starts from at the next reset; it may change what it remembers
	Cut(n int, seed uint64)              // cut the power within the n-th operation from now
	Reboot()                             // the power comes back
	Clone() Machine
}

// Files are the files of slots in tests: of a name, and different for each.
func Files(name string) []disk.FATFile {
	var all []disk.FATFile
	for i, size := range []int{len(name), 700, 20000} {
		data := bytes.Repeat([]byte(name+"."), size)[:size]
		all = append(all, disk.FATFile{Path: fmt.Sprintf("EFI/%s/file-%d.bin", name, i), Size: int64(size), Data: bytes.NewReader(data)})
	}
	return all
}

// Run runs the suite; open returns a new machine each time.
func Run(t *testing.T, open func(t *testing.T) Machine) {
	t.Run("life", func(t *testing.T) { life(t, open(t)) })
	t.Run("refused", func(t *testing.T) { refused(t, open(t)) })
	t.Run("leftovers", func(t *testing.T) { leftovers(t, open(t)) })
	t.Run("comes back", func(t *testing.T) { comesBack(t, open(t)) })
	t.Run("cut stage", func(t *testing.T) { cuts(t, open(t), stageCut) })
	t.Run("cut try", func(t *testing.T) { cuts(t, staged(t, open(t)), tryCut) })
	t.Run("cut commit", func(t *testing.T) { cuts(t, staged(t, open(t)), commitCut) })
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func current(t *testing.T, m Machine, want int) {
	t.Helper()
	if got, err := m.Method().Current(); err != nil || got != want {
		t.Fatalf("slot %d is in force, not %d: %v", got, want, err)
	}
}

func boots(t *testing.T, m Machine, want int) {
	t.Helper()
	if got, err := m.Boot(); err != nil || got != want {
		t.Fatalf("firmware starts from slot %d, not %d: %v", got, want, err)
	}
}

// holds compares a slot's content with files.
func holds(m Machine, n int, files []disk.FATFile) error {
	got, err := m.Holds(n)
	if err != nil {
		return err
	}
	read := func(all []disk.FATFile) map[string]string {
		out := map[string]string{}
		for _, f := range all {
			b, err := io.ReadAll(io.NewSectionReader(f.Data, 0, f.Size))
			out[f.Path] = fmt.Sprint(string(b), err)
		}
		return out
	}
	have, want := read(got), read(files)
	for p, b := range want {
		if have[p] != b {
			return fmt.Errorf("slot %d: file %s is missing or different", n, p)
		}
	}
	if len(have) != len(want) {
		return fmt.Errorf("slot %d holds %d files, not %d", n, len(have), len(want))
	}
	return nil
}

// life stages, tries and commits every slot in turn, with a boot between.
func life(t *testing.T, m Machine) {
	current(t, m, 0)
	boots(t, m, 0)
	now := 0
	for round := range 2 * m.Slots() {
		next, files := (now+1)%m.Slots(), Files(fmt.Sprint("round", round))
		must(t, m.Method().Stage(next, files))
		must(t, holds(m, next, files))
		current(t, m, now)
		boots(t, m, now)
		must(t, m.Method().Try(next))
		boots(t, m, next)
		final := Files(fmt.Sprint("final", round))
		if !slot.Counted(m.Method()) {
			final = files
		}
		got, err := slot.Confirm(m.Method(), next, m.Slots(), final)
		must(t, err)
		again, err := slot.Confirm(m.Method(), next, m.Slots(), final)
		must(t, err)
		if again != got {
			t.Errorf("confirmed once more, slot %d is in force instead of %d", again, got)
		}
		must(t, holds(m, got, final))
		current(t, m, got)
		for range 5 {
			boots(t, m, got)
		}
		now = got
	}
}

func refused(t *testing.T, m Machine) {
	for name, err := range map[string]error{
		"stage the current one": m.Method().Stage(0, Files("x")),
		"stage no slot":         m.Method().Stage(m.Slots(), Files("x")),
		"stage a negative slot": m.Method().Stage(-1, Files("x")),
		"try an empty slot":     m.Method().Try(1),
		"commit an empty slot":  m.Method().Commit(1),
		"try no slot":           m.Method().Try(-1),
		"commit no slot":        m.Method().Commit(m.Slots()),
		"too large":             m.Method().Stage(1, []disk.FATFile{{Path: "big", Size: 4<<30 - 1, Data: zeros{}}}),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	current(t, m, 0)
	boots(t, m, 0)
	// What did not fit has not cost the slot its content.
	files := Files("good")
	must(t, m.Method().Stage(1, files))
	if m.Method().Stage(1, []disk.FATFile{{Path: "big", Size: 4<<30 - 1, Data: zeros{}}}) == nil {
		t.Error("a file of 4 GiB was staged")
	}
	must(t, holds(m, 1, files))
}

type zeros struct{}

func (zeros) ReadAt(p []byte, _ int64) (int, error) { clear(p); return len(p), nil }

// leftovers: a slot holds nothing of what was there before.
func leftovers(t *testing.T, m Machine) {
	must(t, m.Method().Stage(1, Files("first")))
	files := Files("second")[:1]
	must(t, m.Method().Stage(1, files))
	must(t, holds(m, 1, files))
}

// comesBack: a slot that is tried and not committed is not in force for ever,
// unless its loader counts.
func comesBack(t *testing.T, m Machine) {
	must(t, m.Method().Stage(1, Files("tried")))
	must(t, m.Method().Try(1))
	boots(t, m, 1)
	if slot.Counted(m.Method()) {
		must(t, m.Method().Commit(0)) // what the last good system does
	}
	for i := 0; ; i++ {
		n, err := m.Boot()
		must(t, err)
		if n == 0 {
			break
		}
		if i > slot.MaxTries {
			t.Fatal("firmware does not come back")
		}
	}
	boots(t, m, 0)
	current(t, m, 0)
	// A commit stands above a try of another slot that was not booted yet.
	must(t, m.Method().Stage(1, Files("tried again")))
	must(t, m.Method().Try(1))
	must(t, m.Method().Commit(0))
	boots(t, m, 0)
	// Nothing is left of the trial.
	must(t, m.Method().Stage(1, Files("next")))
	must(t, m.Method().Commit(1))
	boots(t, m, 1)
}

func staged(t *testing.T, m Machine) Machine {
	must(t, m.Method().Stage(1, Files("staged")))
	return m
}

// A cut is an operation that is cut; whole says whether its end was reached.
type cutOperation struct {
	do    func(slot.Method) error
	after []int // slots that firmware may start from after a cut
	then  func(t *testing.T, m Machine)
}

var (
	stageCut = cutOperation{
		do:    func(m slot.Method) error { return m.Stage(1, Files("staged")) },
		after: []int{0},
		then:  func(t *testing.T, m Machine) { must(t, holds(m, 1, Files("staged"))) },
	}
	tryCut = cutOperation{
		do:    func(m slot.Method) error { return m.Try(1) },
		after: []int{0, 1},
		then:  func(t *testing.T, m Machine) { boots(t, m, 1) },
	}
	commitCut = cutOperation{
		do:    func(m slot.Method) error { return m.Commit(1) },
		after: []int{0, 1},
		then:  func(t *testing.T, m Machine) { boots(t, m, 1); current(t, m, 1) },
	}
)

// cuts cuts an operation at each of its writes and syncs, with different
// subsets of what was not synced, and then does it again.
func cuts(t *testing.T, base Machine, op cutOperation) {
	const seeds = 8
	before := Files("staged")
	for n := 0; ; n++ {
		reached := false
		for seed := range uint64(seeds) {
			m := base.Clone()
			m.Cut(n, seed)
			err := op.do(m.Method())
			m.Reboot()
			if err == nil {
				reached = true
				op.then(t, m)
				continue
			}
			if !errors.Is(err, ErrCut) {
				t.Fatalf("cut %d: %v", n, err)
			}
			got, err := m.Clone().Boot()
			if err != nil || !slices.Contains(op.after, got) {
				t.Fatalf("cut %d, seed %d: firmware starts from slot %d: %v", n, seed, got, err)
			}
			// A slot that can be read is whole.
			if files, err := m.Holds(got); got != 0 && (err != nil || len(files) != len(before) || holds(m, got, before) != nil) {
				t.Fatalf("cut %d, seed %d: slot %d is started and not whole: %v", n, seed, got, err)
			}
			if files, err := m.Holds(1); err == nil && len(files) > 0 && holds(m, 1, before) != nil {
				t.Fatalf("cut %d, seed %d: slot 1 is a file system, but not whole", n, seed)
			}
			if now, err := m.Method().Current(); err != nil {
				t.Fatalf("cut %d, seed %d: %v", n, seed, err)
			} else if now == 0 { // else it was done but for the last answer
				must(t, op.do(m.Method()))
			} else {
				must(t, m.Method().Commit(1))
			}
			op.then(t, m)
		}
		if reached {
			break
		}
	}
}
