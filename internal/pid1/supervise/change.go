package supervise

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/wire"
)

// Changes says what a switch does to each container: those that go or are
// restarted in the order in which they are stopped, then those that stay or
// come in start order.
func (s *Supervisor) Changes(to *system.Configuration) []wire.Change {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now.changes(to)
}

// changes is Changes under s.mu.
func (a *arrangement) changes(to *system.Configuration) []wire.Change {
	var all []wire.Change
	for _, u := range slices.Backward(a.units) {
		if !slices.ContainsFunc(to.Containers, func(c system.Container) bool { return c.Name == u.c.Name }) {
			all = append(all, wire.Change{Container: u.c.Name, Act: wire.ActStopped, Why: to.Name + " does not have it"})
		}
	}
	kept := map[string]bool{}
	for i := range to.Containers {
		c := &to.Containers[i]
		u := a.unit(c.Name)
		if u == nil {
			all = append(all, wire.Change{Container: c.Name, Act: wire.ActStarted})
			continue
		}
		why := difference(a.configuration, to, u.c, c)
		if i := slices.IndexFunc(c.Needs, func(n string) bool { return !kept[n] }); i >= 0 && why == "" {
			why = "it needs " + c.Needs[i]
		}
		switch {
		case why == "" && u.lasts():
			kept[c.Name] = true
			all = append(all, wire.Change{Container: c.Name, Act: wire.ActKept})
		case !u.alive():
			all = append(all, wire.Change{Container: c.Name, Act: wire.ActStarted, Why: "it is " + string(u.status.State)})
		default:
			all = append(all, wire.Change{Container: c.Name, Act: wire.ActRestarted, Why: why})
		}
	}
	return all
}

// lasts says under s.mu that the unit goes on as it is when it is kept.
func (u *unit) lasts() bool { return u.alive() || u.status.State == wire.Done }

// difference says why a container cannot run on from one configuration into
// another, "" when it can. Where it stands in the definition does not count.
func difference(from, to *system.Configuration, a, b *system.Container) string {
	if !alike(a, b) {
		if names := Differing(a, b, "source"); len(names) > 0 {
			return "another " + strings.Join(names, ", ")
		}
	}
	if from.Name == to.Name {
		return ""
	}
	for _, d := range b.Data {
		if !d.Shared {
			return "its data " + d.Path + " belongs to " + from.Name
		}
	}
	return ""
}

// alike says that two containers are the same but for their place in the
// definition. It is the quick answer: values whose encodings are the same can be
// unlike.
func alike(a, b *system.Container) bool {
	x, y := *a, *b
	x.Source, y.Source = "", ""
	return reflect.DeepEqual(x, y)
}

// Differing returns the names of the fields in which the canonical encodings of
// two values of a manifest differ, leaving out some.
func Differing(a, b any, except ...string) []string {
	x, errX := fields(a)
	y, errY := fields(b)
	if errX != nil || errY != nil {
		return []string{"encoding"}
	}
	var names []string
	for _, m := range []map[string]json.RawMessage{x, y} {
		for name := range m {
			if !slices.Contains(except, name) && !bytes.Equal(x[name], y[name]) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func fields(v any) (m map[string]json.RawMessage, err error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return m, json.Unmarshal(text, &m)
}
