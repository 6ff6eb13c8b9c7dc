package crashtest_test

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/crashtest"
)

func scenarios() []*crashtest.Scenario {
	var all []*crashtest.Scenario
	for _, list := range [][]*crashtest.Scenario{fileScenarios(), storeScenarios(), volumeScenarios(), diskScenarios(), recordScenarios(), slotScenarios(), updateScenarios()} {
		all = append(all, list...)
	}
	return all
}

// covered are calls that may be left out without anything to show, and why they
// stand there nevertheless. Each stands for one call.
var covered = []struct{ site, why string }{
	{"fsync directory at durable.FS.SyncDir < durable.FS.MkdirAll < store.(*Store).create", "the first commit's syncfs covers a new store's directories; MkdirAll syncs for those who have no syncfs to come"},
	{"fsync at durable.(*File).Sync < durable.(*Pending).Commit < durable.FS.WriteFile < update.(*site).prepare", kept},
	{"fsync directory at durable.FS.SyncDir < durable.(*Pending).Commit < durable.FS.WriteFile < update.(*site).prepare", kept},
	{"rename at durable.FS.Move < durable.(*Pending).Commit < durable.FS.WriteFile < update.(*site).prepare", kept},
	{"fsync directory at durable.FS.SyncDir < durable.FS.MkdirAll < update.(*site).prepare", kept},
	{"fsync directory at durable.FS.SyncDir < durable.(*Pending).Commit < update.(*site).part", "PutDeviceSystem's syncfs makes the name last before the system has its own"},
	{"syncfs at durable.FS.SyncFS < store.(*staging).commit < store.(*Store).Commit < update.(*receiver).stream", "PutDeviceSystem syncs once more before it names the system; a cut costs what was received"},
	{"syncfs at durable.FS.SyncFS < store.(*staging).settle < store.(*Store).PutDeviceSystem", "it waits for names that another process has made; the store's TestSystemWaitsForOthers misses it"},
	{"disk flush at pid1/data.write", "the table is written with a flush after its backup entries, before any header names the partition; write does not lean on that"},
	{"disk flush at slot.Disk.fill < slot.Disk.stage < slot.Table.Stage < slot.Confirm", "Stage promises a slot that lasts; the table is written next, with a flush before the header that names it"},
	{"disk read-back at slot.reader.WriteAt < slot.Disk.fill < slot.Disk.stage < slot.Table.Stage < slot.Confirm", "the slot is read once more before the table names it"},
}

const kept = "what is kept of an attempt is verified by its digest; losing it costs its bytes once more"

// full reports whether make crash runs, which tries as much as twenty minutes
// allow.
func full() bool { return os.Getenv("INSTAR_CRASH") == "full" }

// reports is where reports are written; "" for nowhere.
func reports() string { return os.Getenv("INSTAR_CRASH_REPORTS") }

// effort is how much of level 0 is done.
type effort struct {
	states  crashtest.Options
	mutants []crashtest.Options // stages, until one shows
	faults  int                 // see crashtest.Faults
}

func efforts() effort {
	const never = 1 << 30
	e := effort{
		crashtest.Options{PerCut: 48, Again: 2000},
		[]crashtest.Options{{PerCut: 10, Again: never}, {PerCut: 150, Again: never}}, 2,
	}
	switch {
	case full():
		e = effort{
			crashtest.Options{PerCut: 10000, Again: 500},
			[]crashtest.Options{{PerCut: 10, Again: never}, {PerCut: 100, Again: never}}, 1,
		}
	case raceEnabled:
		e.states.PerCut = 2
	}
	if n, err := strconv.ParseUint(os.Getenv("INSTAR_CRASH_SEED"), 10, 64); err == nil {
		e.states.Seed = n
	}
	return e
}

// level0 is one run of the bench.
type level0 struct {
	effort
	mu     sync.Mutex
	report *crashtest.Report
	caught map[crashtest.Site]bool
	left   atomic.Int64 // scenarios
}

func TestLevel0(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // short lives on a small heap
	b := &level0{effort: efforts(), caught: map[crashtest.Site]bool{}}
	b.states.Count = new(atomic.Int64)
	b.report = &crashtest.Report{Level: "0", Options: b.states}
	stop := b.progress(t)
	t.Run("scenarios", func(t *testing.T) {
		for _, s := range scenarios() {
			b.left.Add(1)
			t.Run(s.Name, func(t *testing.T) {
				t.Parallel()
				b.run(t, s)
				b.left.Add(-1)
			})
		}
	})
	stop()
	report := b.report
	report.Finish()
	used := map[int]bool{}
	for _, m := range report.Mutants {
		if m.Caught {
			continue
		}
		c := coveredBy(m.Site)
		if c < 0 || used[c] {
			t.Errorf("nobody misses %v", m.Site)
			continue
		}
		used[c] = true
		report.Excused = append(report.Excused, crashtest.Excuse{Site: m.Site, Why: covered[c].why})
	}
	t.Logf("%d scenarios, %d states, %d of them different, %d calls failed, %d writes lost, %d mutants, %d caught",
		len(report.Scenarios), report.States, report.Distinct, report.Faults, report.Lies, len(report.Mutants), report.Caught)
	if dir := reports(); dir != "" {
		if err := report.Write(filepath.Join(dir, "level0")); err != nil {
			t.Error(err)
		}
	}
	if full() && report.States < 1e6 {
		t.Errorf("%d states; make crash promises a million", report.States)
	}
}

// progress says now and then how far a long run has come, until it is stopped.
func (b *level0) progress(t *testing.T) (stop func()) {
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		for began := time.Now(); ; {
			select {
			case <-done:
				return
			case <-time.After(20 * time.Second):
				t.Logf("%s: %d states, %d scenarios to go", time.Since(began).Round(time.Second), b.states.Count.Load(), b.left.Load())
			}
		}
	})
	return func() {
		close(done)
		running.Wait()
	}
}

func (b *level0) run(t *testing.T, s *crashtest.Scenario) {
	r, err := crashtest.Run(s, b.states)
	if err != nil {
		t.Fatal(err)
	}
	var mutants []crashtest.MutantResult
	if r.Failure != nil {
		t.Error(r.Failure)
	} else if !raceEnabled { // what follows has no concurrency of its own
		mutants = b.harm(t, s, r)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.report.Scenarios = append(b.report.Scenarios, r)
	b.report.Mutants = append(b.report.Mutants, mutants...)
}

// harm lets calls fail, loses writes, and leaves calls out.
func (b *level0) harm(t *testing.T, s *crashtest.Scenario, r *crashtest.Result) []crashtest.MutantResult {
	var err error
	if r.Faults, err = crashtest.Faults(s, b.faults); err != nil {
		t.Error(err)
	}
	if strings.HasPrefix(s.Name, "record") || strings.HasPrefix(s.Name, "slot") {
		if r.Lies, err = crashtest.Lies(s); err != nil {
			t.Error(err)
		}
	}
	if strings.HasPrefix(s.Name, "update") && !full() {
		return nil // minutes
	}
	mutants, err := crashtest.Mutants(s, b.mutants, func(site crashtest.Site) bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.caught[site]
	})
	if err != nil {
		t.Error(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range mutants {
		b.caught[m.Site] = b.caught[m.Site] || m.Caught
	}
	return mutants
}

// coveredBy returns why a call may be left out, as an index of covered, or -1.
// Lines of code do not count.
func coveredBy(s crashtest.Site) int {
	words := strings.Fields(s.String())
	for i, w := range words {
		words[i], _, _ = strings.Cut(w, ":")
	}
	site := strings.Join(words, " ")
	for i, c := range covered {
		if strings.HasPrefix(site, c.site) {
			return i
		}
	}
	return -1
}
