package crashtest_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/crashtest"
	"github.com/instar-os/instar/internal/crashtest/fuse"
	"github.com/instar-os/instar/internal/durable"
	"github.com/instar-os/instar/internal/pid1/data"
)

// level1 are the scenarios that work on files.
func level1(all bool) []*crashtest.Scenario {
	if !all {
		return []*crashtest.Scenario{replaceRoot()}
	}
	var out []*crashtest.Scenario
	for _, list := range [][]*crashtest.Scenario{fileScenarios(), storeScenarios(), volumeScenarios(), updateScenarios()} {
		out = append(out, list...)
	}
	return out
}

func TestLevel1(t *testing.T) {
	if raceEnabled {
		t.Skip("the real file systems have no race detector")
	}
	o := crashtest.RealOptions{PerCut: 2, Every: 3, Faults: 4, Spaces: []int{0}, Fsck: 16}
	if full() {
		o = crashtest.RealOptions{PerCut: 4, Torn: true, Faults: 12, Spaces: []int{0, 4, 8, 16, 32, 64, 128, 256}, Fsck: 16}
	}
	report := &crashtest.RealReport{Options: o}
	for _, m := range crashtest.Media { // one after the other, see package fuse
		t.Run(m.Type, func(t *testing.T) {
			if why := m.Missing(); why != nil {
				t.Skip(why)
			}
			for _, s := range level1(full()) {
				o := o
				if full() && strings.HasPrefix(s.Name, "update") {
					o.Faults = 1 << 20 // each write and flush of it
				}
				report.Runs = append(report.Runs, runOn(t, s, m, o))
			}
			unsynced(t, m)
			if m.Type == "ext4" {
				report.Runs = append(report.Runs, tornSuper(t, m))
			}
		})
	}
	if dir := reports(); dir != "" {
		if err := report.Write(filepath.Join(dir, "level1")); err != nil {
			t.Error(err)
		}
	}
}

func runOn(t *testing.T, s *crashtest.Scenario, m crashtest.Medium, o crashtest.RealOptions) *crashtest.RealResult {
	t.Helper()
	r, err := crashtest.RunOn(s, m, o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Failure != "" {
		t.Errorf("%s: %s", s.Name, r.Failure)
	}
	t.Logf("%+v", *r)
	return r
}

// tornSuper tears the superblock too, as init finds it: what does not mount is
// mended, and is right then.
func tornSuper(t *testing.T, m crashtest.Medium) *crashtest.RealResult {
	o := crashtest.RealOptions{PerCut: 4, Every: 2, Torn: true, Mend: func(f fuse.File) (bool, error) { return data.Mend(f, f.Size()) }}
	if full() {
		o.PerCut, o.Every = 40, 1
	}
	m.Super = crashtest.Span{}
	s := severalWrites()
	s.Name += ", torn superblocks"
	r := runOn(t, s, m, o)
	if full() && r.Mended == 0 {
		t.Error("no superblock was torn")
	}
	return r
}

// neverSync leaves out every sync.
type neverSync struct{}

func (neverSync) Call(c durable.Call, do func() error) error {
	if slices.Contains([]durable.Op{durable.SyncOp, durable.SyncDirOp, durable.SyncFSOp}, c.Op) {
		return nil
	}
	return do()
}

// unsynced proves that the bench sees what the file system loses.
func unsynced(t *testing.T, m crashtest.Medium) {
	r, err := crashtest.RunOn(writeFile(), m, crashtest.RealOptions{Hook: neverSync{}})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(r.Failure, "acknowledged") {
		t.Errorf("without a sync nothing was lost: %+v", *r)
	}
}
