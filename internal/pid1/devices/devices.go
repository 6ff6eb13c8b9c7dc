// Package devices gives containers the devices that they own: it finds them by
// stable attributes, follows them as they come and go, and keeps what is
// missing from being a surprise.
package devices

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"github.com/instar-os/instar/internal/linux"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/wire"
)

// Sink is a container that gets devices while it runs.
type Sink interface {
	AddDevice(d system.Device, block bool, major, minor uint32) error
	RemoveDevice(d system.Device, block bool, major, minor uint32) error
}

// Watcher knows which device is whose. Its methods can be used from many
// goroutines. Use says what is wanted, Run follows the machine. A nil Watcher
// gives nothing to anybody.
type Watcher struct {
	Sysfs fs.FS
	Log   func(format string, args ...any)

	mu      sync.Mutex
	claims  []*claim
	changed chan struct{} // closed, and replaced, when a device came or went
}

// claim is a device of a container, as declared, and what has been found for it.
type claim struct {
	container string
	d         system.Device
	node      *Node
	conflict  string // why what matches is not given
	sink      Sink   // nil while the container does not run
	leaving   bool   // of a configuration that the machine is coming from
}

// Use makes the devices of a configuration's containers those that are looked
// for. What containers of another configuration hold they keep until they are
// gone.
func (w *Watcher) Use(c *system.Configuration) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	old := w.claims
	w.claims = nil
	for _, ct := range c.Containers {
		for _, d := range ct.Devices {
			i := slices.IndexFunc(old, func(o *claim) bool { return o.container == ct.Name && same(o.d, d) })
			if i >= 0 {
				old[i].leaving = false
				w.claims = append(w.claims, old[i])
				old = slices.Delete(old, i, i+1)
				continue
			}
			w.claims = append(w.claims, &claim{container: ct.Name, d: d})
		}
	}
	for _, o := range old {
		if o.sink != nil {
			o.leaving = true
			w.claims = append(w.claims, o)
		}
	}
	w.look()
}

// claim sees to it that a container's devices are looked for: a switch that
// returns starts containers of the configuration that it came from. It holds w.mu.
func (w *Watcher) claim(ct *system.Container) {
	missing := false
	for _, d := range ct.Devices {
		i := slices.IndexFunc(w.claims, func(o *claim) bool { return o.container == ct.Name && same(o.d, d) })
		if i < 0 {
			w.claims, missing = append(w.claims, &claim{container: ct.Name, d: d}), true
		} else if w.claims[i].leaving && w.claims[i].sink == nil {
			w.claims[i].leaving, missing = false, true
		}
	}
	if missing {
		w.look()
	}
}

func same(a, b system.Device) bool {
	return fmt.Sprintf("%+v", a) == fmt.Sprintf("%+v", b)
}

// Run follows the kernel's events until ctx ends.
func (w *Watcher) Run(ctx context.Context) error {
	events, err := linux.OpenUevents()
	if err != nil {
		return err
	}
	w.refresh()
	return events.Watch(ctx, func(e linux.Uevent) {
		// Attributes and drivers can be there later than the node.
		switch e.Action {
		case "", "add", "remove", "bind", "unbind", "move":
			w.refresh()
		}
	})
}

func (w *Watcher) refresh() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.look()
}

// look finds a device for each claim and tells the containers that run. It
// holds w.mu.
func (w *Watcher) look() {
	if len(w.claims) == 0 {
		return
	}
	nodes, err := scan(w.Sysfs)
	if err != nil {
		w.Log("%v", err)
		return
	}
	found := assign(w.Sysfs, nodes, w.claims)
	any := false
	for i, c := range w.claims {
		if c.node != nil && found[i] != nil && *c.node == *found[i] {
			continue
		}
		any = any || c.node != nil || found[i] != nil
		if c.node != nil {
			w.Log("device %s of %s is gone", c.d.Name, c.container)
			w.tell(c, "taking", c.remove)
		}
		if c.node = found[i]; c.node != nil {
			w.Log("device %s of %s is %s", c.d.Name, c.container, c.node.Name)
			w.tell(c, "giving", c.add)
		}
	}
	if any && w.changed != nil {
		close(w.changed)
		w.changed = nil
	}
}

func (w *Watcher) tell(c *claim, verb string, do func() error) {
	if c.sink == nil {
		return
	}
	if err := do(); err != nil {
		w.Log("%s device %s to %s: %v", verb, c.d.Name, c.container, err)
	}
}

func (c *claim) add() error {
	return c.sink.AddDevice(c.d, c.node.Block, c.node.Major, c.node.Minor)
}

func (c *claim) remove() error {
	return c.sink.RemoveDevice(c.d, c.node.Block, c.node.Major, c.node.Minor)
}

// assign returns the node of each claim. A claim keeps its device while that
// matches; else it gets the first by path that nobody has. A device that
// containers of one configuration claim together is given to none of them.
func assign(sysfs fs.FS, nodes []Node, claims []*claim) []*Node {
	out := make([]*Node, len(claims))
	candidates := make([][]int, len(claims))
	claimers := make([][]string, len(nodes))
	for i, c := range claims {
		c.conflict = ""
		for j, n := range nodes {
			if !matches(sysfs, n, c.d.Match) {
				continue
			}
			candidates[i] = append(candidates[i], j)
			if !c.leaving && !slices.Contains(claimers[j], c.container) {
				claimers[j] = append(claimers[j], c.container)
			}
		}
	}
	taken := make([]bool, len(nodes))
	take := func(i int, fits func(j int) bool) {
		for _, j := range candidates[i] {
			if out[i] != nil || taken[j] || !fits(j) {
				continue
			}
			if len(claimers[j]) > 1 && !claims[i].leaving {
				claims[i].conflict = fmt.Sprintf("%s is claimed by %s", nodes[j].Name, strings.Join(claimers[j], " and "))
				continue
			}
			taken[j], out[i] = true, &nodes[j]
		}
	}
	for i, c := range claims {
		take(i, func(j int) bool { return c.node != nil && nodes[j] == *c.node })
	}
	for i := range claims {
		take(i, func(int) bool { return true })
	}
	return out
}

// Lacks returns the required devices of a container that are not there, and a
// channel that is closed when that may have changed.
func (w *Watcher) Lacks(ct *system.Container) (what []string, changed <-chan struct{}) {
	if len(ct.Devices) == 0 {
		return nil, nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.claim(ct)
	for _, c := range w.claims {
		if c.container != ct.Name || c.leaving || c.node != nil || !c.d.Required {
			continue
		}
		text := "device " + c.d.Name + " (" + describe(c.d.Match) + ")"
		if c.conflict != "" {
			text += ", " + c.conflict
		}
		what = append(what, text)
	}
	if w.changed == nil {
		w.changed = make(chan struct{})
	}
	return what, w.changed
}

// Attach gives a container that is about to run the devices that are there,
// and others as they come. detach takes the container out of the way; its
// devices go with it.
func (w *Watcher) Attach(ct *system.Container, s Sink) (detach func(), err error) {
	if len(ct.Devices) == 0 {
		return func() {}, nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.claim(ct)
	var mine []*claim
	for _, c := range w.claims {
		if c.container == ct.Name && !c.leaving {
			c.sink = s
			mine = append(mine, c)
		}
	}
	detach = sync.OnceFunc(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, c := range mine {
			c.sink = nil
		}
		w.claims = slices.DeleteFunc(w.claims, func(c *claim) bool { return c.leaving && c.sink == nil })
		w.look()
	})
	for _, c := range mine {
		if c.node == nil {
			continue
		}
		if err := c.add(); err != nil {
			for _, c := range mine {
				c.sink = nil
			}
			return nil, fmt.Errorf("giving it device %s: %w", c.d.Name, err)
		}
	}
	return detach, nil
}

// Status returns the devices with their owners, in order of declaration.
func (w *Watcher) Status() []wire.DeviceStatus {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []wire.DeviceStatus
	for _, c := range w.claims {
		s := wire.DeviceStatus{Name: c.d.Name, Container: c.container, Path: c.d.To, Required: c.d.Required,
			State: wire.DeviceMissing, Detail: describe(c.d.Match)}
		switch {
		case c.conflict != "" && c.node == nil:
			s.State, s.Detail = wire.DeviceConflict, c.conflict
		case c.node != nil:
			s.State, s.Kind = wire.DevicePresent, c.node.Kind()
			s.Detail = fmt.Sprintf("%s %d:%d", c.node.Name, c.node.Major, c.node.Minor)
		}
		out = append(out, s)
	}
	return out
}

// describe says what a match looks for.
func describe(m system.DeviceMatch) string {
	var parts []string
	for _, p := range [][2]string{{"subsystem", m.Subsystem}, {"driver", m.Driver}, {"vendor", m.Vendor}, {"product", m.Product},
		{"serial", m.Serial}, {"path", m.Path}, {"name", m.Name}} {
		if p[1] != "" {
			parts = append(parts, p[0]+" "+p[1])
		}
	}
	var keys []string
	for k := range m.Attributes {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		parts = append(parts, k+" "+m.Attributes[k])
	}
	return strings.Join(parts, ", ")
}
