package realtime

import (
	"fmt"
	"math/big"
	"slices"
)

// Demand is the verdict over the deadline tasks of one processor together, and
// its certificate.
type Demand struct {
	CPU    int     `json:"cpu"`
	Holds  bool    `json:"holds"`
	Window Time    `json:"window,omitempty"` // no deadline is missed after it when none is within it
	Points []Point `json:"points,omitempty"` // deadlines at which the demand was summed, from the last to the first
	At     Time    `json:"at,omitempty"`     // where the demand is more than the time, when it does not hold
	Need   Time    `json:"need,omitempty"`   // the demand there, with blocking
	Why    string  `json:"why,omitempty"`
}

// Point is the demand of the interval [0, T].
type Point struct {
	T    Time `json:"t"`
	Need Time `json:"need"` // of all jobs that are ready and due in it, and blocking
}

// waits is how long a job may have to wait for less urgent tasks, by its level:
// from each level on, until the next.
type waits []struct{ from, length Time }

func (b waits) at(t Time) Time {
	var w Time
	for _, s := range b {
		if s.from > t {
			break
		}
		w = s.length
	}
	return w
}

func (b waits) most() Time {
	var w Time
	for _, s := range b {
		w = max(w, s.length)
	}
	return w
}

// need returns the demand of [0, t]: the jobs that are ready and due in it.
//
// Source: Baruah, Rosier, Howell 1990; Spuri 1996 (jitter).
func need(t Time, loads []load) Time {
	var sum Time
	for i := range loads {
		l := &loads[i]
		if x := add(t, l.jitter) - l.due; x >= 0 {
			sum = add(sum, mul(x/l.period+1, l.own))
		}
	}
	return sum
}

// before returns the last deadline before t in the worst case, -1 for none.
func before(t Time, loads []load) Time {
	last := Time(-1)
	for i := range loads {
		l := &loads[i]
		if x := add(t-1, l.jitter) - l.due; x >= 0 && t > 0 {
			last = max(last, x/l.period*l.period+l.due-l.jitter)
		}
	}
	return last
}

// horizon returns a time after which no deadline is the first to be missed: the
// length of the longest busy window, or the bound that follows from what the
// processor has to spare (George, Rivierre, Spuri 1996), whichever is less. The
// window's length itself is Never when it was not found. ok is false when there
// is more to do than the processor can.
func horizon(loads []load, blocking Time) (end, window Time, ok bool) {
	in := loads[0].in
	shares := in.lack()
	var latest Time
	extra := blocking > 0 || !in.whole()
	for i := range loads {
		shares = append(shares, share{loads[i].own, loads[i].period})
		extra = extra || loads[i].jitter > 0
		latest = max(latest, loads[i].due)
	}
	switch used := compareToOne(shares); {
	case used > 0:
		return 0, Never, false
	case used == 0 && extra: // nothing makes up for it: the window never ends
		return Never, Never, true
	}
	steps := maxSteps / max(1, len(loads))
	window, ok = settle(1, &steps, func(w Time) Time {
		sum := blocking
		for i := range loads {
			sum = add(sum, mul(ceilDiv(add(w, loads[i].jitter), loads[i].period), loads[i].own))
		}
		return in.Until(sum)
	})
	if !ok {
		window = Never
	}
	if !in.whole() {
		return window, window, true
	}
	return min(max(sparing(loads, shares, blocking), latest), window), window, true
}

// sparing returns (blocking + sum of (period-due+jitter)*share) / (1 - sum of
// shares), rounded up, or Never when nothing is to spare.
func sparing(loads []load, shares []share, blocking Time) Time {
	_, high := bounds(shares)
	left := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), scale), high)
	if left.Sign() <= 0 {
		return Never
	}
	sum := new(big.Int).Lsh(big.NewInt(blocking), scale)
	var x big.Int
	for i := range loads {
		l := &loads[i]
		late := l.period - l.due + l.jitter
		if late <= 0 {
			continue
		}
		x.Lsh(big.NewInt(l.own), scale)
		x.Mul(&x, big.NewInt(late))
		x.Div(&x, big.NewInt(l.period))
		sum.Add(sum, x.Add(&x, big.NewInt(1)))
	}
	sum.Add(sum, left)
	sum.Div(sum, left)
	if !sum.IsInt64() || sum.Int64() > Never-1 {
		return Never
	}
	return sum.Int64() + 1
}

// analyseDeadlines decides whether deadline tasks meet all deadlines, by the
// processor demand at no more points than needed (QPA: Zhang, Burns 2009; with
// blocking piece by piece, as in Zhang, Burns 2013).
func analyseDeadlines(loads []load, cpu int, blocked waits) Demand {
	d := Demand{CPU: cpu}
	for i := range loads {
		if l := &loads[i]; l.due < l.jitter {
			d.Why = fmt.Sprintf("%s can be ready %d ns after its event, which is later than its deadline", l.name, l.jitter)
			return d
		}
	}
	end, _, ok := horizon(loads, blocked.most())
	switch {
	case !ok:
		d.Why = "its deadline tasks need more than the whole processor"
		return d
	case end == Never:
		d.Why = fmt.Sprintf("undecided: nothing is to spare, and the busy window does not end in %d steps", maxSteps)
		return d
	}
	d.Window = end
	steps := maxSteps / max(1, len(loads))
	for t := before(add(end, 1), loads); t >= 0; {
		if steps--; steps < 0 || len(d.Points) > maxJobs {
			d.Points, d.Why = nil, "undecided: too many deadlines have to be looked at"
			return d
		}
		n := add(need(t, loads), blocked.at(t))
		d.Points = append(d.Points, Point{t, n})
		if have := loads[0].in.Least(t); n > have {
			d.At, d.Need = t, n
			d.Why = fmt.Sprintf("%d ns of work are due within %d ns of the critical instant: %d ns too much", n, t, n-have)
			return d
		}
		// Between the time that n takes and t no more is due than at t. Where
		// blocking grows below t, the look goes on from there.
		next := before(loads[0].in.Until(n), loads)
		for _, s := range slices.Backward(blocked) {
			if s.from <= t {
				if below := before(s.from, loads); s.from > 0 && below > next {
					next = below
				}
				break
			}
		}
		t = next
	}
	d.Holds = true
	return d
}

// latest returns the longest response time of a deadline task (Spuri 1996); ok
// is false when that takes too long to find.
func (l *load) latest(others []load, window Time, blocked waits, steps *int) (bound Time, ok bool) {
	var events []Time
	for _, s := range append([]load{*l}, others...) {
		first := s.due - s.jitter - l.due // event of a job that is due with the first of s
		if k := ceilDiv(-l.jitter-first, s.period); k > 0 {
			first += mul(k, s.period)
		}
		for a := first; a < window; a = add(a, s.period) {
			if events = append(events, a); len(events) > min(maxJobs, *steps) {
				return 0, false
			}
		}
	}
	slices.Sort(events)
	for _, a := range slices.Compact(events) {
		due := a + l.due
		own := add(mul((a+l.jitter)/l.period+1, l.own), blocked.at(l.due-l.release))
		end, ok := settle(l.in.Until(own), steps, func(w Time) Time {
			sum := own
			for i := range others {
				o := &others[i]
				if x := due + o.jitter - o.due; x >= 0 {
					sum = add(sum, mul(min(ceilDiv(add(w, o.jitter), o.period), x/o.period+1), o.own))
				}
			}
			return l.in.Until(sum)
		})
		if !ok {
			return 0, false
		}
		bound = max(bound, end-a)
	}
	return bound, true
}
