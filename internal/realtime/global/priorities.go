package global

import (
	"cmp"
	"fmt"
	"slices"
)

// maxSteps of the search for one response time, over which it gives up.
const maxSteps = 1_000_000

// alone is the most that a task does in a window of length x that begins with
// one of its releases.
func (j *job) alone(x Time) Time { return add(mul(x/j.t, j.c), min(x%j.t, j.c)) }

// carried is the most that a task does in a window of length x when one of its
// jobs was released before: its last job runs at once, the one carried in as
// late as its response time allows (Guan, Stigge, Yi, Yu 2009, equation 7).
func (j *job) carried(x Time) Time {
	body := max(x-j.c, 0)
	in := min(max(body%j.t-(j.t-j.bound), 0), j.c-1)
	return add(mul(body/j.t, j.c), add(min(j.c, x), in))
}

// interference returns what more urgent tasks do in the window x of a job with
// cost c: at most one less than processors carry a job in, because the window
// begins when not all processors are busy.
func interference(above []*job, x, c Time, cpus int) Time {
	limit := x - c + 1
	var sum Time
	extra := make([]Time, 0, len(above))
	for _, j := range above {
		without, with := min(j.alone(x), limit), min(j.carried(x), limit)
		sum = add(sum, without)
		extra = append(extra, with-without)
	}
	return add(sum, largest(extra, cpus-1))
}

// respond returns the least x >= c that holds the job and what interferes with
// it; ok is false beyond the deadline.
func (j *job) respond(above []*job, cpus int) (x Time, ok bool) {
	x = j.c
	for range maxSteps {
		if x > j.d {
			return x, false
		}
		next := add(j.c, interference(above, x, j.c, cpus)/Time(cpus))
		if next <= x {
			return x, true
		}
		x = next
	}
	return 0, false
}

// priorities judges tasks of fixed priority, the most urgent first: a verdict
// rests on the response times of all that are more urgent. Equally urgent tasks
// count as more urgent to each other, with their deadlines for response times;
// their verdicts rest on each other.
func priorities(all []job, cpus int, r *Report) {
	order := make([]*job, len(all))
	index := map[*job]int{}
	for i := range all {
		order[i] = &all[i]
		index[order[i]] = i
	}
	slices.SortStableFunc(order, func(a, b *job) int { return cmp.Compare(b.priority, a.priority) })
	for from := 0; from < len(order); {
		to := from
		for to < len(order) && order[to].priority == order[from].priority {
			order[to].bound = order[to].d
			to++
		}
		if late := band(order, from, to, cpus, r, index); late != "" {
			for _, j := range order[to:] {
				r.Tasks[index[j]].Why = "not proven, because " + late + ", which is more urgent, is not"
			}
			return
		}
		from = to
	}
}

// band judges the tasks of one priority and names one that is not proven.
func band(order []*job, from, to, cpus int, r *Report, index map[*job]int) (late string) {
	bounds := make([]Time, to-from)
	for i := from; i < to; i++ {
		j := order[i]
		above := slices.Concat(order[:i:i], order[i+1:to])
		v := &r.Tasks[index[j]]
		x, ok := j.respond(above, cpus)
		if !ok {
			v.Why = fmt.Sprintf("a job may need %d ns or more, %d more than it has", x, x-j.d)
			late = j.name
			continue
		}
		bounds[i-from] = x
		v.Holds, v.By, v.Bound = true, Response, x
	}
	for i := from; i < to; i++ {
		v := &r.Tasks[index[order[i]]]
		if late != "" && v.Holds && to-from > 1 {
			*v = Verdict{Task: v.Task, Deadline: v.Deadline, Why: "not proven, because " + late + ", which is as urgent, is not"}
		}
		if late == "" {
			order[i].bound = bounds[i-from]
		}
	}
	return late
}
