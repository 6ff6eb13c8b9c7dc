package global

import (
	"fmt"
	"math"
	"math/big"
	"slices"
)

// deadlines judges deadline tasks. Each test says of a task that none of its
// jobs can be the first to be late, so a set is proven when some test says so of
// each of its tasks.
func (s *Set) deadlines(all []job, r *Report) {
	if dense(all, s.CPUs) {
		for i := range r.Tasks {
			r.Tasks[i].Holds, r.Tasks[i].By = true, Density
		}
	}
	responses(all, s.CPUs)
	proven := true
	for i := range all {
		v := &r.Tasks[i]
		switch {
		case all[i].holds:
			v.Holds, v.By, v.Bound = true, Response, all[i].bound
		case v.Holds:
		default:
			carry(all, i, s.CPUs, v)
		}
		proven = proven && v.Holds
	}
	if !proven {
		for i := range r.Tasks {
			r.Tasks[i].Bound = 0 // they rest on all others being in time
			r.Tasks[i].Late = lateness(all, i, s.CPUs)
		}
		// What is proven of one task rests on no other having been late before.
		for i := range r.Tasks {
			if v := &r.Tasks[i]; v.Holds {
				v.Holds, v.By, v.Window, v.Points, v.Why = false, "", 0, nil, "not proven, because it rests on other tasks that are not"
			}
		}
	}
}

// dense says that the sum of densities is at most m - (m-1) * the largest
// (Goossens, Funk, Baruah 2003; with constrained deadlines Bertogna 2005).
func dense(all []job, cpus int) bool {
	sum, most := new(big.Rat), new(big.Rat)
	for i := range all {
		d := frac(all[i].c, min(all[i].d, all[i].t))
		sum.Add(sum, d)
		if d.Cmp(most) > 0 {
			most = d
		}
	}
	limit := new(big.Rat).Mul(most, frac(int64(cpus-1), 1))
	limit.Sub(frac(int64(cpus), 1), limit)
	return most.Cmp(frac(1, 1)) <= 0 && sum.Cmp(limit) <= 0
}

// work is the most that a task does in any window of length x when each of its
// jobs ends its slack before its deadline (Bertogna, Cirinei 2007, equation 4).
func (j *job) work(x Time) Time {
	reach := add(x, j.d-j.c) - j.slack
	if reach < 0 {
		return 0
	}
	n := reach / j.t
	return add(mul(n, j.c), min(j.c, reach-n*j.t))
}

// within is the most that jobs of a task due no later than the job of another
// with deadline d do between that one's release and its deadline.
func (j *job) within(d Time) Time {
	n := Time(0)
	if d >= j.d {
		n = (d-j.d)/j.t + 1
	}
	return add(mul(n, j.c), min(j.c, max(d-mul(n, j.t)-j.slack, 0)))
}

// rounds of slack that are looked for; more only sharpen bounds.
const rounds = 32

// responses bounds response times; a task's slack sharpens those of others, round by round.
func responses(all []job, cpus int) {
	for range rounds {
		changed := false
		for k := range all {
			j := &all[k]
			x, ok := j.c, false
			for range maxSteps {
				if x > j.d {
					break
				}
				var sum Time
				for i := range all {
					if i != k {
						o := &all[i]
						sum = add(sum, min(o.work(x), o.within(j.d), x-j.c+1))
					}
				}
				next := add(j.c, sum/Time(cpus))
				if next <= x {
					ok = true
					break
				}
				x = next
			}
			if ok && (!j.holds || x < j.bound) {
				j.holds, j.bound, j.slack, changed = true, x, j.d-x, true
			}
		}
		if !changed {
			return
		}
	}
}

// maxPoints that one carry-in test looks at.
const maxPoints = 100_000

// carry looks at every length a of the time before a job in which all
// processors are busy (Baruah 2007): the work of jobs that can then hinder it
// must not fill all processors until it is due. That work never shrinks as a
// grows, so from each a the look goes on at the first shorter one that its work
// does not prove, as QPA does on one processor (Zhang, Burns 2009).
func carry(all []job, k, cpus int, v *Verdict) {
	j := &all[k]
	window, ok := farthest(all, j, cpus)
	if !ok {
		v.Why = "not proven: the tasks need as much as all processors, or more, so that the time to look at has no end"
		return
	}
	for a := window; a >= 0; {
		need, have := hinder(all, k, a, cpus), mul(Time(cpus), add(a, j.d-j.c+1))-1
		if v.Points = append(v.Points, Point{a, need}); need > have {
			v.Why = fmt.Sprintf("a job may be late: with all processors busy for %d ns before it, %d ns of other work may stand in its way, and %d are safe", a, need, have)
		} else if len(v.Points) > maxPoints {
			v.Why = fmt.Sprintf("undecided: more than %d instants have to be looked at", maxPoints)
		}
		if v.Why != "" {
			v.Points = nil
			return
		}
		a = min(need/Time(cpus)-(j.d-j.c)-1, a-1)
	}
	v.Holds, v.By, v.Window = true, Carry, window
}

// due is the demand of a task in a window of length x that begins with a release.
func (j *job) due(x Time) Time {
	if x < j.d {
		return 0
	}
	return mul((x-j.d)/j.t+1, j.c)
}

// dueCarried is the same with a job carried in.
func (j *job) dueCarried(x Time) Time { return add(mul(x/j.t, j.c), min(j.c, x%j.t)) }

// hinder returns how much others do while the job waits. A late job waits for at
// least one nanosecond more than it can: nobody's part of that counts for more.
func hinder(all []job, k int, a Time, cpus int) Time {
	j := &all[k]
	limit := add(a, j.d-j.c+1)
	var sum Time
	extra := make([]Time, 0, len(all))
	for i := range all {
		o := &all[i]
		x := add(a, j.d)
		without, with := min(o.due(x), limit), min(o.dueCarried(x), limit)
		if i == k {
			without, with = min(max(o.due(x)-o.c, 0), a), min(max(o.dueCarried(x)-o.c, 0), a)
		}
		sum = add(sum, without)
		extra = append(extra, max(with-without, 0))
	}
	return add(sum, largest(extra, cpus-1))
}

// farthest bounds the a that has to be looked at (Baruah 2007, theorem 3).
func farthest(all []job, j *job, cpus int) (Time, bool) {
	u := used(all)
	spare := new(big.Rat).Sub(frac(int64(cpus), 1), u)
	if spare.Sign() <= 0 {
		return 0, false
	}
	costs := make([]Time, len(all))
	sum := new(big.Rat).Mul(frac(j.d, 1), spare)
	sum.Neg(sum)
	for i := range all {
		costs[i] = all[i].c
		sum.Add(sum, new(big.Rat).Mul(frac(all[i].t-all[i].d, 1), frac(all[i].c, all[i].t)))
	}
	sum.Add(sum, frac(largest(costs, cpus-1), 1))
	sum.Add(sum, new(big.Rat).Mul(frac(int64(cpus), 1), frac(j.c, 1)))
	if sum.Sign() <= 0 {
		return 0, true
	}
	sum.Quo(sum, spare)
	q := new(big.Int).Quo(sum.Num(), sum.Denom())
	if !q.IsInt64() || q.Int64() > math.MaxInt64/4 {
		return 0, false
	}
	return q.Int64() + 1, true
}

// lateness bounds by how much a job can miss its deadline when deadlines are
// periods and the tasks do not need more than all processors (Devi, Anderson
// 2005, theorem 2). 0: not known.
func lateness(all []job, k, cpus int) Time {
	u := used(all)
	if u.Cmp(frac(int64(cpus), 1)) > 0 {
		return 0
	}
	costs, least := make([]Time, len(all)), Time(math.MaxInt64)
	shares := make([]*big.Rat, len(all))
	for i := range all {
		if all[i].d != all[i].t || all[i].c > all[i].t {
			return 0
		}
		costs[i], least, shares[i] = all[i].c, min(least, all[i].c), frac(all[i].c, all[i].t)
	}
	slices.SortFunc(shares, func(a, b *big.Rat) int { return b.Cmp(a) })
	busy := int(new(big.Int).Quo(new(big.Int).Sub(new(big.Int).Add(u.Num(), u.Denom()), big.NewInt(1)), u.Denom()).Int64()) - 1
	spare := frac(int64(cpus), 1)
	for _, x := range shares[:min(max(busy-1, 0), len(shares))] {
		spare.Sub(spare, x)
	}
	x := frac(max(largest(costs, busy)-least, 0), 1)
	x.Quo(x, spare)
	q := new(big.Int).Quo(x.Num(), x.Denom())
	if !q.IsInt64() || q.Int64() > math.MaxInt64/4 {
		return 0
	}
	return q.Int64() + 1 + all[k].c
}
