package supervise

import (
	"context"
	"fmt"
	"slices"
)

// A bond is how a unit stands to those it needs and those that need it. Its
// fields are under s.mu.
type bond struct {
	lives   bool           // it is between the begin and the end of a life
	life    int            // number of that life
	leaving bool           // it is about to be stopped; who needs it goes first
	needed  map[string]int // the lives of those it needs, at its own begin
}

// begin notes the begin of a life.
func (u *unit) begin() {
	u.s.update(func() {
		u.lives, u.leaving, u.life = true, false, u.life+1
		u.needed = map[string]int{}
		for _, name := range u.c.Needs {
			if d := u.s.now.unit(name); d != nil {
				u.needed[name] = d.life
			}
		}
	})
}

func (u *unit) finish() { u.s.update(func() { u.lives = false }) }

// bereft says under s.mu which of those that the unit needs has stopped, ended
// or begun another life since the unit's begin; "" for none. One that is merely
// unhealthy is none.
func (u *unit) bereft() string {
	for _, name := range u.c.Needs {
		d := u.s.now.unit(name)
		if d != nil && (d.life != u.needed[name] || d.leaving || !d.lives && !d.satisfied()) {
			return name
		}
	}
	return ""
}

// watchNeeds returns what bereft says, and a channel that is closed when it may
// say something else; nil for a unit that needs nobody.
func (u *unit) watchNeeds() (lost string, changed <-chan struct{}) {
	if len(u.c.Needs) == 0 {
		return "", nil
	}
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	return u.bereft(), u.s.changed
}

// parted reports whether the unit's life has ended for want of another, to begin
// again with it.
func (u *unit) parted() bool {
	lost, _ := u.watchNeeds()
	if lost == "" {
		return false
	}
	u.s.log.Printf("%s: stopped without %s, which it needs", u.c.Name, lost)
	return true
}

// letGo waits until those that need the unit have stopped. It gives up with the
// supervisor.
func (u *unit) letGo() {
	u.s.update(func() { u.leaving = true })
	u.s.until(u.s.ctx, func() bool {
		return !slices.ContainsFunc(u.s.now.units, func(o *unit) bool {
			return o != u && o.lives && slices.Contains(o.c.Needs, u.c.Name)
		})
	})
}

// startNeeds starts what a container needs.
func (s *Supervisor) startNeeds(ctx context.Context, u *unit) error {
	for _, name := range u.c.Needs {
		if err := s.Start(ctx, name); err != nil {
			return fmt.Errorf("%s needs %s: %w", u.c.Name, name, err)
		}
	}
	return nil
}
