package crash

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/crashtest/blocks"
	"github.com/instar-os/instar/internal/durable"
	"github.com/instar-os/instar/internal/vm"
)

// full says that all of it is wanted (make crash-vm), not what CI has time for.
var full = os.Getenv("INSTAR_CRASH") == "full"

const bootLimit = 4 * time.Minute

func options(t *testing.T) vm.Options {
	t.Helper()
	tools := vm.Tools{Root: os.Getenv("INSTAR_TEST_TOOLS")}
	if err := tools.Command(t.Context(), "qemu-system-x86_64", "--version").Run(); err != nil {
		t.Skipf("no QEMU: %v", err)
	}
	return vm.Options{Tools: tools, Arch: "amd64", Memory: 256 << 20}
}

// raw builds the disk of the smallest machine.
func raw(t *testing.T, arguments ...string) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "disk.raw")
	cmd := exec.Command(filepath.Join(root, "out/instar"), append([]string{"-q", "-f", filepath.Join(root, "examples/minimal/instar.yaml"),
		"image", "--arch", "amd64", "-t", "raw", "--to", to}, arguments...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("instar image: %v\n%s", err, out)
	}
	return to
}

// report is what a run has done, for out/crash.
type report struct {
	Scenario string         `json:"scenario"`
	Writes   int            `json:"writes"`
	Flushes  int            `json:"flushes"`
	States   int            `json:"states"`
	Distinct int            `json:"distinct"`
	Outcomes map[string]int `json:"outcomes"`
	Boots    map[string]int `json:"boots"`
	Wrong    int            `json:"wrong"`
	Mutants  map[string]int `json:"mutants,omitempty"` // states that were wrong, by what the disk ignored
}

func (r *report) write(t *testing.T) {
	t.Helper()
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	dir := "../../out/crash"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := durable.WriteFile(filepath.Join(dir, "level2-"+r.Scenario+".json"), 0o644, append(b, '\n')); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", b)
}

func counted(name string, l *blocks.Log) *report {
	r := &report{Scenario: name, Boots: map[string]int{}}
	for _, o := range l.Ops() {
		if o.Kind == blocks.Flush {
			r.Flushes++
		} else {
			r.Writes++
		}
	}
	return r
}

// TestFirstBoot cuts the power at each write of the first boot, which makes the
// data partition.
func TestFirstBoot(t *testing.T) {
	o := options(t)
	base, err := open(raw(t), 256<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer base.Close()
	l, err := base.log()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
	defer cancel()
	healthy := func(ctx context.Context, v *vm.VM) error {
		_, err := v.WaitHealthy(ctx)
		return err
	}
	if err := Boot(ctx, o, l, func(ctx context.Context, v *vm.VM) error {
		if err := healthy(ctx, v); err != nil {
			return err
		}
		return v.PowerOff(ctx)
	}); err != nil {
		t.Fatal(err)
	}
	states, boots := 2000, 1
	if full {
		states, boots = 10000, 20
	}
	began, err := NewEye().At(l.Prefix(0))
	if err != nil {
		t.Fatal(err)
	}
	r, err := Replay(l, 0, l.Len(), states, func(_ Cut, look *Look) (string, error) {
		return "old", unchanged(began, look)
	})
	if err != nil {
		t.Fatal(err)
	}
	rep := counted("first-boot", l)
	rep.States, rep.Distinct, rep.Outcomes, rep.Wrong = r.States, len(r.Seen), r.Outcomes, r.Wrong
	for _, bad := range r.Bad {
		t.Error(bad)
	}
	if last, err := NewEye().At(l.Now()); err != nil || last.Data != "whole" {
		t.Errorf("after the boot: %+v, %v", last, err)
	}
	for _, s := range choose(r, boots) {
		if err := again(t, o, s.State(l), healthy); err != nil {
			t.Errorf("after %+v, which leaves %+v: %v", s.Cut, s.look, err)
			rep.Boots["dead"]++
			continue
		}
		rep.Boots["old"]++
	}
	rep.write(t)
}

// unchanged says what of the system another look lacks.
func unchanged(began, now *Look) error {
	if now.Default != began.Default {
		return fmt.Errorf("the loader's default is %s", now.Default)
	}
	for p, d := range began.Loader {
		if now.Loader[p] != d {
			return fmt.Errorf("%s in the slot is damaged", p)
		}
	}
	for name, state := range began.Systems {
		if now.Systems[name] != state {
			return fmt.Errorf("system %s: %s", name, now.Systems[name])
		}
	}
	return nil
}

// chosen is a state that is to be booted.
type chosen struct {
	Cut
	look *Look
}

// choose returns up to n states: one of each kind, rare kinds first, then a
// second one of each, and so on.
func choose(r *Result, n int) []chosen {
	var kinds []*Seen
	for _, s := range r.Seen {
		kinds = append(kinds, s)
	}
	slices.SortFunc(kinds, func(a, b *Seen) int {
		return cmp.Or(a.Count-b.Count, cmp.Compare(a.Some[0].key(), b.Some[0].key()))
	})
	var all []chosen
	for i := range maxSome {
		for _, s := range kinds {
			if i < len(s.Some) && len(all) < n {
				all = append(all, chosen{s.Some[i], s.Look})
			}
		}
	}
	return all
}

// again boots a state.
func again(t *testing.T, o vm.Options, s *blocks.State, use func(context.Context, *vm.VM) error) error {
	t.Helper()
	d, err := Scratch(s)
	if err != nil {
		return err
	}
	defer d.Close()
	ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
	defer cancel()
	return Boot(ctx, o, d, use)
}
