package crashtest

import (
	"cmp"
	"errors"
	"fmt"
	"hash/fnv"
	"hash/maphash"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/durable"
)

// Options say how much is tried. The zero value tries little.
type Options struct {
	Seed     uint64
	PerCut   int // states for each event; 0: 1
	Again    int // every how many different states Run is repeated, recorded, and cut again; 0: 1
	PerTwice int // states for each event of such a repetition; 0: 6
	Workers  int // 0: one a processor

	Count *atomic.Int64 `json:"-"` // counts states as they are looked at; may be nil
}

func (o Options) perCut() int { return max(o.PerCut, 1) }

func (o Options) count() {
	if o.Count != nil {
		o.Count.Add(1)
	}
}

// Result counts what was tried of a scenario.
type Result struct {
	Scenario string         `json:"scenario"`
	Events   int            `json:"events"`
	Syncs    int            `json:"syncs"`
	States   int64          `json:"states"`   // crashed states, one for each cut and choice
	Distinct int64          `json:"distinct"` // of these, different from each other: what was checked
	Again    int64          `json:"again"`    // of States, those of a second cut while what was cut first is repeated
	Outcomes map[string]int `json:"outcomes"` // of the distinct ones
	Faults   int            `json:"faults"`   // calls that were made to fail, once each way
	Lies     int            `json:"lies"`     // writes that were lost without a word
	Failure  *Failure       `json:"failure,omitempty"`
}

// Failure is a state that is not as it must be.
type Failure struct {
	Err   string   `json:"error"`
	Seed  uint64   `json:"seed"`
	Cut   int      `json:"cut"`
	State int      `json:"state"`
	Lost  []string `json:"lost"` // the smallest set of changes whose loss shows it
	Trace []string `json:"trace"`
}

func (f *Failure) Error() string {
	return fmt.Sprintf("%s\nseed %d, cut after event %d, state %d; it is enough to lose:\n  %s\noperations:\n  %s",
		f.Err, f.Seed, f.Cut, f.State, strings.Join(f.Lost, "\n  "), strings.Join(f.Trace, "\n  "))
}

// recording is a run that has been written down.
type recording struct {
	s      *Scenario
	model  *model
	start  int // the event with which all that was before is durable
	sites  map[Site]int
	calls  int
	writes int // to disks
	hit    bool
	err    error // of Run
}

// record sets a scenario up and runs it, with a mutant or a fault. check, when
// not nil, is called with what is there after the run, without a cut.
func record(s *Scenario, r *recorder, after func(e *Env, rec *recording) error) (*recording, error) {
	dir, err := Scratch()
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	r.dir, r.disks, r.sites = dir, map[string]*Disk{}, map[Site]int{}
	e := &Env{Dir: dir, FS: durable.FS{Hook: r}, rec: r, log: r.ack}
	r.model = newModel()
	if s.Setup != nil {
		if err := s.Setup(e); err != nil {
			return nil, fmt.Errorf("setting %s up: %w", s.Name, err)
		}
	}
	return r.run(s, e, after)
}

// run records Run on what is there.
func (r *recorder) run(s *Scenario, e *Env, after func(e *Env, rec *recording) error) (*recording, error) {
	m := newModel()
	r.model = m
	for name, d := range r.disks {
		d.base, d.over = d.frozen(), map[int64][]byte{}
		d.told = nil
		if r.lie > 0 {
			d.told = map[int64][]byte{}
		}
		m.disks[name] = &diskModel{base: d.base, size: d.size, sectors: map[int64]*cell{}}
	}
	if err := m.capture(r.dir); err != nil {
		return nil, err
	}
	m.sync(m.cells...)
	rec := &recording{s: s, model: m, start: m.now, sites: r.sites}
	r.on = true
	rec.err = s.Run(e)
	r.capture()
	r.on = false
	rec.calls, rec.writes, rec.hit = r.calls, r.writes, r.hit
	if r.err != nil {
		return nil, fmt.Errorf("recording %s: %w", s.Name, r.err)
	}
	if after != nil {
		return rec, after(e, rec)
	}
	return rec, nil
}

// Run records a scenario and looks at what cuts leave of it.
func Run(s *Scenario, o Options) (*Result, error) {
	rec, err := record(s, &recorder{}, nil)
	if err != nil {
		return nil, err
	}
	if rec.err != nil {
		return nil, fmt.Errorf("%s: %w", s.Name, rec.err)
	}
	x := newExplorer(rec, o)
	x.nest = true
	res := &Result{Scenario: s.Name, Events: rec.model.now - rec.start}
	for _, t := range rec.model.trace[rec.start:] {
		if strings.HasPrefix(t, "fsync") || strings.HasPrefix(t, "syncfs") || strings.HasPrefix(t, "flush") {
			res.Syncs++
		}
	}
	if err := x.explore(); err != nil {
		return nil, err
	}
	res.States, res.Distinct, res.Again, res.Outcomes, res.Failure = x.states.Load(), x.distinct.Load(), x.again.Load(), x.outcomes, x.failure
	return res, nil
}

// explorer looks at the states of a recording.
type explorer struct {
	rec  *recording
	o    Options
	seed uint64
	hash maphash.Seed
	nest bool // repeat Run on some states and cut again
	prev []string

	rerun bool // repeat Run on every state, without a second cut

	states, distinct, again atomic.Int64

	mu       sync.Mutex
	done     map[uint64]bool
	outcomes map[string]int
	failure  *Failure
	failed   atomic.Bool
	broken   error
}

func newExplorer(rec *recording, o Options) *explorer {
	h := fnv.New64a()
	h.Write([]byte(rec.s.Name))
	return &explorer{rec: rec, o: o, seed: o.Seed ^ h.Sum64(), hash: maphash.MakeSeed(), done: map[uint64]bool{}, outcomes: map[string]int{}}
}

// explore tries every prefix, in order, with many choices each, on all
// processors, until something fails.
func (x *explorer) explore() error {
	var next atomic.Int64
	next.Store(int64(x.rec.start))
	workers := x.o.Workers
	if workers == 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			if err := x.work(&next); err != nil {
				x.mu.Lock()
				x.broken = errors.Join(x.broken, err)
				x.mu.Unlock()
				x.failed.Store(true)
			}
		})
	}
	wg.Wait()
	return x.broken
}

func (x *explorer) work(next *atomic.Int64) error {
	top, err := Scratch()
	if err != nil {
		return err
	}
	defer os.RemoveAll(top)
	for !x.failed.Load() {
		at := int(next.Add(1) - 1)
		if at > x.rec.model.now {
			return nil
		}
		c := x.rec.model.cut(at)
		c.acked = append(slices.Clone(x.prev), c.acked...)
		var broken error
		c.choices(x.o.perCut(), x.seed, func(n int, ch choice) bool {
			broken = x.one(c, n, ch, top)
			return broken == nil && !x.failed.Load()
		})
		if broken != nil {
			return broken
		}
	}
	return nil
}

// one looks at one state. An error is one of the bench.
func (x *explorer) one(c *cut, n int, ch choice, top string) error {
	x.states.Add(1)
	x.o.count()
	st := c.settle(ch)
	h := st.hash(x.hash)
	x.mu.Lock()
	seen := x.done[h]
	x.done[h] = true
	x.mu.Unlock()
	if seen {
		return nil
	}
	number := x.distinct.Add(1)
	outcome, err, broken := x.check(st, top)
	if broken != nil {
		return broken
	}
	if err == nil && x.nest && number%int64(max(x.o.Again, 1)) == 0 {
		err = x.repeat(st, top)
	}
	if err == nil && x.rerun {
		err = x.rerunOn(st, top)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if err == nil {
		x.outcomes[outcome]++
		return nil
	}
	if x.failure == nil || c.at < x.failure.Cut {
		x.failed.Store(true)
		x.failure = &Failure{Err: err.Error(), Seed: x.o.Seed, Cut: c.at - x.rec.start, State: n, Lost: x.shrink(c, ch, top),
			Trace: slices.Clone(x.rec.model.trace[x.rec.start:c.at])}
	}
	return nil
}

// check writes a state out and calls Check.
func (x *explorer) check(st *settled, top string) (outcome string, err, broken error) {
	dir := filepath.Join(top, "state")
	if err := unix.Mkdir(dir, 0o755); err != nil {
		return "", nil, err
	}
	defer os.RemoveAll(dir)
	left, err := st.leave(dir)
	if err != nil {
		return "", nil, fmt.Errorf("writing a state out: %w", err)
	}
	outcome, err = x.rec.s.Check(left)
	if err != nil {
		err = errors.New(strings.ReplaceAll(err.Error(), dir+"/", ""))
	}
	if err == nil && len(x.prev) == 0 && st.c.at == x.rec.model.now && outcome != "new" {
		err = fmt.Errorf("all has been done and the state is %q", outcome)
	}
	return outcome, err, nil
}

// shrink finds a smallest set of groups that must be lost for Check to fail.
func (x *explorer) shrink(c *cut, ch choice, top string) []string {
	fails := func(ch choice) bool {
		_, err, broken := x.check(c.settle(ch), top)
		return err != nil && broken == nil
	}
	if !fails(ch) {
		return []string{"nothing: it fails only when Run is repeated"}
	}
	ch = slices.Clone(ch)
	for _, g := range c.groups {
		try := slices.Clone(ch)
		for i, p := range c.pending {
			if p.group == g {
				try[i] = c.hi[i]
			}
		}
		if fails(try) {
			ch = try
		}
	}
	for i := range ch { // and cell by cell
		if len(ch) > 200 || ch[i] == c.hi[i] {
			continue
		}
		try := slices.Clone(ch)
		if try[i] = c.hi[i]; fails(try) {
			ch = try
		}
	}
	var lost []string
	for i, p := range c.pending {
		if ch[i] != c.hi[i] {
			lost = append(lost, fmt.Sprintf("%s: version %d of %d (%s)", p.key, ch[i], c.hi[i], c.m.groups[p.group]))
		}
	}
	if len(lost) == 0 {
		lost = []string{"nothing: it fails when all lasts"}
	}
	return lost
}

// repeat runs Run on a crashed state, records it, expects it to end well, and
// looks at what cuts leave of that.
func (x *explorer) repeat(st *settled, top string) error {
	dir := filepath.Join(top, "again")
	if err := unix.Mkdir(dir, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	left, err := st.leave(dir)
	if err != nil {
		return err
	}
	r := &recorder{dir: dir, disks: left.disks, sites: map[Site]int{}}
	for _, d := range r.disks {
		d.rec = r
	}
	e := &Env{Dir: dir, FS: durable.FS{Hook: r}, rec: r, log: r.ack}
	rec, err := r.run(x.rec.s, e, nil)
	if err != nil {
		return err
	}
	if rec.err != nil {
		return fmt.Errorf("running it again after the cut: %w", rec.err)
	}
	few := x.o
	few.PerCut, few.Workers = cmp.Or(few.PerTwice, 6), 1
	y := newExplorer(rec, few)
	y.prev = left.Acked
	err = y.explore()
	x.states.Add(y.states.Load())
	x.again.Add(y.states.Load())
	x.distinct.Add(y.distinct.Load())
	x.mu.Lock()
	for k, v := range y.outcomes {
		x.outcomes[k] += v
	}
	x.mu.Unlock()
	if err == nil && y.failure != nil {
		err = fmt.Errorf("running it again after a cut, and cutting that: %w", y.failure)
	}
	return err
}

// rerunOn runs Run on a crashed state and expects it to end well.
func (x *explorer) rerunOn(st *settled, top string) error {
	dir := filepath.Join(top, "again")
	if err := unix.Mkdir(dir, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	left, err := st.leave(dir)
	if err != nil {
		return err
	}
	r := &recorder{dir: dir, disks: left.disks}
	e := &Env{Dir: dir, rec: r, log: func(what string) { left.Acked = append(left.Acked, what) }}
	if err := x.rec.s.Run(e); err != nil {
		return fmt.Errorf("running it again after the cut: %s", strings.ReplaceAll(err.Error(), dir+"/", ""))
	}
	outcome, err := x.rec.s.Check(left)
	if err == nil && outcome != "new" {
		err = fmt.Errorf("running it again after the cut ends in the state %q", outcome)
	}
	return err
}

// sortedSites returns the sites of calls that a mutant may leave out.
func (rec *recording) sortedSites() []Site {
	var out []Site
	for s := range maps.Keys(rec.sites) {
		if mutable[s.Op] {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b Site) int { return strings.Compare(a.String(), b.String()) })
	return out
}
