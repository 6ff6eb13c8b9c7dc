package assemble

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/realtime"
	certificate "github.com/instar-os/instar/internal/realtime/check"
	"github.com/instar-os/instar/internal/system"
)

func must(text string) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil {
		panic(err)
	}
	return d
}

func timed(wcet string) *config.Definition {
	return &config.Definition{
		RealTime: config.RealTime{CPUs: 2, Isolated: []int{1}, Overheads: config.Overheads{File: "overheads.yaml"}},
		Containers: map[string]config.Container{"loop": {Tasks: []config.Task{{
			Name: "turn", Policy: "fifo", CPU: 1, WCET: must(wcet), Period: must("10ms"), At: "instar.yaml:7"}}}},
		Configurations: map[string]config.Configuration{"day": {Containers: []string{"loop"}, Command: []string{"quiet"}}},
	}
}

func TestRealTime(t *testing.T) {
	w := newWorld(t)
	if err := os.WriteFile(filepath.Join(w.b.Dir, "overheads.yaml"), []byte("{measured: 2026-11-21, kernel: 6.12.1-rt, switch: 2us, release: 3us}"), 0o644); err != nil {
		t.Fatal(err)
	}
	confs := []system.Configuration{{Name: "day", Command: []string{"quiet"}, Containers: []system.Container{{Name: "loop"}}}}
	if err := w.b.realtime(timed("2ms"), confs, "6.12.1-rt"); err != nil {
		t.Fatal(err)
	}
	c := confs[0]
	if got := strings.Join(c.Command, " "); got != "quiet isolcpus=managed_irq,1 nohz_full=1 rcu_nocbs=1 irqaffinity=0" {
		t.Errorf("kernel arguments %s", got)
	}
	if ct := c.Containers[0]; ct.Partition != "rt-1" || len(ct.Tasks) != 1 || ct.Tasks[0].WCET != 2_007_000 {
		t.Errorf("container %+v", ct)
	}
	if len(c.RealTime.Bounds) != 1 || c.RealTime.Bounds[0].Bound != 2_007_000 || len(c.RealTime.Conditions) != 0 {
		t.Errorf("%+v", c.RealTime)
	}
	// The proof that the store keeps holds by itself.
	if err := w.b.Store.Commit(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(w.b.Store.ObjectPath(c.RealTime.Proof.Digest))
	if err != nil {
		t.Fatal(err)
	}
	var proof struct {
		Set    realtime.Set
		Report realtime.Report
	}
	if err := json.Unmarshal(data, &proof); err != nil {
		t.Fatal(err)
	}
	if err := certificate.Report(&proof.Set, &proof.Report); err != nil {
		t.Error(err)
	}

	err = w.b.realtime(timed("11ms"), confs, "6.12.1-rt")
	if err == nil || !strings.Contains(err.Error(), "instar.yaml:7: configuration day: task loop.turn: it can miss its deadline of 10ms on CPU 1") {
		t.Errorf("a task that cannot hold: %v", err)
	}
}
