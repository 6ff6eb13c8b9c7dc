package plan

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/realtime"
	"github.com/instar-os/instar/internal/system"
)

// place decides on partitions and kernel arguments. Containers whose tasks share
// an isolated processor share a partition; a deadline task's has one processor.
func (p *planner) place(c *Configuration, cfg config.Configuration) error {
	rt := p.def.RealTime
	var parts []system.Partition
	for _, ct := range cfg.Containers {
		var cpus []int
		for _, t := range p.def.Containers[ct].Tasks {
			if slices.Contains(rt.Isolated, t.CPU) {
				cpus = append(cpus, t.CPU)
			}
		}
		if len(cpus) == 0 {
			continue
		}
		parts = slices.DeleteFunc(parts, func(o system.Partition) bool {
			shared := slices.ContainsFunc(o.CPUs, func(cpu int) bool { return slices.Contains(cpus, cpu) })
			if shared {
				cpus = append(cpus, o.CPUs...)
			}
			return shared
		})
		slices.Sort(cpus)
		parts = append(parts, system.Partition{CPUs: slices.Compact(cpus)})
	}
	for i := range parts {
		parts[i].Name = "rt-" + strconv.Itoa(parts[i].CPUs[0])
	}
	slices.SortFunc(parts, func(a, b system.Partition) int { return a.CPUs[0] - b.CPUs[0] })
	c.RealTime.Partitions = parts
	if err := p.inhabit(c, cfg); err != nil {
		return err
	}
	p.command(c, cfg)
	return nil
}

// inhabit names each container's partition.
func (p *planner) inhabit(c *Configuration, cfg config.Configuration) error {
	var errs []error
	for _, ct := range cfg.Containers {
		for _, t := range p.def.Containers[ct].Tasks {
			for _, part := range c.RealTime.Partitions {
				if !slices.Contains(part.CPUs, t.CPU) {
					continue
				}
				c.Partitions[ct] = part.Name
				if t.Policy == "deadline" && len(part.CPUs) > 1 {
					errs = append(errs, &Refused{t.At, c.Name, "task " + ct + "." + t.Name,
						fmt.Sprintf("the kernel takes a deadline task only when it may run on every processor of its partition, which is CPUs %s, for containers share them; use fifo, or keep other tasks of these containers off CPU %d's partition", ranges(part.CPUs), t.CPU)})
				}
			}
		}
	}
	return errors.Join(errs...)
}

// command returns the kernel arguments that keep the kernel's own work off the
// processors of tasks (Documentation/admin-guide/kernel-parameters.txt).
// Scheduling domains are made by partitions, which deadline tasks need and which
// can be without a boot; isolcpus does the rest, managed interrupts.
func (p *planner) command(c *Configuration, cfg config.Configuration) {
	var cpus []int
	for _, part := range c.RealTime.Partitions {
		cpus = append(cpus, part.CPUs...)
	}
	slices.Sort(cpus)
	if len(cpus) > 0 {
		house := []int{}
		for cpu := range p.def.RealTime.CPUs {
			if !slices.Contains(cpus, cpu) {
				house = append(house, cpu)
			}
		}
		list := ranges(cpus)
		c.RealTime.House = house
		c.Command = append(c.Command, "isolcpus=managed_irq,"+list, "nohz_full="+list, "rcu_nocbs="+list, "irqaffinity="+ranges(house))
	}
	c.Command = append(c.Command, hugePages(p.def, cfg)...)
}

// hugePages returns the argument that sets aside the huge pages of a
// configuration's containers.
func hugePages(def *config.Definition, cfg config.Configuration) []string {
	const page = 2 << 20
	var n int64
	for _, ct := range cfg.Containers {
		n += (int64(def.Containers[ct].HugePages) + page - 1) / page
	}
	if n == 0 {
		return nil
	}
	return []string{"hugepagesz=2M", "hugepages=" + strconv.FormatInt(n, 10)}
}

// ranges writes a sorted list of processors as the kernel reads it: 1-3,5.
func ranges(cpus []int) string {
	var parts []string
	for i := 0; i < len(cpus); {
		j := i
		for j+1 < len(cpus) && cpus[j+1] == cpus[j]+1 {
			j++
		}
		if i == j {
			parts = append(parts, strconv.Itoa(cpus[i]))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", cpus[i], cpus[j]))
		}
		i = j + 1
	}
	return strings.Join(parts, ",")
}

// interrupts places interrupts, and adds those that processors with tasks serve
// to the set, as the threads that they have in a PREEMPT_RT kernel.
func (p *planner) interrupts(c *Configuration) {
	used := c.Set.CPUs()
	for _, irq := range p.def.RealTime.IRQs {
		cpus := irq.CPUs
		if len(cpus) == 0 {
			for cpu := range max(1, p.def.RealTime.CPUs) {
				if !slices.Contains(p.def.RealTime.Isolated, cpu) {
					cpus = append(cpus, cpu)
				}
			}
		}
		c.RealTime.IRQs = append(c.RealTime.IRQs, system.IRQ{Name: irq.Name, CPUs: cpus, Priority: irq.Priority})
		for _, cpu := range cpus {
			if irq.WCET == 0 || !slices.Contains(used, cpu) {
				continue
			}
			priority := irq.Priority
			if priority == 0 {
				priority = 50 // kernel/irq/manage.c: sched_set_fifo
			}
			c.Set.Tasks = append(c.Set.Tasks, realtime.Task{
				Name: fmt.Sprintf("irq %s on CPU %d", irq.Name, cpu), CPU: cpu, Policy: realtime.FIFO, Priority: priority,
				WCET: int64(irq.WCET), Period: int64(irq.Distance), Deadline: int64(irq.Distance),
			})
		}
	}
}

// What the kernel keeps for other processes. From Linux 6.12 on a deadline
// server gives them 50 ms of each second, but only from when they have waited so
// long that the second would else end without (kernel/sched/deadline.c,
// fair_server, defer). Before, real-time tasks were stopped when they had 950 ms
// of a second (sched(7), sched_rt_runtime_us). Either never happens when tasks
// take at most 900 ms of any 950.
const (
	reserveWindow = 950_000_000
	reserveWork   = 900_000_000
)

// reserve proves that the kernel's reserve is never taken from the tasks.
func (p *planner) reserve(c *Configuration) error {
	var errs []error
	for _, cpu := range c.Set.CPUs() {
		var work realtime.Time
		first := ""
		for i := range c.Report.Tasks {
			v := &c.Report.Tasks[i]
			if v.CPU != cpu {
				continue
			}
			if !v.Holds {
				work = 0
				break // refused already
			}
			t := c.task(v.Task)
			first = cmpOr(first, t.Name)
			// Jobs that run within the window have their events in it, or at most a
			// response time before.
			most := (reserveWindow+max(v.Bound, v.Deadline)+t.Jitter-1)/t.Period + 1
			cost := t.WCET + 2*p.overheads.Switch + p.overheads.Release
			if most > realtime.MaxTime/max(1, cost) {
				most = realtime.MaxTime / max(1, cost)
			}
			work += most * cost
		}
		if work > reserveWork {
			at := "realtime"
			if t, ok := p.find(first); ok {
				at = t.At
			}
			errs = append(errs, &Refused{at, c.Name, fmt.Sprintf("CPU %d", cpu),
				fmt.Sprintf("its tasks can take %s of %s, and the kernel keeps 50ms of each second for other processes (the fair server from Linux 6.12 on, RT throttling before): a task would be stopped when it has no time for that; leave %s free", span(work), span(reserveWindow), span(reserveWindow-reserveWork))})
		}
	}
	if len(errs) == 0 && c.Report.Holds {
		c.Assumed = append(c.Assumed, "proven, not assumed: the kernel's reserve for other processes (fair server, RT throttling) is never taken from the tasks")
	}
	return errors.Join(errs...)
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func (c *Configuration) task(name string) *realtime.Task {
	for i := range c.Set.Tasks {
		if c.Set.Tasks[i].Name == name {
			return &c.Set.Tasks[i]
		}
	}
	return &realtime.Task{Period: 1}
}

// Bandwidths of the kernel's admission, in 2^-20 of a processor: rt_runtime by
// rt_period, and the fair server's 50 ms by 1 s.
const (
	bandwidth     = 950_000 * (1 << 20) / 1_000_000
	fairBandwidth = 50_000 * (1 << 20) / 1_000_000
)

// admission makes the kernel's own decision on deadline tasks, which it repeats
// when they are set: to_ratio and __dl_overflow of kernel/sched. From Linux 6.12
// on the fair server has a part of the bandwidth.
func (p *planner) admission(c *Configuration) error {
	var errs []error
	limit := int64(bandwidth)
	if !before612(p.o.Release) {
		limit -= fairBandwidth
	}
	for i := range c.Report.Kernel {
		k := &c.Report.Kernel[i]
		var used int64
		at, what := "", ""
		for j := range c.Set.Tasks {
			t := &c.Set.Tasks[j]
			if d, ok := p.find(t.Name); ok && t.CPU == k.CPU && t.Policy == realtime.Deadline {
				used += ratio(p.cost(d), t.Period)
				at, what = d.At, "task "+t.Name
			}
		}
		k.Used, k.Limit, k.Accepts = used, limit, used <= limit
		if !k.Accepts {
			errs = append(errs, &Refused{at, c.Name, what, fmt.Sprintf("the kernel refuses the deadline tasks of CPU %d: they have %.2f%% of it, with overheads, and its limit is %.2f%%",
				k.CPU, percent(used), percent(limit))})
		}
	}
	return errors.Join(errs...)
}

func percent(share int64) float64 { return float64(share) * 100 / (1 << 20) }

// ratio is to_ratio of kernel/sched/core.c. Times of a day fit: 2^47 * 2^20
// would not, but a runtime of more than 2^43 ns (2.4 h) is refused by config.
func ratio(runtime, period realtime.Time) int64 { return runtime << 20 / max(1, period) }

// before612 says that a release is surely older than Linux 6.12.
func before612(release string) bool {
	var major, minor int
	if n, _ := fmt.Sscanf(release, "%d.%d", &major, &minor); n != 2 {
		return false
	}
	return major < 6 || major == 6 && minor < 12
}
