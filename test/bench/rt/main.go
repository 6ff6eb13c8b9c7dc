// Command rt measures the analysis of tasks beside textbooks': exact response
// times of 1,000 random sets of 50 tasks at a utilisation of 0.9, by this
// repository's analysis with its certificates, by the recurrence of every book in
// Go, and by the same recurrence in Python; and the demand of 10,000 deadline
// tasks.
//
//	rt OUT.json
package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/instar-os/instar/internal/realtime"
	"github.com/instar-os/instar/internal/realtime/check"
)

//go:embed textbook.py
var script string

// Figures is what the benchmark writes. Each rate is of one thread.
type Figures struct {
	Name    string             `json:"name"`
	CPUs    int                `json:"cpus"`
	Sets    int                `json:"sets"`
	Hold    int                `json:"hold"`
	Rates   map[string]float64 `json:"setsPerSecond"`
	Ratios  map[string]float64 `json:"ratios"` // our rate over another
	Demand  float64            `json:"demandOf10000Seconds"`
	Notes   []string           `json:"notes"`
	Meets   bool               `json:"hundredTimesPython"`
	Checked float64            `json:"certificatesPerSecond"` // sets whose certificates the checker verifies
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "rt:", err)
		os.Exit(1)
	}
}

const (
	sets    = 1000
	members = 50
)

func run() error {
	if len(os.Args) != 2 {
		return errors.New("usage: rt OUT.json")
	}
	f := &Figures{Name: "rt", CPUs: runtime.NumCPU(), Sets: sets, Rates: map[string]float64{}, Ratios: map[string]float64{}, Notes: []string{
		"ours: all jobs of all busy windows, exact sums, a certificate of every bound; the textbooks: the first job of each task, up to its deadline",
		"python: the recurrence in plain Python, in the place of pyCPA and SchedCAT, which are not packaged here and do more with each task; all jobs: those of all busy windows, which is what ours answers",
		"the best of five rounds each; a round is all sets",
	}}
	all := draw()
	var ours, books []bool
	if err := f.time("ours", func() (err error) { ours, err = analyse(all); return err }); err != nil {
		return err
	}
	if err := f.time("go textbook", func() error { books = textbook(all); return nil }); err != nil {
		return err
	}
	if !slices.Equal(ours, books) {
		return errors.New("the textbook says otherwise of some set")
	}
	if err := f.python(all, ours); err != nil {
		return err
	}
	for name, rate := range f.Rates {
		if name != "ours" {
			f.Ratios[name] = f.Rates["ours"] / rate
		}
	}
	f.Meets = f.Ratios["python, all jobs"] >= 100
	if err := f.certificates(all); err != nil {
		return err
	}
	if err := f.demand(); err != nil {
		return err
	}
	text, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	fmt.Println(string(text))
	if err := os.MkdirAll(filepath.Dir(os.Args[1]), 0o755); err != nil {
		return err
	}
	return os.WriteFile(os.Args[1], append(text, '\n'), 0o644)
}

// draw makes sets whose tasks use 0.9 of a processor (Bini, Buttazzo 2005), with
// periods of 10 ms to 1 s spread evenly in their logarithm, the shortest first.
func draw() []*realtime.Set {
	r := rand.New(rand.NewPCG(1, 9))
	all := make([]*realtime.Set, sets)
	for k := range all {
		s, u := &realtime.Set{Overheads: realtime.Overheads{Measured: true}}, 0.9
		for i := range members {
			next := 0.0
			if i < members-1 {
				next = u * math.Pow(r.Float64(), 1/float64(members-1-i))
			}
			period := realtime.Time(1e7 * math.Pow(100, r.Float64()))
			s.Tasks = append(s.Tasks, realtime.Task{Name: strconv.Itoa(i), Policy: realtime.FIFO, Period: period, WCET: max(1, realtime.Time((u-next)*float64(period)))})
			u = next
		}
		slices.SortFunc(s.Tasks, func(a, b realtime.Task) int { return int(a.Period - b.Period) })
		for i := range s.Tasks {
			s.Tasks[i].Priority = 99 - i
		}
		all[k] = s
	}
	return all
}

func (f *Figures) time(name string, round func() error) error {
	best := math.Inf(1)
	for range 5 {
		began := time.Now()
		if err := round(); err != nil {
			return err
		}
		best = min(best, time.Since(began).Seconds())
	}
	f.Rates[name] = sets / best
	return nil
}

func analyse(all []*realtime.Set) ([]bool, error) {
	out := make([]bool, len(all))
	for i, s := range all {
		r, err := realtime.Analyse(s)
		if err != nil {
			return nil, err
		}
		out[i] = r.Holds
	}
	return out, nil
}

func textbook(all []*realtime.Set) []bool {
	out := make([]bool, len(all))
	for i, s := range all {
		out[i] = true
		for k := range s.Tasks {
			t := &s.Tasks[k]
			for w := t.WCET; ; {
				next := t.WCET
				for j := range s.Tasks[:k] {
					next += (w + s.Tasks[j].Period - 1) / s.Tasks[j].Period * s.Tasks[j].WCET
				}
				if next == w || next > t.Period {
					out[i] = out[i] && next == w
					break
				}
				w = next
			}
		}
	}
	return out
}

// python runs the script over a part of the sets, which takes it long enough.
func (f *Figures) python(all []*realtime.Set, want []bool) error {
	const part = 100
	var in [][][2]int64
	for _, s := range all[:part] {
		var one [][2]int64
		for i := range s.Tasks {
			one = append(one, [2]int64{s.Tasks[i].WCET, s.Tasks[i].Period})
		}
		in = append(in, one)
	}
	text, err := json.Marshal(in)
	if err != nil {
		return err
	}
	for name, args := range map[string][]string{"python textbook": nil, "python, all jobs": {"all"}} {
		if f.Rates[name], err = snake(text, want[:part], args...); err != nil {
			return err
		}
	}
	return nil
}

// snake returns how many sets a second the script does.
func snake(text []byte, want []bool, args ...string) (float64, error) {
	best := math.Inf(1)
	for range 5 {
		cmd := exec.Command("python3", append([]string{"-c", script}, args...)...)
		cmd.Stdin, cmd.Stderr = bytes.NewReader(text), os.Stderr
		out, err := cmd.Output()
		if err != nil {
			return 0, fmt.Errorf("python3: %w", err)
		}
		var got struct {
			Seconds  float64 `json:"seconds"`
			Verdicts []bool  `json:"verdicts"`
		}
		if err := json.Unmarshal(out, &got); err != nil {
			return 0, err
		}
		if !slices.Equal(got.Verdicts, want) {
			return 0, errors.New("python says otherwise of some set")
		}
		best = min(best, got.Seconds)
	}
	return float64(len(want)) / best, nil
}

// certificates verifies those of a part of the sets.
func (f *Figures) certificates(all []*realtime.Set) error {
	const part = 50
	began := time.Now()
	for _, s := range all[:part] {
		r, err := realtime.Analyse(s)
		if err == nil {
			err = check.Report(s, r)
		}
		if err != nil {
			return err
		}
		if r.Holds {
			f.Hold++
		}
	}
	f.Hold = f.Hold * sets / part
	f.Checked = part / time.Since(began).Seconds()
	return nil
}

// demand sums what 10,000 deadline tasks with periods up to the longest that is
// taken need.
func (f *Figures) demand() error {
	r := rand.New(rand.NewPCG(7, 7))
	s := &realtime.Set{Overheads: realtime.Overheads{Measured: true}}
	for i := range realtime.MaxTasks {
		period := realtime.MaxTime/2 + r.Int64N(realtime.MaxTime/2)
		s.Tasks = append(s.Tasks, realtime.Task{Name: strconv.Itoa(i), Policy: realtime.Deadline, Period: period, WCET: period / (2 * realtime.MaxTasks)})
	}
	began := time.Now()
	report, err := realtime.Analyse(s)
	if err == nil && !report.Holds {
		err = errors.New("10,000 tasks that need half of the processor do not hold")
	}
	f.Demand = time.Since(began).Seconds()
	return err
}
