package update

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/record"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/wire"
)

// Slots are the boot slots of a device, as far as garbage is concerned.
type Slots interface {
	// List says what each slot holds.
	List() ([]Slot, error)
	// Clear destroys what a slot holds that is not in force.
	Clear(n int) error
}

// Slot is a boot slot.
type Slot struct {
	InForce bool
	Systems []digest.Digest
}

// Garbage is what nothing needs: the plan prints, and is executed as it is.
type Garbage struct {
	Plan  wire.CollectPlan
	env   *Env
	slots Slots
	store *store.GCPlan
}

// PlanGC finds what of slots and store nothing needs. What runs stays, the last
// good system and the one before it, what is on trial, what the slot in force
// holds, and what the store's roots name. slots may be nil: there are none.
func PlanGC(env *Env, rec record.Record, slots Slots) (*Garbage, error) {
	g, err := planGC(env, rec, slots)
	if err != nil {
		return nil, fmt.Errorf("planning what to collect: %w", err)
	}
	return g, nil
}

func planGC(env *Env, rec record.Record, slots Slots) (*Garbage, error) {
	g := &Garbage{env: env, slots: slots}
	var list []Slot
	var err error
	if slots != nil {
		if list, err = slots.List(); err != nil {
			return nil, err
		}
	}
	k, err := needed(env, rec, list)
	if err != nil {
		return nil, err
	}
	if g.store, err = env.Store.PlanGC(k.systems); err != nil {
		return nil, err
	}
	d := &g.store.Delete
	g.Plan = wire.CollectPlan{
		Keep: k.wire(), Slots: []wire.CollectedSlot{}, Delete: []string{}, Images: len(d.Images), Objects: len(d.Objects),
		Free: g.store.Free.Bytes, Rest: g.store.Keep.Bytes, Partial: hasPartial(env.Store.Incoming()),
	}
	for _, o := range d.Systems {
		g.Plan.Delete = append(g.Plan.Delete, o.Digest.String())
	}
	for n, s := range list {
		g.Plan.Slots = append(g.Plan.Slots, k.slot(n, s))
	}
	return g, nil
}

func hasPartial(dir string) bool {
	list, err := os.ReadDir(dir)
	return err == nil && len(list) > 0
}

// keeping are the systems that stay, in the order in which they were found, and
// why.
type keeping struct {
	systems []digest.Digest
	why     map[digest.Digest][]string
}

func (k *keeping) add(d digest.Digest, why string) {
	if d.IsZero() {
		return
	}
	if k.why[d] == nil {
		k.systems = append(k.systems, d)
	}
	k.why[d] = append(k.why[d], why)
}

// needed collects what stays. A system that the store does not hold, as the one
// before the first update of an image, needs nothing of it.
func needed(env *Env, rec record.Record, list []Slot) (*keeping, error) {
	k := &keeping{why: map[digest.Digest][]string{}}
	k.add(env.Running, "runs")
	k.add(rec.Current, "last good")
	k.add(rec.Previous, "before")
	if rec.Trial != nil && rec.Trial.Phase != record.Failed {
		k.add(rec.Trial.System, "on trial")
	}
	for _, s := range list {
		for _, d := range s.Systems {
			if s.InForce {
				k.add(d, "in force")
			}
		}
	}
	roots, err := env.Store.Roots()
	if err != nil {
		return nil, err
	}
	for _, r := range roots {
		k.add(r.System, "root "+r.Name)
	}
	var there []digest.Digest
	for _, d := range k.systems {
		switch _, err := env.Store.System(d); {
		case err == nil:
			there = append(there, d)
		case !errors.Is(err, store.ErrMissing) || d == env.Running:
			return nil, err
		}
	}
	k.systems = there
	return k, nil
}

func (k *keeping) wire() []wire.KeptSystem {
	all := []wire.KeptSystem{}
	for _, d := range k.systems {
		all = append(all, wire.KeptSystem{System: d.String(), Why: k.why[d]})
	}
	return all
}

// slot says what becomes of a slot: one that holds a system which goes would
// boot what is not there.
func (k *keeping) slot(n int, s Slot) wire.CollectedSlot {
	out := wire.CollectedSlot{Slot: n, Systems: []string{}, InForce: s.InForce}
	for _, d := range s.Systems {
		out.Systems = append(out.Systems, d.String())
		out.Clear = out.Clear || !s.InForce && !slices.Contains(k.systems, d)
	}
	return out
}

// Execute does what the plan says. Slots come first, so that none ever holds a
// system whose content is gone. It may be cut, and planned and done again.
func (g *Garbage) Execute(ctx context.Context) error {
	if err := g.execute(ctx); err != nil {
		return fmt.Errorf("collecting: %w", err)
	}
	g.Plan.Done = true
	return nil
}

func (g *Garbage) execute(ctx context.Context) error {
	for _, s := range g.Plan.Slots {
		if s.Clear {
			if err := g.slots.Clear(s.Slot); err != nil {
				return err
			}
		}
	}
	if g.Plan.Partial {
		if err := Clean(g.env); err != nil {
			return err
		}
	}
	return g.env.Store.ExecuteGC(ctx, g.store)
}
