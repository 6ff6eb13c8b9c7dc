package crash

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/instar-os/instar/internal/crashtest/blocks"
)

// Cut names a state of a log: after Ops operations, with what was not flushed
// as the seed has it. Seed 0 keeps everything, seed 1 nothing.
type Cut struct {
	Ops  int    `json:"ops"`
	Seed uint64 `json:"seed"`
}

// State returns the disk after the cut.
func (c Cut) State(l *blocks.Log) *blocks.State {
	switch c.Seed {
	case 0:
		return l.Prefix(c.Ops)
	case 1:
		return l.Lost(c.Ops)
	}
	return l.Cut(c.Ops, c.Seed)
}

// Seen is a kind of state: all that a boot finds is the same.
type Seen struct {
	Look  *Look
	Some  []Cut // of those states, at most maxSome, whatever the order in which they were met
	Count int
}

const maxSome = 16

func (s *Seen) add(c Cut) {
	s.Count++
	i, _ := slices.BinarySearchFunc(s.Some, c, func(a, b Cut) int { return cmp.Compare(a.key(), b.key()) })
	if s.Some = slices.Insert(s.Some, i, c); len(s.Some) > maxSome {
		s.Some = s.Some[:maxSome]
	}
}

// key spreads cuts.
func (c Cut) key() uint64 { return (uint64(c.Ops)<<20 ^ c.Seed) * 0x9e3779b97f4a7c15 }

// Replay looks at a log's states from one operation to another: each cut with
// nothing lost and with everything lost, and with further seeds so that at least
// states are looked at in all. A cut where nothing waits for a flush has one
// state. judge says what a look leads to, by a word, or that it must not be.
func Replay(l *blocks.Log, from, to, states int, judge func(Cut, *Look) (string, error)) (*Result, error) {
	seeds := uint64(2)
	waiting := 0
	for n := from; n <= to; n++ {
		if l.Pending(n) > 0 {
			waiting++
		}
	}
	if waiting > 0 {
		seeds = max(seeds, uint64((states-(to-from+1))/waiting+2))
	}
	r := &Result{Seen: map[string]*Seen{}, Outcomes: map[string]int{}}
	var mu sync.Mutex
	var workers sync.WaitGroup
	work := make(chan Cut)
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			eye := NewEye()
			for c := range work {
				look, err := eye.At(c.State(l))
				outcome := "dead"
				if err == nil {
					outcome, err = judge(c, look)
				}
				mu.Lock()
				r.add(c, look, outcome, err)
				mu.Unlock()
			}
		})
	}
	for n := from; n <= to; n++ {
		last := seeds
		if l.Pending(n) == 0 {
			last = 1
		}
		for seed := range last {
			work <- Cut{n, seed}
		}
	}
	close(work)
	workers.Wait()
	if r.States == 0 {
		return r, fmt.Errorf("no states between operations %d and %d", from, to)
	}
	return r, nil
}

// Result is what a replay found.
type Result struct {
	States   int
	Outcomes map[string]int   // by what they lead to
	Seen     map[string]*Seen // by Look.Key
	Bad      []string         // states that must not be, at most maxBad
	Wrong    int              // how many those were in all
}

const maxBad = 20

func (r *Result) add(c Cut, look *Look, outcome string, err error) {
	r.States++
	r.Outcomes[outcome]++
	if err != nil {
		r.Wrong++
		if len(r.Bad) < maxBad {
			r.Bad = append(r.Bad, fmt.Sprintf("after %d operations, seed %d: %v (%+v)", c.Ops, c.Seed, err, look))
		}
		return
	}
	key := look.Key()
	if r.Seen[key] == nil {
		r.Seen[key] = &Seen{Look: look}
	}
	r.Seen[key].add(c)
}
