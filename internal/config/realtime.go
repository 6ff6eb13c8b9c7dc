package config

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// RealTime is what tasks of every configuration stand upon.
type RealTime struct {
	CPUs      int       `yaml:"cpus" doc:"Processors that the machine has." default:"1" min:"1" max:"1024"`
	Isolated  []int     `yaml:"isolated" unique:"true" min:"0" max:"1023" doc:"Processors on which nothing runs but containers with tasks there: no other container, no kernel thread that can be elsewhere, no interrupt that is not declared. At least one processor is not isolated." example:"[1]"`
	Protocol  string    `yaml:"protocol" doc:"What hurries a task that holds a resource another one waits for. inheritance: a mutex with priority inheritance. ceiling: one with a priority ceiling." enum:"inheritance,ceiling" default:"inheritance"`
	Overheads Overheads `yaml:"overheads" doc:"What the kernel takes. Without a measurement every verdict that holds is conditional."`
	IRQs      []IRQ     `yaml:"irqs" doc:"Interrupts: on which processors they are served, and what their threads take there."`
}

// Overheads are what the kernel takes, or the file of instar rt calibrate that says it.
type Overheads struct {
	File     string        `yaml:"file" is:"relative" doc:"File that instar rt calibrate wrote. Of its values and those written beside it the longer ones count." example:"overheads.yaml"`
	Switch   time.Duration `yaml:"switch" doc:"Longest time of one context switch." max:"1s"`
	Release  time.Duration `yaml:"release" doc:"Longest time that the release of a job takes of the processor: timer interrupt and wake-up." max:"1s"`
	Latency  time.Duration `yaml:"latency" doc:"Longest time from an event to its thread's being ready to run, for which the kernel can keep it waiting." max:"10s"`
	Measured string        `yaml:"measured" is:"date" doc:"Day on which they were measured on this kind of machine. Without it they are guesses." example:"2026-11-21"`
}

// IRQ is an interrupt, or several of one kind, and the thread that serves it.
type IRQ struct {
	Name     string        `yaml:"name,required" is:"glob" doc:"Name of the interrupt in /proc/interrupts, as a shell pattern." example:"eth0*"`
	CPUs     []int         `yaml:"cpus" unique:"true" min:"0" max:"1023" doc:"Processors that serve it. Default: those that are not isolated."`
	Priority int           `yaml:"priority" doc:"Priority of its thread, where the kernel has threads for interrupts. Default: the kernel's, 50." min:"1" max:"99"`
	WCET     time.Duration `yaml:"wcet" doc:"Longest time that it takes, thread and handler. It is needed on processors that have tasks." max:"1h"`
	Distance time.Duration `yaml:"distance" doc:"Least time between two of them. It is needed on processors that have tasks." min:"1us" max:"24h"`
}

// Task is a thread of a container that must be in time.
type Task struct {
	Name          string        `yaml:"name,required" is:"name" doc:"Name of the task; in messages it is CONTAINER.NAME." example:"valve"`
	Thread        string        `yaml:"thread" is:"thread" doc:"Name of its thread (prctl PR_SET_NAME). Without it the container's first thread." example:"valve-loop"`
	Policy        string        `yaml:"policy,required" doc:"deadline: earliest deadline first. fifo, rr: fixed priority, among equals in order or in turns. other: not real-time; it is measured, not proven." enum:"deadline,fifo,rr,other" example:"fifo"`
	WCET          time.Duration `yaml:"wcet" doc:"Longest time that a job computes, alone on its processor." max:"1h" example:"2ms"`
	BCET          time.Duration `yaml:"bcet" doc:"Shortest time that a job computes." max:"1h"`
	Period        time.Duration `yaml:"period" doc:"Time from one event to the next." min:"1us" max:"24h" example:"100ms"`
	Distance      time.Duration `yaml:"distance" doc:"Least time between two events, instead of period, for events that do not come regularly." min:"1us" max:"24h"`
	Deadline      time.Duration `yaml:"deadline" doc:"Time from its event by which a job is done. It may be longer than the period, but not with policy deadline. Default: the period, or the distance." max:"24h"`
	Jitter        time.Duration `yaml:"jitter" doc:"How much later than its event a job may be ready." max:"24h"`
	Clock         string        `yaml:"clock" doc:"machine: its events are at offset, and each period from then on, of the machine's time (CLOCK_MONOTONIC), so that tasks of that clock are known not to come together. own: they begin at any time." enum:"own,machine" default:"own"`
	Offset        time.Duration `yaml:"offset" doc:"Where its events are in the period of the machine's time. With clock: machine." max:"24h"`
	After         string        `yaml:"after" is:"task" doc:"CONTAINER.TASK whose jobs release this one's, through a link between their containers, instead of period. Its times are counted from the event of the first task of such a row. For fifo and rr." example:"sampler.read"`
	Priority      string        `yaml:"priority" is:"priority" or:"integer" min:"1" max:"99" doc:"1 to 99, larger is more urgent, or auto: by deadline, the shortest first, from 49 downwards. For fifo and rr." default:"auto"`
	CPU           int           `yaml:"cpu" doc:"Processor that it stays on." default:"0" min:"0" max:"1023"`
	Sections      []Section     `yaml:"sections" doc:"Critical sections: the resources it locks, and for how long. Not with policy deadline."`
	Suspension    time.Duration `yaml:"suspension" doc:"Longest time that a job waits by itself in all. Not with policy deadline." max:"24h"`
	Suspensions   int           `yaml:"suspensions" doc:"How often a job waits by itself at most. Default: once when there is a suspension." min:"1" max:"1000"`
	NonPreemptive time.Duration `yaml:"nonPreemptive" doc:"Longest time for which a job does not give way." max:"1h"`
	Violation     Violation     `yaml:"violation" doc:"What to do when a measurement contradicts the proof: a job that is late, took longer than its bound, or computed longer than its wcet."`

	// At is where the task stands, "file:line". Not a key.
	At string `yaml:"-"`
}

// Section is a critical section.
type Section struct {
	Resource string        `yaml:"resource,required" is:"name" doc:"Name of what is locked, the same for all that lock it." example:"bus"`
	Length   time.Duration `yaml:"length,required" doc:"Longest time for which it is held." min:"1ns" max:"1h" example:"200us"`
}

// Violation is a declared reaction.
type Violation struct {
	Do    string `yaml:"do" doc:"log: say it, once a second at most. restart: also restart the container. switch: also switch to another configuration. fail: also make the container unhealthy, for what judges the machine." enum:"log,restart,switch,fail" default:"log"`
	To    string `yaml:"to" is:"name" doc:"Configuration to switch to. For switch."`
	After int    `yaml:"after" doc:"Violations until that is done." default:"1" min:"1" max:"1000000"`
}

// Chain is a path of data through tasks, with what must hold from one end to
// the other.
type Chain struct {
	Name     string        `yaml:"name,required" is:"name" doc:"Name of the chain." example:"water"`
	Path     []string      `yaml:"path,required" is:"task" unique:"true" doc:"Tasks as CONTAINER.TASK, in the order in which data goes through them. Between containers there must be a sampling or queueing link." example:"[sampler.read, irrigation.valve]"`
	Reaction time.Duration `yaml:"reaction" doc:"Longest time from a change to the last task's answer." max:"24h" example:"400ms"`
	Age      time.Duration `yaml:"age" doc:"Largest age of the data that the last task's answer comes from." max:"24h"`

	Communication string `yaml:"communication" doc:"implicit: a job reads what is newest while it runs, and has written by its end. let: each job reads at its event, and its output appears at its deadline, no sooner (logical execution time)." enum:"implicit,let" default:"implicit"`

	// At is where the chain stands, "file:line". Not a key.
	At string `yaml:"-"`
}

// Event returns the least time between two events of the task.
func (t Task) Event() time.Duration { return max(t.Period, t.Distance) }

// realtime checks tasks, interrupts and chains.
func (c *checker) realtime() {
	rt := c.def.RealTime
	for i, cpu := range rt.Isolated {
		c.onMachine(index("realtime.isolated", i), cpu)
	}
	if len(rt.Isolated) >= max(1, rt.CPUs) && !c.within("realtime.isolated") {
		c.wrong("realtime.isolated", "leaves no processor for everything else", "isolate fewer than realtime.cpus")
	}
	for i, irq := range rt.IRQs {
		at := index("realtime.irqs", i)
		for j, cpu := range irq.CPUs {
			c.onMachine(index(at+".cpus", j), cpu)
		}
		if (irq.WCET == 0) != (irq.Distance == 0) {
			c.wrongKey(at, "has only one of wcet and distance", "its demand is both of them")
		}
	}
	for _, name := range sorted(c.def.Containers) {
		c.tasks(join("containers", name), c.def.Containers[name])
	}
	for _, name := range sorted(c.def.Configurations) {
		c.hosted(join("configurations", name), c.def.Configurations[name])
		c.released(join("configurations", name), c.def.Configurations[name])
		c.chains(join("configurations", name), c.def.Configurations[name])
	}
}

func (c *checker) onMachine(at string, cpu int) {
	if n := c.def.RealTime.CPUs; cpu >= max(1, n) {
		c.wrong(at, fmt.Sprintf("there is no processor %d: realtime.cpus is %d", cpu, max(1, n)), "they are numbered from 0; raise realtime.cpus, or choose another")
	}
}

// tasks checks the tasks of a container.
func (c *checker) tasks(path string, ct Container) {
	if ct.Locked && ct.Memory == 0 {
		c.wrongKey(path+".locked", "keeps nothing without memory", "say how much, as memory: 64MiB")
	}
	names, threads := map[string]bool{}, map[string]string{}
	for i, t := range ct.Tasks {
		at := index(path+".tasks", i)
		if names[t.Name] && t.Name != "" {
			c.wrong(at+".name", "the container has a task "+t.Name+" already", "give it another name")
		}
		names[t.Name] = true
		if other, taken := threads[t.Thread]; taken {
			what := "thread " + t.Thread
			if t.Thread == "" {
				what = "the first thread"
			}
			c.wrong(at, what+" is task "+other+" already", "a thread is one task; give this one another thread")
		}
		threads[t.Thread] = t.Name
		c.onMachine(at+".cpu", t.CPU)
		c.task(at, t)
		c.together(at, ct, t)
		c.violation(at+".violation", t.Violation)
	}
}

// task checks a task by itself. What the kernel's scheduler cannot do, or does
// in another way than the analysis knows, is refused here.
func (c *checker) task(at string, t Task) {
	if t.After != "" {
		c.follower(at, t)
	} else if (t.Period == 0) == (t.Distance == 0) {
		if t.Period != 0 {
			c.wrong(at+".distance", "stands beside period", "use one of them")
		} else if t.Policy != "other" && !c.isBad(at+".period") && !c.isBad(at+".distance") {
			c.missing(at, "period", "give the time from one event to the next, or as distance the least time between two")
		}
	}
	if t.Clock == "machine" && t.Period == 0 && !c.isBad(at+".period") && t.After == "" {
		c.wrong(at+".clock", "has a place only for regular events", "give period instead of distance, or leave clock out")
	}
	if t.Offset > 0 && t.Clock != "machine" {
		c.wrong(at+".offset", "stands on no clock", "add clock: machine, and let the program keep to it")
	}
	if t.Policy != "other" && t.WCET == 0 {
		c.missing(at, "wcet", "give the longest time that a job computes")
	}
	if t.Policy != "fifo" && t.Policy != "rr" && t.Priority != "auto" && t.Priority != "" {
		c.wrong(at+".priority", "policy "+t.Policy+" has none", "it is for fifo and rr")
	}
	if t.BCET > t.WCET {
		c.wrong(at+".bcet", "is longer than wcet", "it is the shortest time that a job computes")
	}
	if t.NonPreemptive > t.WCET {
		c.wrong(at+".nonPreemptive", "is longer than wcet", "it is a part of it")
	}
	for i, s := range t.Sections {
		if s.Length > t.WCET {
			c.wrong(index(at+".sections", i)+".length", "is longer than wcet", "it is a part of it")
		}
	}
	if t.Suspensions > 0 && t.Suspension == 0 {
		c.wrong(at+".suspensions", "says how often, suspension does not say how long", "add suspension")
	}
	if t.Policy == "deadline" {
		c.deadlineTask(at, t)
	}
}

// follower checks a task that others release.
func (c *checker) follower(at string, t Task) {
	given := map[string]bool{"period": t.Period > 0, "distance": t.Distance > 0, "jitter": t.Jitter > 0, "clock": t.Clock == "machine"}
	for _, key := range sorted(given) {
		if given[key] {
			c.wrong(at+"."+key, "stands beside after", "it follows from the task that releases this one; remove it")
		}
	}
	if t.Policy == "deadline" {
		c.wrong(at+".policy", "the kernel's deadlines begin when a job is ready, but those of a task that another releases begin before", "use fifo or rr")
	}
}

// released checks that tasks which others release are in one configuration with
// those, linked, and that rows of them begin somewhere.
func (c *checker) released(path string, cfg Configuration) {
	for i, name := range cfg.Containers {
		for _, t := range c.def.Containers[name].Tasks {
			seen, at := map[string]bool{}, name+"."+t.Name
			for after := t.After; after != ""; {
				from, task, _ := strings.Cut(after, ".")
				to, _, _ := strings.Cut(at, ".")
				before, ok := c.taskOf(cfg, from, task)
				p := index(path+".containers", i)
				switch {
				case !ok:
					c.wrong(p, fmt.Sprintf("task %s is released by %s, which the configuration does not have", at, after), "add its container, or give the task a period")
				case seen[after]:
					c.wrong(p, fmt.Sprintf("task %s releases itself", at), "one task of the row needs a period")
				case from != to && !linked(cfg, from, to):
					c.wrong(p, fmt.Sprintf("task %s is released by %s, but there is no sampling or queueing link from %s to %s", at, after, from, to), "declare it under links of the configuration")
				default:
					seen[after], at, after = true, after, before.After
					continue
				}
				break
			}
		}
	}
}

// deadlineTask refuses what SCHED_DEADLINE cannot do (sched(7)): deadlines
// beyond the period; and what its server does in its own way: after a
// suspension it may take budget away (Documentation/scheduler/
// sched-deadline.rst, 2.2), and whoever inherits a deadline runs without budget.
func (c *checker) deadlineTask(at string, t Task) {
	switch {
	case t.Deadline > t.Event():
		c.wrong(at+".deadline", fmt.Sprintf("%s is longer than the period, %s, which the kernel does not take for policy deadline", t.Deadline, t.Event()), "use fifo, or a deadline within the period")
	case t.Jitter > 0 && t.Jitter >= t.due():
		c.wrong(at+".jitter", "is not less than the deadline", "a job could be ready when it must be done")
	}
	given := map[string]bool{"sections": len(t.Sections) > 0, "suspension": t.Suspension > 0, "nonPreemptive": t.NonPreemptive > 0}
	for _, key := range sorted(given) {
		if given[key] {
			c.wrong(at+"."+key, "what the kernel makes of it with policy deadline is not what is analysed", "use fifo or rr for this task")
		}
	}
}

func (t Task) due() time.Duration {
	if t.Deadline == 0 {
		return t.Event()
	}
	return t.Deadline
}

// together checks where the tasks of a container are.
func (c *checker) together(at string, ct Container, t Task) {
	isolated := func(cpu int) bool { return slices.Contains(c.def.RealTime.Isolated, cpu) }
	first := ct.Tasks[0]
	if isolated(t.CPU) != isolated(first.CPU) {
		c.wrong(at+".cpu", fmt.Sprintf("processor %d is isolated or not, other than %d, where %s is", t.CPU, first.CPU, first.Name), "a container stands on isolated processors as a whole, or on none; make two containers")
	}
	if t.Policy == "deadline" && c.def.RealTime.CPUs > 1 && !isolated(t.CPU) {
		c.wrong(at+".policy", fmt.Sprintf("processor %d is not isolated, and the kernel takes deadline tasks only where they may run on every processor of their partition", t.CPU), fmt.Sprintf("add %d to realtime.isolated, or use fifo", t.CPU))
	}
}

func (c *checker) violation(at string, v Violation) {
	switch {
	case v.Do == "switch" && v.To == "":
		c.wrong(at+".do", "does not say to which configuration", "add to: NAME")
	case v.Do != "switch" && v.To != "":
		c.wrong(at+".to", "is for do: switch", "remove it, or add do: switch")
	case v.To != "":
		c.named(at+".to", v.To, "configuration", sorted(c.def.Configurations))
	}
}

// hosted refuses tasks where instar-init does not run the machine.
func (c *checker) hosted(path string, cfg Configuration) {
	if cfg.Host == nil {
		return
	}
	for i, ct := range cfg.Containers {
		if len(c.def.Containers[ct].Tasks) > 0 {
			c.wrong(index(path+".containers", i), ct+" has tasks, and the configuration a host, whose init knows nothing of them", "run it in a configuration without host")
		}
	}
}

// chains checks that the chains of a configuration go through its tasks, and
// over its links.
func (c *checker) chains(path string, cfg Configuration) {
	for i, ch := range cfg.Chains {
		at := index(path+".chains", i)
		if ch.Reaction == 0 && ch.Age == 0 && !c.within(at) {
			c.wrong(at, "has no bound", "give reaction, age, or both")
		}
		before := ""
		for j, name := range ch.Path {
			ct, task, _ := strings.Cut(name, ".")
			p := index(at+".path", j)
			t, ok := c.taskOf(cfg, ct, task)
			switch {
			case name == "":
			case !ok:
				c.wrong(p, fmt.Sprintf("the configuration has no task %q", name), "tasks are written CONTAINER.TASK; those of a container stand under its tasks")
			case t.Policy == "other":
				c.wrong(p, "has policy other, for which nothing is proven", "give it a real-time policy")
			case t.Period == 0 && t.After == "" && j > 0:
				c.wrong(p, "has no period: how long data waits for its next job has no bound", "give it period instead of distance")
			case before != "" && before != ct && !linked(cfg, before, ct):
				c.wrong(p, fmt.Sprintf("there is no sampling or queueing link from %s to %s", before, ct), "declare it under links of the configuration")
			}
			before = ct
		}
	}
}

func (c *checker) taskOf(cfg Configuration, container, task string) (Task, bool) {
	if !slices.Contains(cfg.Containers, container) {
		return Task{}, false
	}
	tasks := c.def.Containers[container].Tasks
	i := slices.IndexFunc(tasks, func(t Task) bool { return t.Name == task })
	if i < 0 {
		return Task{}, false
	}
	return tasks[i], true
}

func linked(cfg Configuration, from, to string) bool {
	return slices.ContainsFunc(cfg.Links, func(l Link) bool {
		return (l.Type == "sampling" || l.Type == "queueing") && l.From == from && slices.Contains(l.To, to)
	})
}

// located fills in where tasks and chains stand.
func located(def *Definition, places map[string]place) {
	for name, ct := range def.Containers {
		for i := range ct.Tasks {
			ct.Tasks[i].At = places[index(join("containers", name)+".tasks", i)].key.Short()
		}
	}
	for name, cfg := range def.Configurations {
		for i := range cfg.Chains {
			cfg.Chains[i].At = places[index(join("configurations", name)+".chains", i)].key.Short()
		}
	}
}
