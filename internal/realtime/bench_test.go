package realtime_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	rt "github.com/instar-os/instar/internal/realtime"
)

// uunifast draws tasks whose utilisation is u together (Bini, Buttazzo 2005),
// with periods of 10 ms to 1 s spread evenly in their logarithm.
func uunifast(r *rand.Rand, n int, u float64) *rt.Set {
	s := &rt.Set{Overheads: rt.Overheads{Measured: true}}
	for i := range n {
		next := 0.0
		if i < n-1 {
			next = u * math.Pow(r.Float64(), 1/float64(n-1-i))
		}
		period := rt.Time(1e7 * math.Pow(100, r.Float64()))
		s.Tasks = append(s.Tasks, rt.Task{Name: fmt.Sprint("t", i), Policy: rt.FIFO, Period: period, WCET: max(1, rt.Time((u-next)*float64(period)))})
		u = next
	}
	slices.SortFunc(s.Tasks, func(a, b rt.Task) int { return int(b.Period - a.Period) })
	for i := range s.Tasks { // 50 tasks have 50 priorities: rate monotonic
		s.Tasks[i].Priority = 1 + i*98/n
	}
	return s
}

// textbook is response time analysis as every book has it (Joseph, Pandya 1986;
// Audsley et al. 1993): the recurrence for each task, from its cost.
func textbook(s *rt.Set) bool {
	holds := true
	for i := range s.Tasks {
		t := &s.Tasks[i]
		for w := t.WCET; ; {
			next := t.WCET
			for j := range s.Tasks {
				if h := &s.Tasks[j]; h.Priority > t.Priority {
					next += (w + h.Period - 1) / h.Period * h.WCET
				}
			}
			if next == w || next > t.Period {
				holds = holds && next == w
				break
			}
			w = next
		}
	}
	return holds
}

func sets(n int) []*rt.Set {
	r := rand.New(rand.NewPCG(1, 9))
	out := make([]*rt.Set, n)
	for i := range out {
		out[i] = uunifast(r, 50, 0.9)
	}
	return out
}

// TestTextbook compares verdicts with the textbook's.
func TestTextbook(t *testing.T) {
	held := 0
	for i, s := range sets(100) {
		r, err := rt.Analyse(s)
		if err != nil {
			t.Fatal(err)
		}
		if want := textbook(s); r.Holds != want {
			t.Errorf("set %d: holds is %v, the textbook says %v", i, r.Holds, want)
		}
		if r.Holds {
			held++
		}
	}
	if held == 0 || held == 100 {
		t.Errorf("%d of 100 sets hold: they say nothing", held)
	}
}

// BenchmarkSets analyses sets of 50 tasks at a utilisation of 0.9: exact
// response times of all jobs of all busy windows, and a certificate, beside the
// textbook's recurrence, which has neither.
func BenchmarkSets(b *testing.B) {
	all := sets(1000)
	b.Run("exact", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if _, err := rt.Analyse(all[i%len(all)]); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "sets/s")
	})
	b.Run("textbook", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			textbook(all[i%len(all)])
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "sets/s")
	})
}

// TestManyDemands sums the demand of 10,000 deadline tasks with periods up to
// the longest that is taken: nothing overflows.
func TestManyDemands(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	s := &rt.Set{Overheads: rt.Overheads{Measured: true}}
	for i := range rt.MaxTasks {
		period := rt.MaxTime/2 + r.Int64N(rt.MaxTime/2)
		s.Tasks = append(s.Tasks, rt.Task{Name: fmt.Sprint("t", i), Policy: rt.Deadline, Period: period, WCET: period / (2 * rt.MaxTasks)})
	}
	report, err := rt.Analyse(s)
	if err != nil || !report.Holds {
		t.Errorf("they do not hold: %v %v", err, report.Demands)
	}
	s.Tasks[0].WCET = s.Tasks[0].Period
	if report, err = rt.Analyse(s); err != nil || report.Holds {
		t.Errorf("more than the processor holds: %v", err)
	}
}
