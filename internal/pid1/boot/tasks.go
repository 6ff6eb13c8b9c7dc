package boot

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/instar-os/instar/internal/pid1/tasks"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/wire"
)

// keepTasks readies what makes threads real-time. A processor or an interrupt
// that is not where it was declared makes every proof void: the configuration
// does not start, unless it is the fallback, which works with what there is.
func (m *machine) keepTasks() error {
	m.tasks, m.monitor, m.unmeasured = nil, nil, "no container has tasks"
	if !slices.ContainsFunc(m.manifest.Configurations, func(c system.Configuration) bool { return c.RealTime != nil }) {
		return nil
	}
	m.tasks = &tasks.Keeper{Log: m.log.Printf, Failed: func(container, why string) { m.supervisor.Blame(container, why) }}
	if m.contained { // another Linux's processors, connector and numbers of threads
		m.unmeasured = "this machine runs as containers on another Linux"
		return nil
	}
	if err := m.tasks.Listen(); err != nil {
		m.log.Printf("warning: threads that name themselves late are not found: %v", err)
	}
	m.later("stop looking for threads", m.tasks.Close)
	m.measure()
	err := tasks.Place(cgroupRoot, cgroupDir, m.configuration.RealTime)
	if err != nil && m.configuration.Fallback {
		m.log.Printf("warning: %v", err)
		return nil
	}
	return err
}

// measure looks at the scheduler; what a kernel cannot tell is not measured.
func (m *machine) measure() {
	mon := &tasks.Monitor{Log: m.log.Printf, Bound: m.bound, React: m.react}
	if err := mon.Open(); err != nil {
		m.unmeasured = err.Error()
		m.log.Printf("warning: tasks are not measured: %v", err)
		return
	}
	m.monitor, m.unmeasured, m.tasks.Watcher = mon, "", mon
	m.later("stop measuring tasks", mon.Close)
}

// unproven is said while the machine goes from one configuration to another:
// what runs meanwhile is neither, and no bound holds. The function that it
// returns says that it has come to one.
func (m *machine) unproven() func() {
	if m.monitor == nil {
		return func() {}
	}
	say := func(between bool) {
		m.between.Store(between)
		m.monitor.Rebind()
	}
	say(true)
	return func() { say(false) }
}

// bound returns what was proven of a task in the configuration that runs.
func (m *machine) bound(task string) (system.Bound, bool) {
	rt := m.supervisor.Configuration().RealTime
	if rt == nil || m.between.Load() {
		return system.Bound{}, false
	}
	for _, b := range rt.Bounds {
		if b.Task == task {
			return b, true
		}
	}
	return system.Bound{}, false
}

// react does what was declared for a violation. It does not wait for it.
func (m *machine) react(container string, v system.Violation, why string) {
	switch v.Do {
	case "fail":
		m.supervisor.Blame(container, why)
	case "restart":
		m.log.Printf("%s: restarting it, as its task declares", container)
		go func() {
			if err := m.supervisor.Restart(context.Background(), container); err != nil {
				m.log.Printf("%s: restarting it for a violation: %v", container, err)
			}
		}()
	case "switch":
		m.log.Printf("%s: switching to %s, as its task declares", container, v.To)
		go func() {
			if _, err := m.Switch(context.Background(), wire.SwitchRequest{Configuration: v.To, Mode: wire.SwitchLive}); err != nil {
				m.log.Printf("%s: switching for a violation: %v", container, err)
			}
		}()
	}
}

// maxCost bounds how long the cost of measuring is measured.
const maxCost = 10 * time.Second

// RT implements wire.Timekeeper.
func (m *machine) RT(r wire.RTRequest) (wire.RTReply, error) {
	c := m.supervisor.Configuration()
	out := wire.RTReply{Time: time.Now().UTC(), Configuration: c.Name, Tasks: []wire.RTTask{}, Unmeasured: m.unmeasured}
	if r.Cost < 0 || r.Cost > maxCost {
		return out, fmt.Errorf("measuring for %s; at most %s", r.Cost, maxCost)
	}
	measured := map[string]wire.RTTask{}
	if m.monitor != nil {
		measured = m.monitor.Tasks()
	}
	for i := range c.Containers {
		for j := range c.Containers[i].Tasks {
			t := &c.Containers[i].Tasks[j]
			name := c.Containers[i].Name + "." + t.Name
			one := measured[name]
			one.Task, one.Policy, one.CPU, one.Priority = name, t.Policy, t.CPU, t.Priority
			one.Period, one.Deadline, one.WCET = time.Duration(t.Period), time.Duration(t.Deadline), time.Duration(t.WCET)
			if b, ok := m.bound(name); ok {
				one.Bound, one.Exact = time.Duration(b.Bound), b.Exact
			}
			out.Tasks = append(out.Tasks, one)
		}
	}
	if c.RealTime != nil {
		out.Conditions = c.RealTime.Conditions
		out.Interrupts = tasks.Interrupts("/", c.RealTime)
		out.Chains = m.chains(c.RealTime.Chains)
	}
	if r.Cost == 0 || m.monitor == nil {
		return out, nil
	}
	var err error
	out.CostPerRun, out.CostRuns, err = m.monitor.Cost(r.Cost)
	out.CostPercent = float64(out.CostPerRun) * float64(out.CostRuns) * 100 / float64(r.Cost)
	return out, err
}

// chains returns the chains with the ages of what is in their links.
func (m *machine) chains(declared []system.Chain) []wire.RTChain {
	var out []wire.RTChain
	status := map[string]wire.LinkStatus{}
	for _, l := range m.links.List().Links {
		status[l.Name] = l
	}
	for _, c := range declared {
		one := wire.RTChain{Name: c.Name, Path: c.Path, Links: c.Links, Reaction: time.Duration(c.Reaction), Age: time.Duration(c.Age), Bound: time.Duration(c.Bound)}
		for _, l := range c.Links {
			age := time.Duration(-1)
			if s := status[l]; s.Written > 0 && s.Depth == 0 {
				age = s.Age
			}
			one.Ages = append(one.Ages, age)
		}
		m.look(&one, c, status)
		out = append(out, one)
	}
	return out
}

// oldest is what was seen of the data at the end of a chain.
type oldest struct {
	configuration string
	looks         int
	age           time.Duration
}

// look adds the age of the data in a chain's last link: nobody is woken for it, so
// that its largest is that of the moments at which somebody asked.
func (m *machine) look(one *wire.RTChain, c system.Chain, status map[string]wire.LinkStatus) {
	one.Data = -1
	if len(c.Links) == 0 {
		return
	}
	s := status[c.Links[len(c.Links)-1]]
	if s.Written == 0 || s.Depth > 0 {
		return
	}
	one.Data = s.DataAge
	m.looked.Lock()
	defer m.looked.Unlock()
	if m.oldest == nil {
		m.oldest = map[string]oldest{}
	}
	o, name := m.oldest[c.Name], m.supervisor.Configuration().Name
	if o.configuration != name {
		o = oldest{configuration: name}
	}
	o.looks, o.age = o.looks+1, max(o.age, s.DataAge)
	m.oldest[c.Name] = o
	one.MaxData, one.Looks = o.age, o.looks
}

// placedAlike says whether two configurations have their tasks on the same
// partitions and interrupts.
func placedAlike(a, b *system.RealTime) bool {
	place := func(rt *system.RealTime) system.RealTime {
		if rt == nil {
			return system.RealTime{}
		}
		return system.RealTime{Partitions: rt.Partitions, IRQs: rt.IRQs, House: rt.House}
	}
	return reflect.DeepEqual(place(a), place(b))
}
