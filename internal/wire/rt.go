package wire

import (
	"context"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"
)

// MethodRT asks how the tasks of containers do: RTRequest; Result is an RTReply.
const MethodRT = "rt"

// Timekeeper is a Control that measures tasks.
type Timekeeper interface {
	RT(RTRequest) (RTReply, error)
	Calibrate(context.Context, CalibrateRequest) (Calibration, error)
}

// RTRequest says what to measure.
type RTRequest struct {
	Cost time.Duration `json:"cost,omitempty"` // measure for so long what measuring costs; 0: do not
}

// RTReply is what was proven and what was measured.
type RTReply struct {
	Time          time.Time     `json:"time"`
	Configuration string        `json:"configuration"`
	Tasks         []RTTask      `json:"tasks"`
	Chains        []RTChain     `json:"chains,omitempty"`
	Interrupts    []RTInterrupt `json:"interrupts,omitempty"`  // that were declared
	Conditions    []string      `json:"conditions,omitempty"`  // without which nothing is proven
	Unmeasured    string        `json:"unmeasured,omitempty"`  // why nothing is measured; "" when it is
	CostPerRun    time.Duration `json:"costPerRun,omitempty"`  // of a context switch or wake-up of any thread
	CostRuns      uint64        `json:"costRuns,omitempty"`    // that it is the mean of
	CostPercent   float64       `json:"costPercent,omitempty"` // of one processor, while it was measured
}

// RTTask is a task. Durations are nanoseconds; what is declared or proven is 0
// when there is none. A job begins when the thread is made ready and ends when
// it sleeps.
type RTTask struct {
	Task     string        `json:"task"`   // CONTAINER.TASK
	Thread   int           `json:"thread"` // its number; 0: there is none
	Policy   string        `json:"policy"`
	CPU      int           `json:"cpu"`
	Priority int           `json:"priority,omitempty"`
	Period   time.Duration `json:"period,omitempty"`
	Deadline time.Duration `json:"deadline,omitempty"`
	WCET     time.Duration `json:"wcet,omitempty"`  // with the kernel's overheads
	Bound    time.Duration `json:"bound,omitempty"` // proven
	Exact    bool          `json:"exact,omitempty"` // a job can take as long as the bound
	Refused  string        `json:"refused,omitempty"`

	Jobs        uint64        `json:"jobs"`
	Misses      uint64        `json:"misses"`   // longer than the deadline
	Beyond      uint64        `json:"beyond"`   // longer than the bound
	Overruns    uint64        `json:"overruns"` // computed longer than the wcet
	Preempted   uint64        `json:"preempted"`
	Migrated    uint64        `json:"migrated"`
	MaxResponse time.Duration `json:"maxResponse"` // from being ready to the end
	MaxLatency  time.Duration `json:"maxLatency"`  // from being ready to running
	MaxJitter   time.Duration `json:"maxJitter"`   // of the time between two jobs, against the period
	MaxExec     time.Duration `json:"maxExec"`     // computed by a job
	SumResponse time.Duration `json:"sumResponse"`
	SumLatency  time.Duration `json:"sumLatency"`
	SumExec     time.Duration `json:"sumExec"`

	Scale     time.Duration `json:"scale,omitempty"`     // of a bucket of Responses
	Responses []uint32      `json:"responses,omitempty"` // a linear histogram; the last bucket has no end
	Latencies []uint32      `json:"latencies,omitempty"` // bucket n is 2^n to 2^(n+1) ns
	Jitters   []uint32      `json:"jitters,omitempty"`   // as Latencies
}

// RTInterrupt is an interrupt of the machine that was declared, as the kernel
// has it.
type RTInterrupt struct {
	Number   int    `json:"number"`
	Actions  string `json:"actions"`            // who is called, as in /proc/interrupts
	CPUs     string `json:"cpus"`               // where it is served, as 0-1,3
	Thread   int    `json:"thread,omitempty"`   // that serves it; 0: there is none
	Priority int    `json:"priority,omitempty"` // of the thread
}

// RTChain is a chain of tasks and the ages of what is in its links.
type RTChain struct {
	Name     string          `json:"name"`
	Path     []string        `json:"path"`
	Reaction time.Duration   `json:"reaction,omitempty"` // declared
	Age      time.Duration   `json:"age,omitempty"`      // declared
	Bound    time.Duration   `json:"bound"`              // proven, of both
	Links    []string        `json:"links,omitempty"`
	Ages     []time.Duration `json:"ages,omitempty"`    // of the newest message in each link; -1: there is none
	Data     time.Duration   `json:"data"`              // age of the data that the newest message in the last link rests on; -1: none is known
	MaxData  time.Duration   `json:"maxData,omitempty"` // the largest of all looks in this configuration
	Looks    int             `json:"looks,omitempty"`   // at which it was known
}

// timeMethod calls the method of Timekeeper; found is false for other methods.
func timeMethod(ctx context.Context, c Control, req Request) (result any, found bool, err error) {
	if req.Method != MethodRT && req.Method != MethodCalibrate {
		return nil, false, nil
	}
	k, ok := c.(Timekeeper)
	if !ok {
		return nil, true, fmt.Errorf("%s: this machine measures no tasks", req.Method)
	}
	if req.Method == MethodCalibrate {
		var p CalibrateRequest
		if err := parameters(req, &p); err != nil {
			return nil, true, err
		}
		result, err = k.Calibrate(ctx, p)
		return result, true, err
	}
	var p RTRequest
	if err := parameters(req, &p); err != nil {
		return nil, true, err
	}
	result, err = k.RT(p)
	return result, true, err
}

// RT asks how tasks do.
func (c *Client) RT(ctx context.Context, r RTRequest) (RTReply, error) {
	var out RTReply
	err := c.Call(ctx, MethodRT, r, &out)
	return out, err
}

// WriteMetrics writes what was measured in the OpenMetrics text format 1.0,
// without the end mark.
func (r RTReply) WriteMetrics(w io.Writer) {
	seconds := func(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'g', -1, 64) }
	for _, m := range []struct {
		name, kind, help string
		value            func(*RTTask) string
	}{
		{"instar_task_jobs", "counter", "Jobs that have ended.", func(t *RTTask) string { return fmt.Sprint(t.Jobs) }},
		{"instar_task_misses", "counter", "Jobs that took longer than their deadline.", func(t *RTTask) string { return fmt.Sprint(t.Misses) }},
		{"instar_task_beyond_bound", "counter", "Jobs that took longer than the proven bound.", func(t *RTTask) string { return fmt.Sprint(t.Beyond) }},
		{"instar_task_overruns", "counter", "Jobs that computed longer than the declared wcet.", func(t *RTTask) string { return fmt.Sprint(t.Overruns) }},
		{"instar_task_preemptions", "counter", "Times that the task was preempted.", func(t *RTTask) string { return fmt.Sprint(t.Preempted) }},
		{"instar_task_migrations", "counter", "Times that the task changed its processor.", func(t *RTTask) string { return fmt.Sprint(t.Migrated) }},
		{"instar_task_bound_seconds", "gauge", "Proven longest response time.", func(t *RTTask) string { return seconds(t.Bound) }},
		{"instar_task_deadline_seconds", "gauge", "Declared deadline.", func(t *RTTask) string { return seconds(t.Deadline) }},
		{"instar_task_response_max_seconds", "gauge", "Longest response time.", func(t *RTTask) string { return seconds(t.MaxResponse) }},
		{"instar_task_latency_max_seconds", "gauge", "Longest time from being ready to running.", func(t *RTTask) string { return seconds(t.MaxLatency) }},
		{"instar_task_jitter_max_seconds", "gauge", "Largest deviation from the period.", func(t *RTTask) string { return seconds(t.MaxJitter) }},
		{"instar_task_exec_max_seconds", "gauge", "Longest computation of a job.", func(t *RTTask) string { return seconds(t.MaxExec) }},
	} {
		suffix := ""
		if m.kind == "counter" {
			suffix = "_total"
		}
		fmt.Fprintf(w, "# TYPE %s %s\n# HELP %s %s\n", m.name, m.kind, m.name, m.help)
		for i := range r.Tasks {
			fmt.Fprintf(w, "%s%s{task=%q} %s\n", m.name, suffix, r.Tasks[i].Task, m.value(&r.Tasks[i]))
		}
	}
	r.writeHistograms(w, seconds)
}

func (r RTReply) writeHistograms(w io.Writer, seconds func(time.Duration) string) {
	for _, h := range []struct {
		name, help string
		of         func(*RTTask) ([]uint32, func(int) time.Duration, time.Duration)
	}{
		{"instar_task_response_seconds", "Response times.", func(t *RTTask) ([]uint32, func(int) time.Duration, time.Duration) {
			return t.Responses, func(i int) time.Duration { return t.Scale * time.Duration(i+1) }, t.SumResponse
		}},
		{"instar_task_latency_seconds", "Times from being ready to running.", func(t *RTTask) ([]uint32, func(int) time.Duration, time.Duration) {
			return t.Latencies, func(i int) time.Duration { return time.Duration(math.Ldexp(1, i+1)) }, t.SumLatency
		}},
	} {
		fmt.Fprintf(w, "# TYPE %s histogram\n# HELP %s %s\n", h.name, h.name, h.help)
		for i := range r.Tasks {
			t := &r.Tasks[i]
			buckets, end, sum := h.of(t)
			var count uint64
			for j, n := range buckets {
				if count += uint64(n); n > 0 && j < len(buckets)-1 {
					fmt.Fprintf(w, "%s_bucket{task=%q,le=%q} %d\n", h.name, t.Task, seconds(end(j)), count)
				}
			}
			fmt.Fprintf(w, "%s_bucket{task=%q,le=\"+Inf\"} %d\n%s_sum{task=%q} %s\n%s_count{task=%q} %d\n",
				h.name, t.Task, count, h.name, t.Task, seconds(sum), h.name, t.Task, count)
		}
	}
}

// MethodCalibrate measures what the kernel takes on a processor, above all
// tasks: CalibrateRequest; Result is a Calibration.
const MethodCalibrate = "calibrate"

// CalibrateRequest says where and for how long.
type CalibrateRequest struct {
	CPU int           `json:"cpu"`
	For time.Duration `json:"for"`
}

// Calibration is what the kernel was seen to take.
type Calibration struct {
	CPU     int       `json:"cpu"`
	Time    time.Time `json:"time"` // by the machine's clock
	Kernel  string    `json:"kernel"`
	Machine string    `json:"machine"` // its processor's model
	Latency Longest   `json:"latency"` // from a timer's instant to the thread's running
	Switch  Longest   `json:"switch"`  // of a context switch, with the system call that leads to it
	Release Longest   `json:"release"` // taken of what runs by a job that does nothing

	// What the kernel's own tracers saw, where it has them; else there are no samples.
	Timer  Longest `json:"timer"`  // timerlat: from a timer's instant to its interrupt
	Thread Longest `json:"thread"` // timerlat: to the running of its thread
	Noise  Longest `json:"noise"`  // osnoise: of an interruption of what computes

	Untraced string `json:"untraced,omitempty"` // why a tracer that the kernel has could not be used
}

// Longest is a time that was measured many times.
type Longest struct {
	Max     time.Duration `json:"max"`
	Mean    time.Duration `json:"mean"`
	Samples int           `json:"samples"`
}

// Calibrate measures what the kernel takes.
func (c *Client) Calibrate(ctx context.Context, r CalibrateRequest) (Calibration, error) {
	var out Calibration
	err := c.Call(ctx, MethodCalibrate, r, &out)
	return out, err
}
