package tasks

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/instar-os/instar/internal/bpf"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/wire"
)

// Monitor measures the threads of tasks and tells when one contradicts what was
// proven. It wakes nobody else: nothing happens in it until then.
type Monitor struct {
	Log   func(format string, args ...any)
	Bound func(task string) (system.Bound, bool) // of the configuration that runs
	React func(container string, v system.Violation, why string)

	bpf *bpf.SchedMonitor

	mu      sync.Mutex
	threads map[int]*thread
}

type thread struct {
	name     string // CONTAINER.TASK
	task     *system.Task
	limits   bpf.Limits
	violated int       // since the last reaction
	said     time.Time // the last violation
	silent   int       // violations that were not said
}

// sayAgain is how long further violations of a task are only counted.
const sayAgain = time.Second

// Open begins to look at the scheduler; Close ends it.
func (m *Monitor) Open() (err error) {
	m.threads = map[int]*thread{}
	if m.bpf, err = bpf.NewSchedMonitor(); err != nil {
		return err
	}
	go func() {
		for {
			v, err := m.bpf.Next()
			if err != nil {
				return // it was closed
			}
			m.violation(v)
		}
	}()
	return nil
}

// Close ends measuring.
func (m *Monitor) Close() error { return m.bpf.Close() }

// Watch implements Watcher.
func (m *Monitor) Watch(tid int, name string, t *system.Task) error {
	l := bpf.Limits{Deadline: time.Duration(t.Deadline), WCET: time.Duration(t.WCET)}
	if !t.Sporadic {
		l.Period = time.Duration(t.Period)
	}
	b, _ := m.Bound(name)
	l.Bound = time.Duration(b.Bound)
	m.mu.Lock()
	m.threads[tid] = &thread{name: name, task: t, limits: l}
	m.mu.Unlock()
	err := m.bpf.Watch(tid, l)
	if err != nil {
		m.drop(tid)
	}
	return err
}

// Rebind takes the bounds anew: another configuration runs, or none is known.
func (m *Monitor) Rebind() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for tid, t := range m.threads {
		b, _ := m.Bound(t.name)
		if bound := time.Duration(b.Bound); bound != t.limits.Bound {
			t.limits.Bound = bound
			if err := m.bpf.Bound(tid, bound); err != nil {
				m.Log("task %s: %v", t.name, err)
			}
		}
	}
}

// Forget implements Watcher.
func (m *Monitor) Forget(tid int) {
	m.bpf.Forget(tid)
	m.drop(tid)
}

func (m *Monitor) drop(tid int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.threads, tid)
}

// violation says it, now and then, and does what was declared.
func (m *Monitor) violation(v bpf.Violation) {
	m.mu.Lock()
	t := m.threads[v.Thread]
	if t == nil {
		m.mu.Unlock()
		return
	}
	why := describe(v, t)
	t.silent++
	say := time.Since(t.said) >= sayAgain
	silent := t.silent - 1
	if say {
		t.said, t.silent = time.Now(), 0
	}
	t.violated++
	d := t.task.Violation
	react := d != nil && t.violated >= d.After
	if react {
		t.violated = 0
	}
	m.mu.Unlock()
	if silent > 0 && say {
		m.Log("%s; %d more since the last that was said", why, silent)
	} else if say || react {
		m.Log("%s", why)
	}
	if react {
		container, _, _ := strings.Cut(t.name, ".")
		m.React(container, *d, why)
	}
}

func describe(v bpf.Violation, t *thread) string {
	var parts []string
	if v.Kind&bpf.Late != 0 {
		parts = append(parts, fmt.Sprintf("is late: it took %s of %s", v.Response, t.limits.Deadline))
	}
	if v.Kind&bpf.Beyond != 0 {
		parts = append(parts, fmt.Sprintf("took %s, though no more than %s was proven", v.Response, t.limits.Bound))
	}
	if v.Kind&bpf.Overrun != 0 {
		parts = append(parts, fmt.Sprintf("computed %s, though its wcet with overheads is %s", v.Exec, t.limits.WCET))
	}
	return "task " + t.name + " " + strings.Join(parts, ", and ")
}

// Tasks returns what was measured, as the threads that there are.
func (m *Monitor) Tasks() map[string]wire.RTTask {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[string]wire.RTTask{}
	for tid, t := range m.threads {
		got, ok := m.bpf.Read(tid)
		if !ok {
			continue
		}
		out[t.name] = wire.RTTask{
			Task: t.name, Thread: tid,
			Jobs: got.Jobs, Misses: got.Misses, Beyond: got.Beyond, Overruns: got.Overruns, Preempted: got.Preempted, Migrated: got.Migrated,
			MaxResponse: got.MaxResponse, MaxLatency: got.MaxLatency, MaxJitter: got.MaxJitter, MaxExec: got.MaxExec,
			SumResponse: got.SumResponse, SumLatency: got.SumLatency, SumExec: got.SumExec,
			Scale: got.Scale, Responses: got.Responses[:], Latencies: got.Latencies[:], Jitters: got.Jitters[:],
		}
	}
	return out
}

// Cost measures for a time what measuring costs.
func (m *Monitor) Cost(during time.Duration) (time.Duration, uint64, error) {
	return m.bpf.Cost(during)
}
