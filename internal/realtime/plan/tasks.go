package plan

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/realtime"
	"github.com/instar-os/instar/internal/system"
)

// firstAuto is the highest priority that auto gives: below the kernel's threads
// for interrupts, which have 50.
const firstAuto = 49

// assign gives priorities to tasks that leave it to us, over the whole machine,
// so that a container is the same in all configurations: the shorter the time
// from being ready to the deadline, the more urgent (deadline monotonic: Leung,
// Whitehead 1982).
func (p *planner) assign() error {
	type one struct {
		name  string
		level time.Duration
	}
	var all []one
	for ct, c := range p.def.Containers {
		for _, t := range c.Tasks {
			if (t.Policy == "fifo" || t.Policy == "rr") && (t.Priority == "auto" || t.Priority == "") {
				all = append(all, one{ct + "." + t.Name, due(t) - t.Jitter})
			}
		}
	}
	slices.SortFunc(all, func(a, b one) int { return cmp.Or(cmp.Compare(a.level, b.level), cmp.Compare(a.name, b.name)) })
	if len(all) > firstAuto {
		return fmt.Errorf("%d tasks have priority auto, for which there are %d: give some of them a priority", len(all), firstAuto)
	}
	p.priority = map[string]int{}
	for i, t := range all {
		p.priority[t.name] = firstAuto - i
	}
	return nil
}

// inherited returns the definition in which tasks that others release have the
// period, or distance, of the first of their row.
func inherited(def *config.Definition) *config.Definition {
	out := *def
	out.Containers = maps.Clone(def.Containers)
	for name, ct := range out.Containers {
		ct.Tasks = slices.Clone(ct.Tasks)
		for i := range ct.Tasks {
			t := &ct.Tasks[i]
			for at, steps := t.After, 0; at != "" && steps < realtime.MaxTasks; steps++ {
				from, task, _ := strings.Cut(at, ".")
				at = ""
				for _, o := range def.Containers[from].Tasks {
					if o.Name == task {
						t.Period, t.Distance, at = o.Period, o.Distance, o.After
					}
				}
			}
		}
		out.Containers[name] = ct
	}
	return &out
}

// after names for the tasks of a configuration which one releases them.
func (p *planner) after(cfg config.Configuration) map[string]string {
	out := map[string]string{}
	for _, ct := range cfg.Containers {
		for _, t := range p.def.Containers[ct].Tasks {
			if t.After != "" {
				out[ct+"."+t.Name] = t.After
			}
		}
	}
	return out
}

func due(t config.Task) time.Duration {
	if t.Deadline == 0 {
		return t.Event()
	}
	return t.Deadline
}

func (p *planner) declaredDue(name string) realtime.Time {
	t, _ := p.find(name)
	return int64(due(t))
}

// jitter is how much later than its event a job may be ready: what is declared,
// and what the kernel needs to notice.
func (p *planner) jitter(t config.Task) realtime.Time { return int64(t.Jitter) + p.latency }

// relative returns what the kernel gets as a deadline. It counts from when a job
// is ready, which may be late by the jitter.
func (p *planner) relative(t config.Task) realtime.Time { return int64(due(t)) - p.jitter(t) }

func (p *planner) prio(container string, t config.Task) int {
	if n, ok := p.priority[container+"."+t.Name]; ok {
		return n
	}
	n, err := strconv.Atoi(t.Priority)
	if err != nil {
		return 0 // deadline and other have none
	}
	return n
}

// model returns a task as the analysis sees it. The kernel schedules deadline
// tasks by the instant at which they become ready, so that a job that is ready
// late has a late deadline: with the jitter taken from the deadline every job is
// in time all the same, and the demand is counted as the kernel's.
func (p *planner) model(container string, t config.Task) realtime.Task {
	m := realtime.Task{
		Name: container + "." + t.Name, CPU: t.CPU, Policy: realtime.Policy(t.Policy),
		WCET: int64(t.WCET), Period: int64(t.Event()), Deadline: int64(due(t)), Jitter: p.jitter(t),
		BCET: int64(t.BCET), NonPreemptive: int64(t.NonPreemptive), Suspension: int64(t.Suspension), Suspensions: t.Suspensions,
	}
	if t.Policy == "deadline" {
		m.Deadline = p.relative(t)
	} else {
		m.Priority = p.prio(container, t)
	}
	if t.Clock == "machine" {
		m.Clock, m.Offset = t.Clock, int64(t.Offset)
	}
	if m.Suspension > 0 {
		m.Suspensions = max(1, m.Suspensions)
	}
	for _, s := range t.Sections {
		m.Sections = append(m.Sections, realtime.Section{Resource: s.Resource, Length: int64(s.Length)})
	}
	return m
}

// cost is what a job takes of its processor in the analysis.
func (p *planner) cost(t config.Task) realtime.Time {
	return int64(t.WCET) + 2*p.overheads.Switch + p.overheads.Release
}

// task returns a task as the device gets it.
func (p *planner) task(container string, t config.Task) system.Task {
	out := system.Task{
		Name: t.Name, Thread: t.Thread, Policy: t.Policy, CPU: t.CPU, Period: int64(t.Event()), Sporadic: t.Distance > 0 || t.After != "",
		Deadline: int64(due(t)), Jitter: p.jitter(t), Priority: p.prio(container, t),
	}
	if t.WCET > 0 {
		out.WCET = p.cost(t)
	}
	if t.Policy == "deadline" {
		out.Runtime, out.Relative = p.cost(t), p.relative(t)
	}
	if v := t.Violation; v.Do != "log" && v.Do != "" {
		out.Violation = &system.Violation{Do: v.Do, To: v.To, After: max(1, v.After)}
	}
	return out
}

// span writes nanoseconds for people.
func span(t realtime.Time) string { return time.Duration(t).String() }
