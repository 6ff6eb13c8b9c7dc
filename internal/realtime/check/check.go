// Package check verifies the certificates of realtime.Analyse. It shares
// nothing with the analysis but the types: a response-time bound is verified by
// putting its busy window and the ends of its jobs into the inequalities that
// they must satisfy, a demand verdict by summing the demand at its points, a
// refusal by repeating the steps to the late job. It searches for nothing.
package check

import (
	"fmt"
	"math/big"
	"slices"

	"github.com/instar-os/instar/internal/realtime"
)

// Report verifies all verdicts of a report over a set.
func Report(of *realtime.Set, r *realtime.Report) error {
	s := &set{Set: of, plain: r.Plain}
	s.hold()
	holds := len(r.Tasks) == len(s.Tasks)
	for i := range r.Tasks {
		if err := s.grounded(&r.Tasks[i]); err != nil {
			return err
		}
		if err := task(s, r, &r.Tasks[i]); err != nil {
			return fmt.Errorf("task %s: %w", r.Tasks[i].Task, err)
		}
		holds = holds && r.Tasks[i].Holds
	}
	if holds != r.Holds {
		return fmt.Errorf("the report says %v, its tasks %v", r.Holds, holds)
	}
	return nil
}

// set is a set, with the processors on which suspensions count as computing.
type set struct {
	*realtime.Set
	plain []int
	held  map[int]int64 // of processors with tasks that suspend themselves: the longest blocking of any
}

func (s *set) hold() {
	s.held = map[int]int64{}
	for i := range s.Tasks {
		if s.Tasks[i].Suspension > 0 {
			s.held[s.Tasks[i].CPU] = 0
		}
	}
	for i := range s.Tasks {
		if most, ok := s.held[s.Tasks[i].CPU]; ok {
			s.held[s.Tasks[i].CPU] = max(most, blocking(s, &s.Tasks[i]))
		}
	}
}

// inOrder says that jobs of a task never wait for one of its own, so that they
// run in the order in which they and its equals' become ready.
func (s *set) inOrder(t *realtime.Task) bool {
	return due(t) <= t.Period && !slices.Contains(s.plain, t.CPU)
}

func (s *set) equals(t *realtime.Task) bool {
	return t.Policy != realtime.Deadline && slices.ContainsFunc(s.Tasks, func(o realtime.Task) bool {
		return o.Name != t.Name && o.CPU == t.CPU && rank(&o) == rank(t)
	})
}

// grounded refuses a verdict that rests on a task which suspends itself, counts
// as deferred, and does not meet its own deadline, or on one with equals that is
// late.
func (s *set) grounded(v *realtime.Response) error {
	for i := range s.Tasks {
		t := &s.Tasks[i]
		if t.Name == v.Task && (t.Suspension > 0 || s.equals(t)) && !v.Holds && !slices.Contains(s.plain, t.CPU) {
			return fmt.Errorf("verdicts of CPU %d rest on task %s, which does not meet its deadline", t.CPU, t.Name)
		}
	}
	return nil
}

func n(v int64) *big.Int { return big.NewInt(v) }

// sum is exact, whatever the numbers.
type sum struct{ big.Int }

func (s *sum) add(count, cost int64) { s.Add(&s.Int, new(big.Int).Mul(n(count), n(cost))) }
func (s *sum) atMost(v int64) bool   { return s.Cmp(n(v)) <= 0 }

func ceil(a, b int64) int64 { return -floor(-a, b) }

func floor(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

func due(t *realtime.Task) int64 {
	if t.Deadline > 0 {
		return t.Deadline
	}
	return t.Period
}

// least is what is supplied at least in an interval of that length: nothing in
// the longest gap, then the budget and the rest of each period.
func (s *set) least(length int64) int64 {
	p := &s.Supply
	if p.Budget == p.Period {
		return length
	}
	by := p.Deadline
	if by == 0 {
		by = p.Period
	}
	gap := p.Period - p.Budget + by - p.Budget
	if p.Slot {
		gap = p.Period - p.Budget
	}
	left, sum := length-gap, int64(0)
	if left > 0 {
		sum, left = left/p.Period*p.Budget, left%p.Period
	}
	return sum + min(max(left, 0), p.Budget)
}

// until is the shortest interval with that much supply.
func (s *set) until(work int64) int64 {
	low, high := int64(0), int64(1)<<61
	for low < high {
		if mid := (low + high) / 2; s.least(mid) >= work {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return low
}

func rank(t *realtime.Task) int {
	if t.Policy == realtime.Deadline {
		return 100
	}
	return t.Priority
}

// cost returns a job's cost for itself and for others, and the jitter that
// others see.
func cost(s *set, t *realtime.Task) (own, other, jitter int64) {
	c := t.WCET + 2*s.Overheads.Switch + s.Overheads.Release
	for _, x := range t.Sections {
		c += s.elsewhere(t, x)
	}
	own = c + t.Suspension + int64(t.Suspensions)*s.held[t.CPU] // it may be blocked anew after each
	if t.Suspension == 0 {
		return c, c, t.Jitter
	}
	if t.Policy != realtime.Deadline && due(t) <= t.Period && !slices.Contains(s.plain, t.CPU) {
		return own, c, t.Jitter + max(due(t)-c, 0)
	}
	return own, own, t.Jitter
}

// elsewhere is how long a task may wait for a section's resource that tasks of
// other processors lock: for the longest section of each.
func (s *set) elsewhere(t *realtime.Task, c realtime.Section) int64 {
	if s.Protocol != realtime.Spinning {
		return 0
	}
	longest := map[int]int64{}
	for i := range s.Tasks {
		for _, o := range s.Tasks[i].Sections {
			if cpu := s.Tasks[i].CPU; o.Resource == c.Resource && cpu != t.CPU {
				longest[cpu] = max(longest[cpu], o.Length)
			}
		}
	}
	var sum int64
	for _, l := range longest {
		sum += l
	}
	return sum
}

func task(s *set, r *realtime.Report, v *realtime.Response) error {
	i := slices.IndexFunc(s.Tasks, func(t realtime.Task) bool { return t.Name == v.Task })
	if i < 0 {
		return fmt.Errorf("the set has no such task")
	}
	t := &s.Tasks[i]
	if b := blocking(s, t); v.Blocking < b {
		return fmt.Errorf("blocking of %d ns; it can be %d", v.Blocking, b)
	}
	if v.Deadline != due(t) || v.Holds && v.Bound > v.Deadline {
		return fmt.Errorf("a bound of %d ns for a deadline of %d", v.Bound, due(t))
	}
	if t.Policy == realtime.Deadline {
		k := slices.IndexFunc(r.Demands, func(d realtime.Demand) bool { return d.CPU == t.CPU })
		if k < 0 || v.Holds && !r.Demands[k].Holds {
			return fmt.Errorf("no demand of CPU %d proves it", t.CPU)
		}
		return demand(s, &r.Demands[k])
	}
	switch {
	case v.Phases != nil:
		return phases(s, t, v)
	case !v.Holds:
		return late(s, t, v)
	}
	return window(s, t, v)
}

// busy adds what is done for a task before w, when its job is ready at x; with x
// negative, what a busy window of length w holds.
func busy(s *set, t *realtime.Task, blocking, w, x int64) *sum {
	total := new(sum)
	total.add(1, blocking)
	for i := range s.Tasks {
		o := &s.Tasks[i]
		own, other, jitter := cost(s, o)
		turns := t.Policy == realtime.RoundRobin || t.Suspension > 0
		switch {
		case o.CPU != t.CPU || rank(o) < rank(t):
		case o.Name == t.Name && x < 0:
			total.add(ceil(w, t.Period), own)
		case o.Name == t.Name:
			total.add(floor(x, t.Period)+1, own)
		case rank(o) == rank(t) && x >= 0 && !turns && s.inOrder(o):
			total.add(floor(x+jitter, o.Period)+1, other)
		default:
			total.add(ceil(w+jitter, o.Period), other)
		}
	}
	return total
}

// window verifies that the busy window ends, that the certificate has every
// moment of it that can bind, and that the job of each has ended in time.
func window(s *set, t *realtime.Task, v *realtime.Response) error {
	if v.Window <= 0 || !busy(s, t, v.Blocking, v.Window, -1).atMost(s.least(v.Window)) {
		return fmt.Errorf("a busy window of %d ns does not end", v.Window)
	}
	ready := map[int64]bool{}
	for _, j := range v.Jobs {
		ready[j.Ready] = true
		if !busy(s, t, v.Blocking, j.End, j.Ready).atMost(s.least(j.End)) || j.End-j.Ready+t.Jitter > v.Bound {
			return fmt.Errorf("the job that is ready at %d does not end by %d, or not within the bound", j.Ready, j.End)
		}
	}
	for i := range s.Tasks {
		o := &s.Tasks[i]
		if o.CPU != t.CPU || rank(o) != rank(t) {
			continue
		}
		_, _, jitter := cost(s, o)
		if o.Name == t.Name {
			jitter = 0
		}
		for x := ceil(jitter, o.Period)*o.Period - jitter; x < v.Window; x += o.Period {
			if !ready[x] && (o.Name == t.Name || t.Policy == realtime.FIFO && t.Suspension == 0 && s.inOrder(o)) {
				return fmt.Errorf("the certificate says nothing of a job that is ready at %d", x)
			}
		}
	}
	return nil
}

// late verifies a refusal: each step holds no less than the one before needs,
// so the late job cannot end earlier. A refusal without a job proves nothing and
// is taken: it is on the safe side.
func late(s *set, t *realtime.Task, v *realtime.Response) error {
	if len(v.Jobs) == 0 {
		return nil
	}
	j := v.Jobs[v.Critical]
	last := int64(0)
	for _, step := range j.Steps {
		if need := busy(s, t, v.Blocking, last, j.Ready); need.atMost(s.least(step - 1)) {
			return fmt.Errorf("the step to %d does not follow from the one to %d", step, last)
		}
		last = step
	}
	if last-j.Ready+t.Jitter <= v.Deadline {
		return fmt.Errorf("the steps end at %d, which is not late", last)
	}
	return nil
}

// demand verifies the points of a demand verdict: at each no more is due than
// there is time, and between two of them no deadline can be the first that fails.
func demand(s *set, d *realtime.Demand) error {
	if !d.Holds {
		if d.Need > 0 && (d.Need <= s.least(d.At) || needs(s, d.CPU, d.At).Cmp(n(d.Need)) != 0) {
			return fmt.Errorf("the demand of [0, %d] is not %d", d.At, d.Need)
		}
		return nil // undecided, which is on the safe side
	}
	if !ends(s, d.CPU, d.Window) {
		return fmt.Errorf("deadlines after %d ns can be the first to be missed", d.Window)
	}
	next := before(s, d.CPU, d.Window+1)
	for _, p := range d.Points {
		if p.T < next || p.Need > s.least(p.T) || !needs(s, d.CPU, p.T).atMost(p.Need) {
			return fmt.Errorf("the demand of [0, %d] is not shown to be at most %d", p.T, p.Need)
		}
		next = max(before(s, d.CPU, s.until(p.Need)), before(s, d.CPU, step(s, d.CPU, p.T)))
	}
	if next >= 0 {
		return fmt.Errorf("nothing is said of deadlines up to %d", next)
	}
	return nil
}

// deadlines calls f for the deadline tasks of a CPU.
func deadlines(s *set, cpu int, f func(t *realtime.Task, own int64)) {
	for i := range s.Tasks {
		if t := &s.Tasks[i]; t.CPU == cpu && t.Policy == realtime.Deadline {
			own, _, _ := cost(s, t)
			f(t, own)
		}
	}
}

func level(t *realtime.Task) int64 { return due(t) - t.Jitter }

// step returns the highest level up to t: there blocking changes.
func step(s *set, cpu int, t int64) int64 {
	last := int64(0)
	deadlines(s, cpu, func(o *realtime.Task, _ int64) {
		if level(o) <= t {
			last = max(last, level(o))
		}
	})
	return last
}

// waiting bounds the blocking of jobs with a level of at least from.
func waiting(s *set, cpu int, from int64) int64 {
	most := int64(0)
	deadlines(s, cpu, func(o *realtime.Task, _ int64) {
		if level(o) >= from {
			most = max(most, blocking(s, o))
		}
	})
	return most
}

func needs(s *set, cpu int, t int64) *sum {
	total := new(sum)
	total.add(1, waiting(s, cpu, step(s, cpu, t)))
	deadlines(s, cpu, func(o *realtime.Task, own int64) {
		total.add(max(floor(t+o.Jitter-due(o), o.Period)+1, 0), own)
	})
	return total
}

// before returns the last deadline before t, -1 for none.
func before(s *set, cpu int, t int64) int64 {
	last := int64(-1)
	deadlines(s, cpu, func(o *realtime.Task, _ int64) {
		if k := floor(t-1+o.Jitter-due(o), o.Period); k >= 0 {
			last = max(last, k*o.Period+due(o)-o.Jitter)
		}
	})
	return last
}

// ends says that deadlines after w need not be looked at: a busy window is over
// by then, or what the processor has to spare has made up for everything.
func ends(s *set, cpu int, w int64) bool {
	total := new(sum)
	total.add(1, waiting(s, cpu, 0))
	late, spare, latest := new(big.Rat).SetInt64(waiting(s, cpu, 0)), big.NewRat(1, 1), int64(0)
	deadlines(s, cpu, func(o *realtime.Task, own int64) {
		total.add(ceil(w+o.Jitter, o.Period), own)
		share := big.NewRat(own, o.Period)
		spare.Sub(spare, share)
		late.Add(late, share.Mul(share, new(big.Rat).SetInt64(max(o.Period-due(o)+o.Jitter, 0))))
		latest = max(latest, due(o))
	})
	return w > 0 && total.atMost(s.least(w)) || s.Supply.Budget == s.Supply.Period && w >= latest && spare.Sign() > 0 && late.Cmp(spare.Mul(spare, new(big.Rat).SetInt64(w))) <= 0
}

// blocking bounds how long less urgent tasks keep a task waiting.
func blocking(s *set, t *realtime.Task) int64 {
	both := func(o *realtime.Task) bool { return t.Policy == realtime.Deadline && o.Policy == realtime.Deadline }
	under := func(o *realtime.Task) bool {
		return both(o) && o.Name != t.Name && due(o) > level(t) || rank(o) < rank(t)
	}
	over := func(o *realtime.Task) bool { return both(o) && level(o) <= level(t) || !both(o) && rank(o) >= rank(t) }
	wanted, longest := map[string]bool{}, map[string]int64{}
	var stiff, most, byTask, byResource int64
	for i := range s.Tasks {
		if o := &s.Tasks[i]; o.CPU == t.CPU && over(o) {
			for _, c := range o.Sections {
				wanted[c.Resource] = true
			}
		}
	}
	for i := range s.Tasks {
		o := &s.Tasks[i]
		if o.CPU != t.CPU || !under(o) {
			continue
		}
		stiff = max(stiff, o.NonPreemptive)
		for _, c := range o.Sections {
			if wait := s.elsewhere(o, c); wait > 0 {
				stiff = max(stiff, c.Length+wait)
			}
		}
		its := int64(0)
		for _, c := range o.Sections {
			if wanted[c.Resource] {
				its, longest[c.Resource] = max(its, c.Length), max(longest[c.Resource], c.Length)
			}
		}
		most, byTask = max(most, its), byTask+its
	}
	for _, l := range longest {
		byResource += l
	}
	if s.Protocol != realtime.Inheritance && s.Protocol != "" {
		return max(stiff, most)
	}
	return stiff + min(byTask, byResource)
}
