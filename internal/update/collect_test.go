package update_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/record"
	"github.com/instar-os/instar/internal/update"
	"github.com/instar-os/instar/test/updatetest"
)

// slots are boot slots in memory.
type slots struct {
	list   []update.Slot
	broken error
}

func (s *slots) List() ([]update.Slot, error) { return slices.Clone(s.list), s.broken }

func (s *slots) Clear(n int) error {
	if s.list[n].InForce {
		return errors.New("in force")
	}
	s.list[n].Systems = nil
	return nil
}

// What is collected, and what is not, of a device with five systems.
func TestCollect(t *testing.T) {
	w := updatetest.New(t)
	sys := map[string]digest.Digest{"1": w.Old, "2": w.New, "3": w.System(3, nil), "4": w.System(4, nil), "5": w.System(5, nil)}
	name := map[string]string{}
	for n, d := range sys {
		name[d.String()] = n
	}
	hold := func(inForce bool, names ...string) update.Slot {
		s := update.Slot{InForce: inForce}
		for _, n := range names {
			s.Systems = append(s.Systems, sys[n])
		}
		return s
	}
	for _, row := range []struct {
		name, runs string
		rec        record.Record
		slots      []update.Slot
		root       string
		want       string // systems that stay, slots that go
	}{
		{"confirmed", "3", record.Record{Current: sys["3"], Previous: sys["2"]}, []update.Slot{hold(true, "3"), hold(false, "3", "2")}, "", "23 []"},
		{"an old slot", "3", record.Record{Current: sys["3"], Previous: sys["2"]}, []update.Slot{hold(true, "3"), hold(false, "2", "1")}, "", "23 [1]"},
		{"staged", "2", record.Record{Current: sys["2"], Trial: &record.Trial{System: sys["3"], Phase: record.Armed}}, []update.Slot{hold(true, "2"), hold(false, "3", "2")}, "", "23 []"},
		{"failed", "2", record.Record{Current: sys["2"], Previous: sys["1"], Trial: &record.Trial{System: sys["3"], Phase: record.Failed}}, []update.Slot{hold(true, "2"), hold(false, "3", "2")}, "", "12 [1]"},
		{"a root", "2", record.Record{Current: sys["2"]}, []update.Slot{hold(true, "2"), hold(false)}, "5", "25 []"},
		{"the slot in force holds more", "2", record.Record{}, []update.Slot{hold(false, "4"), hold(true, "2", "1")}, "", "12 [0]"},
		{"another runs than is remembered", "4", record.Record{Current: sys["3"]}, nil, "", "34 []"},
	} {
		t.Run(row.name, func(t *testing.T) {
			env := w.Device(sys[row.runs])
			for _, d := range sys {
				w.Fill(env.Store, d)
			}
			if row.root != "" {
				if err := env.Store.SetRoot("pin", sys[row.root]); err != nil {
					t.Fatal(err)
				}
			}
			s := &slots{list: row.slots}
			g, err := update.PlanGC(env, row.rec, s)
			if err != nil {
				t.Fatal(err)
			}
			all, _ := env.Store.Systems()
			if len(all) != 5 {
				t.Fatalf("a plan has left %d systems", len(all))
			}
			if err := g.Execute(t.Context()); err != nil || !g.Plan.Done {
				t.Fatal(err)
			}
			var kept []string
			left, err := env.Store.Systems()
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range left {
				kept = append(kept, name[d.String()])
			}
			slices.Sort(kept)
			cleared := []int{}
			for _, c := range g.Plan.Slots {
				if c.Clear {
					cleared = append(cleared, c.Slot)
				}
			}
			text := ""
			for _, k := range kept {
				text += k
			}
			if got := fmt.Sprint(text, " ", cleared); got != row.want {
				t.Errorf("stay and cleared: %s, want %s", got, row.want)
			}
			for _, d := range left { // each is whole
				m, err := env.Store.System(d)
				if err == nil {
					_, err = env.Store.PutDeviceSystem(t.Context(), m, append(updatetest.Parts(m), m.Kernel.Init))
				}
				if err != nil {
					t.Error(err)
				}
			}
			again, err := update.PlanGC(env, row.rec, s)
			if err != nil || again.Plan.Free != 0 || len(again.Plan.Delete) > 0 || again.Plan.Rest != g.Plan.Rest {
				t.Errorf("again: %+v, %v", again, err)
			}
		})
	}
}

// Nothing is collected when it is not known what is needed.
func TestCollectUnknown(t *testing.T) {
	w := updatetest.New(t)
	env := w.Device(w.Old)
	if _, err := update.PlanGC(env, record.Record{}, &slots{broken: errors.New("two slots in force")}); err == nil {
		t.Error("slots that cannot be read")
	}
	env.Running = w.New
	if _, err := update.PlanGC(env, record.Record{}, nil); err == nil {
		t.Error("what runs is not in the store")
	}
}
