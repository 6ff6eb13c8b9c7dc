package crashtest_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/instar-os/instar/internal/crashtest"
)

func scenarios() []*crashtest.Scenario {
	var all []*crashtest.Scenario
	for _, list := range [][]*crashtest.Scenario{fileScenarios(), storeScenarios(), volumeScenarios(), diskScenarios(), recordScenarios(), updateScenarios()} {
		all = append(all, list...)
	}
	return all
}

// covered are calls that may be left out without anything to show, and why they
// stand there nevertheless.
var covered = []struct{ site, why string }{
	{"fsync directory at durable.FS.SyncDir < durable.FS.MkdirAll < store.(*Store).create", "the first commit's syncfs covers a new store's directories; MkdirAll syncs for those who have no syncfs to come"},
	{"fsync at durable.(*File).Sync < durable.(*Pending).Commit < durable.FS.WriteFile < update.(*receiver).begin", kept},
	{"fsync directory at durable.FS.SyncDir < durable.(*Pending).Commit < durable.FS.WriteFile < update.(*receiver).begin", kept},
	{"rename at durable.FS.Move < durable.(*Pending).Commit < durable.FS.WriteFile < update.(*receiver).begin", kept},
	{"fsync directory at durable.FS.SyncDir < durable.FS.MkdirAll < update.(*receiver).begin", kept},
	{"fsync directory at durable.FS.SyncDir < durable.(*Pending).Commit < update.(*receiver).part", "PutDeviceSystem's syncfs makes the name last before the system has its own"},
	{"syncfs at durable.FS.SyncFS < store.(*staging).commit < store.(*Store).Commit < update.(*receiver).stream", "PutDeviceSystem syncs once more before it names the system; a cut costs what was received"},
	{"syncfs at durable.FS.SyncFS < store.(*staging).settle < store.(*Store).PutDeviceSystem", "it waits for names that another process has made; the store's TestSystemWaitsForOthers misses it"},
	{"disk flush at pid1/data.write", "the table is written with a flush after its backup entries, before any header names the partition; write does not lean on that"},
}

const kept = "what is kept of an attempt is verified by its digest; losing it costs its bytes once more"

// full reports whether make crash runs, which tries as much as an hour allows.
func full() bool { return os.Getenv("INSTAR_CRASH") == "full" }

// reports is where reports are written; "" for nowhere.
func reports() string { return os.Getenv("INSTAR_CRASH_REPORTS") }

func TestLevel0(t *testing.T) {
	o := crashtest.Options{PerCut: 48, Again: 2000}
	some := crashtest.Options{PerCut: 10, Again: 1 << 30} // for mutants
	switch {
	case full():
		o, some = crashtest.Options{PerCut: 5000, Again: 400}, crashtest.Options{PerCut: 48, Again: 1 << 30}
	case raceEnabled:
		o.PerCut, some.PerCut = 2, 2
	}
	if n, err := strconv.ParseUint(os.Getenv("INSTAR_CRASH_SEED"), 10, 64); err == nil {
		o.Seed = n
	}
	report := &crashtest.Report{Level: "0", Options: o}
	t.Run("scenarios", func(t *testing.T) {
		var mu sync.Mutex
		for _, s := range scenarios() {
			t.Run(s.Name, func(t *testing.T) {
				t.Parallel()
				r, mutants := level0(t, s, o, some)
				mu.Lock()
				defer mu.Unlock()
				report.Scenarios = append(report.Scenarios, r)
				report.Mutants = append(report.Mutants, mutants...)
			})
		}
	})
	report.Finish()
	for _, m := range report.Mutants {
		if m.Caught {
			continue
		}
		if why := coveredBy(m.Site); why != "" {
			report.Excused = append(report.Excused, crashtest.Excuse{Site: m.Site, Why: why})
		} else if !raceEnabled {
			t.Errorf("nobody misses %v", m.Site)
		}
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

func level0(t *testing.T, s *crashtest.Scenario, o, some crashtest.Options) (*crashtest.Result, []crashtest.MutantResult) {
	r, err := crashtest.Run(s, o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Failure != nil {
		t.Error(r.Failure)
		return r, nil
	}
	if raceEnabled {
		return r, nil // what follows has no concurrency of its own
	}
	every := 2
	if full() {
		every = 1
	}
	if r.Faults, err = crashtest.Faults(s, every); err != nil {
		t.Error(err)
	}
	if strings.HasPrefix(s.Name, "record") {
		if r.Lies, err = crashtest.Lies(s); err != nil {
			t.Error(err)
		}
	}
	if strings.HasPrefix(s.Name, "update") && !full() {
		return r, nil // minutes
	}
	mutants, err := crashtest.Mutants(s, some)
	if err != nil {
		t.Error(err)
	}
	return r, mutants
}

// coveredBy returns why a call may be left out. Lines of code do not count.
func coveredBy(s crashtest.Site) string {
	words := strings.Fields(s.String())
	for i, w := range words {
		words[i], _, _ = strings.Cut(w, ":")
	}
	for _, c := range covered {
		if strings.HasPrefix(strings.Join(words, " "), c.site) {
			return c.why
		}
	}
	return ""
}
