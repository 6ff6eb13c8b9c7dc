// Package plan brings a definition to the analysis and the verdict to the
// device: of each configuration the set of tasks, its proof, and what scheduler,
// processors, interrupts and kernel are set to so that it is true. It computes
// with values only.
package plan

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/realtime"
	"github.com/instar-os/instar/internal/realtime/chain"
	"github.com/instar-os/instar/internal/realtime/check"
	"github.com/instar-os/instar/internal/realtime/taskset"
	"github.com/instar-os/instar/internal/system"
)

// Options are what the definition does not say itself.
type Options struct {
	Release string // of the kernel; "": not known
	// Read returns the content of a file beside the definition.
	Read func(name string) ([]byte, error)
}

// Configuration is the plan of one configuration that has tasks.
type Configuration struct {
	Name       string           `json:"configuration"`
	Set        *realtime.Set    `json:"set"`
	Report     *realtime.Report `json:"report"`
	Chains     []system.Chain   `json:"chains,omitempty"`
	Conditions []string         `json:"conditions,omitempty"` // without which nothing is proven
	Assumed    []string         `json:"assumed,omitempty"`    // beside the report's

	RealTime   *system.RealTime         `json:"-"` // without the proof's object
	Tasks      map[string][]system.Task `json:"-"` // of each container
	Partitions map[string]string        `json:"-"` // of each container
	Command    []string                 `json:"-"` // kernel arguments
}

// Proof is what the device keeps of the verdict: everything that a checker needs.
func (c *Configuration) Proof() ([]byte, error) {
	b, err := json.MarshalIndent(c, "", " ")
	return append(b, '\n'), err
}

// Refused says why a configuration cannot hold.
type Refused struct {
	At            string // file:line
	Configuration string
	What          string // task or chain
	Why           string
}

func (r *Refused) Error() string {
	return fmt.Sprintf("%s: configuration %s: %s: %s", r.At, r.Configuration, r.What, r.Why)
}

// planner is the work at one definition.
type planner struct {
	def       *config.Definition
	o         Options
	overheads realtime.Overheads
	latency   realtime.Time
	file      *taskset.Overheads
	priority  map[string]int // of tasks that leave it to us
}

// Make returns the plans of all configurations that have tasks. What cannot hold
// is in the error, all of it, each a *Refused; the plans are there all the same.
func Make(def *config.Definition, o Options) ([]*Configuration, error) {
	p := &planner{def: inherited(def), o: o}
	def = p.def
	if err := p.measured(); err != nil {
		return nil, err
	}
	if err := p.assign(); err != nil {
		return nil, err
	}
	var out []*Configuration
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(def.Configurations)) {
		cfg := def.Configurations[name]
		if !slices.ContainsFunc(cfg.Containers, func(c string) bool { return len(def.Containers[c].Tasks) > 0 }) {
			continue
		}
		c, err := p.configuration(name, cfg)
		if c == nil {
			return nil, err
		}
		out = append(out, c)
		errs = append(errs, err)
	}
	return out, errors.Join(errs...)
}

// measured takes the overheads: of the file's and the definition's values the
// longer ones.
func (p *planner) measured() error {
	w := p.def.RealTime.Overheads
	p.overheads = realtime.Overheads{Switch: int64(w.Switch), Release: int64(w.Release), Measured: w.Measured != ""}
	p.latency = int64(w.Latency)
	if w.File == "" {
		return nil
	}
	data, err := p.o.Read(w.File)
	if err != nil {
		return fmt.Errorf("realtime.overheads.file: %w; instar rt calibrate writes one", err)
	}
	if p.file, err = taskset.ParseOverheads(w.File, data); err != nil {
		return fmt.Errorf("realtime.overheads.file: %w", err)
	}
	o := &p.overheads
	o.Switch, o.Release, o.Measured = max(o.Switch, p.file.Switch), max(o.Release, p.file.Release), true
	p.latency = max(p.latency, p.file.Latency)
	return nil
}

// configuration analyses one configuration. It returns a plan with an error
// when the tasks do not hold, and none when they cannot be analysed.
func (p *planner) configuration(name string, cfg config.Configuration) (*Configuration, error) {
	c := &Configuration{Name: name, Tasks: map[string][]system.Task{}, Partitions: map[string]string{}}
	protocol := realtime.Protocol(p.def.RealTime.Protocol)
	c.Set = &realtime.Set{Protocol: protocol, Overheads: p.overheads}
	for _, ct := range cfg.Containers {
		for _, t := range p.def.Containers[ct].Tasks {
			c.Tasks[ct] = append(c.Tasks[ct], p.task(ct, t))
			if t.Policy != "other" {
				c.Set.Tasks = append(c.Set.Tasks, p.model(ct, t))
			}
		}
	}
	c.RealTime = &system.RealTime{Bounds: []system.Bound{}}
	if err := p.place(c, cfg); err != nil {
		return nil, err
	}
	p.interrupts(c)
	if len(c.Set.Tasks) == 0 {
		c.Report = &realtime.Report{Holds: true}
		return c, nil
	}
	if err := p.prove(c, cfg); err != nil {
		return nil, fmt.Errorf("configuration %s: %w", name, err)
	}
	if err := errors.Join(p.refusals(c), p.reserve(c), p.admission(c)); err != nil {
		return c, err // a chain rests upon its tasks
	}
	return c, p.chains(c, cfg)
}

// prove analyses the set and checks the certificate.
func (p *planner) prove(c *Configuration, cfg config.Configuration) (err error) {
	if after := p.after(cfg); len(after) > 0 {
		c.Set, c.Report, err = chain.Propagate(c.Set, after, p.latency)
	} else {
		c.Report, err = realtime.Analyse(c.Set)
	}
	if err != nil {
		return err
	}
	if err := check.Report(c.Set, c.Report); err != nil {
		return fmt.Errorf("the analysis is not to be trusted: its certificate does not hold: %w", err)
	}
	p.conditions(c)
	for i := range c.Report.Tasks {
		v := &c.Report.Tasks[i]
		if _, ok := p.find(v.Task); !ok {
			continue // an interrupt
		}
		b := system.Bound{Task: v.Task, Bound: v.Bound, Exact: v.Exact}
		if p.shifted(c, v) {
			b = system.Bound{Task: v.Task, Bound: v.Bound + c.task(v.Task).Jitter}
			if v.Holds {
				b.Bound = min(b.Bound, p.declaredDue(v.Task))
			}
		}
		c.RealTime.Bounds = append(c.RealTime.Bounds, b)
	}
	slices.SortFunc(c.RealTime.Bounds, func(a, b system.Bound) int { return strings.Compare(a.Task, b.Task) })
	return nil
}

// shifted says that a verdict is about a deadline task of a processor on which
// one of them has jitter. The kernel counts a deadline from when a job is ready,
// not from its event, so that the bound is one from when it is ready: the same
// sums with the same jitter say how many jobs are ready, and due, within a window.
func (p *planner) shifted(c *Configuration, v *realtime.Response) bool {
	own, jitter := false, false
	for i := range c.Set.Tasks {
		if t := &c.Set.Tasks[i]; t.CPU == v.CPU && t.Policy == realtime.Deadline {
			own = own || t.Name == v.Task
			jitter = jitter || t.Jitter > 0
		}
	}
	return own && jitter
}

// refusals names every task that can be late.
func (p *planner) refusals(c *Configuration) error {
	var errs []error
	for i := range c.Report.Tasks {
		v := &c.Report.Tasks[i]
		if v.Holds {
			continue
		}
		at, deadline, why := "realtime", v.Deadline, v.Why
		if t, ok := p.find(v.Task); ok {
			at, deadline = t.At, int64(due(t))
		}
		for _, d := range c.Report.Demands {
			if c.task(v.Task).Policy == realtime.Deadline && d.CPU == v.CPU && !d.Holds && d.Why != why {
				why += "; " + d.Why
			}
		}
		errs = append(errs, &Refused{at, c.Name, "task " + v.Task, fmt.Sprintf("it can miss its deadline of %s on CPU %d: %s", span(deadline), v.CPU, why)})
	}
	return errors.Join(errs...)
}

// Verdicts returns the verdicts over the declared tasks with the bounds that
// hold on the device, and the deadlines as they were declared.
func (c *Configuration) Verdicts() []realtime.Response {
	var out []realtime.Response
	for _, v := range c.Report.Tasks {
		for _, b := range c.RealTime.Bounds {
			if b.Task == v.Task {
				v.Bound, v.Exact = b.Bound, b.Exact
			}
		}
		ct, name, _ := strings.Cut(v.Task, ".")
		for _, t := range c.Tasks[ct] {
			if t.Name == name {
				v.Deadline = t.Deadline
			}
		}
		out = append(out, v)
	}
	return out
}

// find returns the declaration of a task, CONTAINER.TASK.
func (p *planner) find(name string) (config.Task, bool) {
	ct, task, _ := strings.Cut(name, ".")
	for _, t := range p.def.Containers[ct].Tasks {
		if t.Name == task {
			return t, true
		}
	}
	return config.Task{}, false
}

// conditions says without what nothing is proven.
func (p *planner) conditions(c *Configuration) {
	add := func(format string, args ...any) { c.Conditions = append(c.Conditions, fmt.Sprintf(format, args...)) }
	if !p.overheads.Measured {
		add("the kernel takes no more than %s a context switch, %s a release and %s until a thread is ready, which nobody measured", span(p.overheads.Switch), span(p.overheads.Release), span(p.latency))
	}
	if p.file != nil && p.o.Release != "" && p.file.Kernel != p.o.Release {
		add("kernel %s takes no more than %s, on which the overheads were measured", p.o.Release, p.file.Kernel)
	}
	if rt := p.preemptible(); !rt {
		add("the kernel's own sections without preemption are no longer than measured: it is not PREEMPT_RT, where that is bounded (Debian's linux-image-rt)")
	}
	for _, cpu := range c.Set.CPUs() {
		if !slices.Contains(p.def.RealTime.Isolated, cpu) {
			add("the interrupts that CPU %d serves take no more than the declared ones: it is not isolated", cpu)
		}
	}
	c.RealTime.Conditions = c.Conditions
	c.Assumed = append(c.Assumed, "a job ends when its thread sleeps; no thread of these priorities runs that is not declared")
	if slices.ContainsFunc(c.Set.Tasks, func(t realtime.Task) bool {
		d, ok := p.find(t.Name)
		return ok && d.Clock == "machine"
	}) {
		c.Assumed = append(c.Assumed, "programs of tasks with clock: machine sleep to their offset and multiples of their period of CLOCK_MONOTONIC")
	}
	if slices.ContainsFunc(c.Set.Tasks, func(t realtime.Task) bool {
		d, ok := p.find(t.Name)
		return ok && d.After != ""
	}) {
		c.Assumed = append(c.Assumed, "a job releases at most one job of the task after it")
	}
}

// preemptible says whether the kernel is PREEMPT_RT, by its name.
func (p *planner) preemptible() bool {
	if p.o.Release != "" {
		return strings.Contains(p.o.Release, "-rt-") || strings.HasSuffix(p.o.Release, "-rt")
	}
	for _, name := range p.def.Kernel.Package {
		if !strings.Contains(name, "-rt-") {
			return false
		}
	}
	return true
}
