package supervise

import (
	"fmt"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/system"
)

// An arrangement is the units of one configuration, in start order, and who
// comes after whom. It is never changed: a switch replaces it as a whole, and
// units that are kept stand in both.
type arrangement struct {
	configuration *system.Configuration
	runtime       Runtime
	units         []*unit
	after, before map[*unit][]*unit
}

// arrange checks a configuration and makes its arrangement with a unit for
// each container.
func arrange(c *system.Configuration, rt Runtime, unitOf func(*system.Container) *unit) (*arrangement, error) {
	a := &arrangement{configuration: c, runtime: rt, after: map[*unit][]*unit{}, before: map[*unit][]*unit{}}
	for i := range c.Containers {
		ct := &c.Containers[i]
		if a.unit(ct.Name) != nil {
			return nil, fmt.Errorf("configuration %s has two containers %s", c.Name, ct.Name)
		}
		a.units = append(a.units, unitOf(ct))
	}
	for _, u := range a.units {
		for _, name := range u.c.After {
			dep := a.unit(name)
			if dep == nil {
				return nil, fmt.Errorf("container %s comes after %s, which configuration %s does not have", u.c.Name, name, c.Name)
			}
			a.after[u] = append(a.after[u], dep)
			a.before[dep] = append(a.before[dep], u)
		}
	}
	if loop := a.loop(); loop != nil {
		return nil, fmt.Errorf("containers of configuration %s wait for each other: %s", c.Name, strings.Join(loop, ", "))
	}
	return a, nil
}

func (a *arrangement) unit(name string) *unit {
	for _, u := range a.units {
		if u.c.Name == name {
			return u
		}
	}
	return nil
}

// loop returns the containers that can never start because each waits for
// another of them, or nil.
func (a *arrangement) loop() []string {
	left := slices.Clone(a.units)
	for {
		n := len(left)
		left = slices.DeleteFunc(left, func(u *unit) bool {
			return !slices.ContainsFunc(a.after[u], func(d *unit) bool { return slices.Contains(left, d) })
		})
		if len(left) == 0 {
			return nil
		}
		if len(left) == n {
			var names []string
			for _, u := range left {
				names = append(names, u.c.Name)
			}
			return names
		}
	}
}

// lacking returns the units of a that are not in b.
func (a *arrangement) lacking(b *arrangement) []*unit {
	return slices.DeleteFunc(slices.Clone(a.units), func(u *unit) bool { return slices.Contains(b.units, u) })
}
