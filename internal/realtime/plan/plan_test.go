package plan

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/realtime"
	"github.com/instar-os/instar/internal/realtime/check"
)

const machine = `machine: m
sources: {debian: {archive: debian, suites: [trixie]}}
kernel: {from: debian, package: linux-image-rt-amd64}
trees: {t: {from: debian, packages: [busybox]}}
default: r
realtime: {%s}
configurations:
  r: {fallback: true, containers: [a, b]%s}
containers:
  a:
    trees: [t]
    command: [/bin/x]
    tasks: [%s]
  b: {trees: [t], command: [/bin/x], tasks: [%s]}
`

const measured = "overheads: {switch: 1us, release: 1us, measured: 2026-11-21}"

func define(t *testing.T, rt, more, a, b string) *config.Definition {
	t.Helper()
	text := fmt.Sprintf(machine, rt, more, a, b)
	f, err := config.Read(fstest.MapFS{"instar.yaml": {Data: []byte(text)}}, "instar.yaml")
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return f.Definition
}

// TestMake plans machines, a row each; want is in the error, or in the plan as
// JSON with the device's part.
func TestMake(t *testing.T) {
	const light = "{name: two, policy: fifo, wcet: 1ms, period: 20ms, cpu: %d}"
	on := func(cpu int) string { return fmt.Sprintf(light, cpu) }
	const links = ", links: [{name: l, type: sampling, from: b, to: [a], size: 8B}]"
	const down = ", links: [{name: l, type: sampling, from: a, to: [b], size: 8B}]"
	for _, c := range []struct{ name, rt, more, a, b, release, want string }{
		{"holds", measured, "", "{name: one, policy: fifo, wcet: 2ms, period: 10ms}", on(0), "6.12.9-rt-amd64", `"a.one","bound":2003000,"exact":true`},
		{"late", measured, "", "{name: one, policy: fifo, priority: 10, wcet: 2ms, period: 10ms, deadline: 2500us}", on(0), "",
			"instar.yaml:13: configuration r: task a.one: it can miss its deadline of 2.5ms on CPU 0: job 1 of the busy window, ready 0 ns after the critical instant, ends 3006000 ns after it: 506000 ns too late"},
		{"late deadline task", measured, "", "{name: one, policy: deadline, wcet: 3ms, period: 10ms, deadline: 4ms}, {name: three, thread: x, policy: deadline, wcet: 2ms, period: 20ms, deadline: 4500us}", on(0), "",
			"5006000 ns of work are due within 4500000 ns of the critical instant: 506000 ns too much"},
		{"deadline jitter", measured, "", "{name: one, policy: deadline, wcet: 2ms, period: 10ms, jitter: 1ms}", on(0), "6.12.9-rt", `"a.one","bound":4003000}`},
		{"overfull for the reserve", measured, "", "{name: one, policy: fifo, wcet: 900ms, period: 1s}", on(0), "", "CPU 0: its tasks can take"},
		{"refused by the kernel", measured, "", "{name: one, policy: deadline, wcet: 46ms, period: 100ms}, {name: three, thread: x, policy: deadline, wcet: 45ms, period: 100ms}", on(0), "6.12.1",
			"the kernel refuses the deadline tasks of CPU 0: they have 91.01% of it, with overheads, and its limit is 90.00%"},
		{"partition", "cpus: 4, isolated: [1, 2], " + measured, "", "{name: one, policy: deadline, wcet: 2ms, period: 10ms, cpu: 1}", on(2), "",
			`"partitions":[{"name":"rt-1","cpus":[1]},{"name":"rt-2","cpus":[2]}],"house":[0,3]`},
		{"kernel arguments", "cpus: 4, isolated: [1, 2], " + measured, "", "{name: one, policy: fifo, wcet: 2ms, period: 10ms, cpu: 1}", on(2), "",
			`["isolcpus=managed_irq,1-2","nohz_full=1-2","rcu_nocbs=1-2","irqaffinity=0,3"]`},
		{"a partition of two", "cpus: 4, isolated: [1, 2], " + measured, "", "{name: one, policy: deadline, wcet: 2ms, period: 10ms, cpu: 1}, {name: three, thread: x, policy: fifo, wcet: 1ms, period: 10ms, cpu: 2}", on(2), "",
			"only when it may run on every processor of its partition, which is CPUs 1-2"},
		{"interrupt", "irqs: [{name: 'eth*', cpus: [0], wcet: 1ms, distance: 5ms}], " + measured, "", "{name: one, policy: fifo, priority: 40, wcet: 2ms, period: 10ms, deadline: 2500us}", on(0), "", "task a.one: it can miss"},
		{"chain", measured, links + ", chains: [{name: c, path: [b.two, a.one], age: 40ms}]", "{name: one, policy: fifo, wcet: 2ms, period: 10ms}", on(0), "",
			`"name":"c","path":["b.two","a.one"],"links":["l"],"age":40000000,"bound":35009000`},
		{"long chain", measured, links + ", chains: [{name: c, path: [b.two, a.one], age: 30ms}]", "{name: one, policy: fifo, wcet: 2ms, period: 10ms}", on(0), "",
			"instar.yaml:8: configuration r: chain c: its age can be 35.009ms, 5.009ms more than 30ms"},
		{"chain that preempts", measured, down + ", chains: [{name: c, path: [a.one, b.two], age: 40ms}]", "{name: one, policy: fifo, wcet: 2ms, period: 10ms}", on(0), "",
			`"bound":33006000,"source":"Dürr et al. 2019"`},
		{"chain on one clock", measured, down + ", chains: [{name: c, path: [a.one, b.two], age: 40ms}]", "{name: one, policy: fifo, wcet: 2ms, period: 10ms, clock: machine}",
			"{name: two, policy: fifo, wcet: 1ms, period: 20ms, clock: machine, offset: 5ms}", "", `"bound":26003000,"source":"Kloda et al. 2018"`},
		{"late together, not apart", measured, "", "{name: one, policy: fifo, priority: 20, wcet: 2ms, period: 10ms, clock: machine}",
			"{name: two, policy: fifo, priority: 10, wcet: 2ms, period: 20ms, deadline: 3ms, clock: machine, offset: 5ms}", "", `"b.two","bound":2003000,"exact":true`},
		{"released", "overheads: {switch: 1us, release: 1us, latency: 100us, measured: 2026-11-21}", down + ", chains: [{name: c, path: [a.one, b.two], reaction: 40ms}]", "{name: one, policy: fifo, wcet: 2ms, period: 10ms}",
			"{name: two, policy: fifo, wcet: 1ms, after: a.one}", "", `"b.two","bound":5209000`},
		{"released in a chain", "overheads: {switch: 1us, release: 1us, latency: 100us, measured: 2026-11-21}", down + ", chains: [{name: c, path: [a.one, b.two], reaction: 40ms}]", "{name: one, policy: fifo, wcet: 2ms, period: 10ms}",
			"{name: two, policy: fifo, wcet: 1ms, after: a.one}", "", `"bound":15209000,"source":"Davare et al. 2007"`},
		{"an alarm that releases", measured, down + ", chains: [{name: c, path: [a.one, b.two], reaction: 40ms}]", "{name: one, policy: fifo, wcet: 2ms, distance: 10ms}",
			"{name: two, policy: fifo, wcet: 1ms, after: a.one}", "", `"bound":5009000,"source":"Davare et al. 2007"`},
		{"logical execution times", measured, down + ", chains: [{name: c, path: [a.one, b.two], age: 60ms, communication: let}]", "{name: one, policy: fifo, wcet: 2ms, period: 10ms}", on(0), "",
			`"bound":60000000,"source":"Davare et al. 2007"`},
		{"logical execution times, too long", measured, down + ", chains: [{name: c, path: [a.one, b.two], age: 59ms, communication: let}]", "{name: one, policy: fifo, wcet: 2ms, period: 10ms}", on(0), "",
			"chain c: its age can be 60ms, 1ms more than 59ms"},
		{"not measured", "overheads: {switch: 1us}", "", "{name: one, policy: fifo, wcet: 2ms, period: 10ms}", on(0), "", "which nobody measured"},
		{"not preemptible", measured, "", "{name: one, policy: fifo, wcet: 2ms, period: 10ms}", on(0), "6.12.9-amd64", "it is not PREEMPT_RT"},
		{"auto", measured, "", "{name: one, policy: fifo, wcet: 2ms, period: 10ms, jitter: 1ms}, {name: three, thread: x, policy: rr, wcet: 1ms, period: 9500us}", on(0), "", `"name":"one","policy":"fifo","cpu":0,"priority":49`},
	} {
		t.Run(c.name, func(t *testing.T) {
			plans, err := Make(define(t, c.rt, c.more, c.a, c.b), Options{Release: c.release})
			got := ""
			if err != nil {
				got = err.Error()
				var r *Refused
				if !errors.As(err, &r) {
					t.Errorf("%v is no refusal", err)
				}
			} else {
				for _, v := range []any{plans[0].RealTime, plans[0].Tasks, plans[0].Command, plans[0].Conditions} {
					b, err := json.Marshal(v)
					if err != nil {
						t.Fatal(err)
					}
					got += string(b) + "\n"
				}
			}
			if !strings.Contains(got, c.want) {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
			if err == nil && len(plans[0].Set.Tasks) > 0 {
				if err := check.Report(plans[0].Set, plans[0].Report); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestOverheadsFile(t *testing.T) {
	def := define(t, "overheads: {file: o.yaml, switch: 5us}", "", "{name: one, policy: fifo, wcet: 2ms, period: 10ms, deadline: 2200us}", "")
	read := func(text string) Options {
		return Options{Release: "6.12.2-rt", Read: func(name string) ([]byte, error) { return []byte(text), nil }}
	}
	plans, err := Make(def, read("{measured: 2026-11-21, kernel: 6.12.2-rt, switch: 1us, release: 20us, latency: 50us}"))
	if err != nil || plans[0].RealTime.Bounds[0].Bound != 2_080_000 {
		t.Errorf("%+v, %v; want 2ms, two switches of 5us, 20us and 50us", plans, err)
	}
	if _, err := Make(def, read("{measured: 2026-11-21, kernel: x, latency: 300us}")); err == nil || !strings.Contains(err.Error(), "can miss its deadline") {
		t.Errorf("a latency beyond the slack: %v", err)
	}
	plans, err = Make(def, read("{measured: 2026-11-21, kernel: 6.1.0-rt}"))
	if err != nil || !strings.Contains(fmt.Sprint(plans[0].Conditions), "6.1.0-rt, on which the overheads were measured") {
		t.Errorf("another kernel: %v, %v", plans[0].Conditions, err)
	}
	for _, bad := range []string{"", "{switch: 1us}", "{measured: x, swich: 1us}", "{measured: x, switch: -1us}"} {
		if _, err := Make(def, read(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// TestDeadlinesAsTheKernelHasThem simulates deadline tasks with jitter as
// SCHED_DEADLINE runs them: the deadline counts from when a job is ready, and a
// job that is ready before a period has passed since the last one waits for it.
func TestDeadlinesAsTheKernelHasThem(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 5))
	held, tight := 0, 0
	for range 400 {
		var tasks []string
		n := 2 + r.IntN(2)
		type task struct{ c, period, due, jitter int }
		var all []task
		for i := range n {
			x := task{period: 5 + r.IntN(12)}
			x.c = 1 + r.IntN(max(1, x.period*2/(n+1)))
			x.jitter = r.IntN(x.period/2 + 1)
			if r.IntN(4) == 0 {
				x.jitter = 0
			}
			x.due = min(x.period, x.c+x.jitter+r.IntN(x.period))
			if x.jitter >= x.due {
				continue
			}
			all = append(all, x)
			tasks = append(tasks, fmt.Sprintf("{name: t%d, thread: t%d, policy: deadline, wcet: %dms, period: %dms, deadline: %dms, jitter: %dms}", i, i, x.c, x.period, x.due, x.jitter))
		}
		if len(all) < 2 {
			continue
		}
		p := &planner{def: define(t, "overheads: {measured: 2026-11-21}", "", strings.Join(tasks, ", "), "")}
		p.overheads.Measured = true
		cfg := p.def.Configurations["r"]
		c, err := p.configuration("r", cfg)
		if c == nil {
			t.Fatal(err)
		}
		if !c.Report.Holds {
			continue
		}
		held++
		longest := make([]int, len(all))
		for range 30 {
			type job struct{ task, event, ready, due, left int }
			var jobs []*job
			for i, x := range all {
				start, e := -1<<30, r.IntN(x.period)
				if r.IntN(2) == 0 {
					e = 0
				}
				for first := true; e < 150; e += x.period {
					ready := e + r.IntN(x.jitter+1)
					if first && r.IntN(2) == 0 {
						ready = e + x.jitter
					} else if r.IntN(2) == 0 {
						ready = e
					}
					start = max(ready, start+x.period)
					first = false
					jobs = append(jobs, &job{i, e, start, start + x.due - x.jitter, x.c})
				}
			}
			for now := 0; len(jobs) > 0 && now < 1000; now++ {
				var run *job
				for _, j := range jobs {
					if j.ready <= now && (run == nil || j.due < run.due) {
						run = j
					}
				}
				if run == nil {
					continue
				}
				if run.left--; run.left == 0 {
					longest[run.task] = max(longest[run.task], now+1-run.event)
					jobs = slices.DeleteFunc(jobs, func(j *job) bool { return j == run })
				}
			}
		}
		for i, x := range all {
			name := strings.Split(tasks[i][len("{name: "):], ",")[0]
			for _, b := range c.RealTime.Bounds {
				if b.Task != "a."+name {
					continue
				}
				if int64(longest[i])*1e6 > b.Bound || longest[i] > x.due {
					t.Errorf("%s took %dms, its bound is %dns and its deadline %dms: %s", name, longest[i], b.Bound, x.due, tasks)
				}
				if int64(longest[i])*1e6 == b.Bound {
					tight++
				}
			}
		}
	}
	if held < 50 || tight < 20 {
		t.Errorf("%d sets held, %d bounds were reached: too few to say anything", held, tight)
	}
}

func FuzzOverheads(f *testing.F) {
	f.Add("{measured: 2026-11-21, kernel: 6.12, switch: 1us}")
	f.Fuzz(func(t *testing.T, text string) {
		p := &planner{def: &config.Definition{RealTime: config.RealTime{Overheads: config.Overheads{File: "o"}}},
			o: Options{Read: func(string) ([]byte, error) { return []byte(text), nil }}}
		if p.measured() == nil && (p.overheads.Switch < 0 || p.latency > realtime.MaxTime) {
			t.Error("taken")
		}
	})
}
