package receive

import (
	"context"
	"encoding/json"
	"io"

	"github.com/instar-os/instar/internal/slot"
	"github.com/instar-os/instar/internal/update"
)

// Collect deletes what neither slots nor store need, or in a dry run only finds
// it, and writes the wire.CollectPlan to out.
func Collect(ctx context.Context, o Options, out io.Writer) error {
	d, err := open(o)
	if err != nil {
		return err
	}
	defer d.Close()
	g, err := update.PlanGC(&update.Env{Store: d.store, Running: o.System}, d.book.Record(), bootSlots{d})
	if err != nil {
		return err
	}
	if !o.DryRun {
		if err := g.Execute(ctx); err != nil {
			return err
		}
	}
	return json.NewEncoder(out).Encode(g.Plan)
}

// bootSlots are the slots of a device for package update.
type bootSlots struct{ d *device }

// List implements update.Slots. What cannot be read holds nothing.
func (b bootSlots) List() ([]update.Slot, error) {
	now, err := b.d.method.Current()
	if err != nil {
		return nil, err
	}
	var all []update.Slot
	for n := range b.d.slots {
		s := update.Slot{InForce: n == now}
		if files, err := b.d.at.Files(n); err == nil {
			s.Systems = slot.Systems(files)
		}
		all = append(all, s)
	}
	return all, nil
}

// Clear implements update.Slots.
func (b bootSlots) Clear(n int) error { return slot.Clear(b.d.method, b.d.at, n) }
