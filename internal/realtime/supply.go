package realtime

import "fmt"

// Supply is a part of a processor: Budget in each Period, by Deadline after its
// begin, or in a fixed slot of it. It says what tasks inside a server, or a
// container with a budget of its own, have at least. The zero value is a whole
// processor.
//
// Sources: Shin, Lee 2003 (periodic resources); Easwaran, Anand, Lee 2007
// (explicit deadlines); Wandeler, Thiele 2006 (slots of a cycle).
type Supply struct {
	Budget   Time `json:"budget"`
	Period   Time `json:"period"`
	Deadline Time `json:"deadline,omitempty"` // 0: Period
	Slot     bool `json:"slot,omitempty"`     // the budget is one piece that always begins at the same place of the period
}

func (p *Supply) check() error {
	switch {
	case *p == Supply{}:
		return nil
	case p.Budget <= 0 || p.Period <= 0 || p.Period > MaxTime || p.Budget > p.due() || p.due() > p.Period:
		return fmt.Errorf("a supply of %d ns each %d ns by %d ns: budget <= deadline <= period, all above zero", p.Budget, p.Period, p.due())
	case p.Slot && p.Deadline != 0:
		return fmt.Errorf("a slot has no deadline")
	}
	return nil
}

func (p *Supply) due() Time {
	if p.Deadline == 0 {
		return p.Period
	}
	return p.Deadline
}

func (p *Supply) whole() bool { return p.Budget == p.Period }

// gap is the longest time without supply.
func (p *Supply) gap() Time {
	if p.Slot {
		return p.Period - p.Budget
	}
	return p.Period + p.due() - 2*p.Budget
}

// Least returns how much is supplied at least in any interval of that length.
// The longest gap comes first, then the budget each period.
func (p *Supply) Least(length Time) Time {
	if p.whole() {
		return length
	}
	x := length - p.gap()
	if x <= 0 {
		return 0
	}
	return add(mul(x/p.Period, p.Budget), min(x%p.Period, p.Budget))
}

// Until returns the shortest interval in which at least that much is supplied.
func (p *Supply) Until(work Time) Time {
	if p.whole() || work <= 0 {
		return work
	}
	periods := (work - 1) / p.Budget
	return add(add(p.gap(), mul(periods, p.Period)), work-periods*p.Budget)
}

// lack is the share of the processor that is not supplied.
func (p *Supply) lack() []share {
	if p.whole() {
		return nil
	}
	return []share{{p.Period - p.Budget, p.Period}}
}
