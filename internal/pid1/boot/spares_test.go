package boot

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/wire"
)

// spares waits until the machine has n spares and nothing is left to remove:
// places are those and the containers that run. One spare has a control group
// and a process that waits for its start; that of both has none, for both runs.
func (r *run) spares(t *testing.T, pid, n, runs int) {
	t.Helper()
	var names []string
	holds := ""
	for range 1000 {
		places, err := filepath.Glob(fmt.Sprintf("/proc/%d/root%s/*", pid, filepath.Join(r.dir, "state/run/containers")))
		if err != nil {
			t.Fatal(err)
		}
		groups, err := filepath.Glob(fmt.Sprintf("/sys/fs/cgroup/*/instar-%d/*/cgroup.procs", r.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		if len(places) == n+runs && len(groups) == runs+1 {
			before := holds
			if holds = r.holds(t, pid); holds == before { // the last one is made whole
				return
			}
		}
		names = append(places, groups...)
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("want %d spares beside %d containers: %q", n, runs, names)
}

// TestSwitchWithSpares switches to and fro: what comes starts in spares, there
// are new ones afterwards, and nothing piles up.
func TestSwitchWithSpares(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("making containers needs root")
	}
	w := &world{dir: filepath.Join(t.TempDir(), "store")}
	w.fill(t, nil, func(image system.Object) []system.Configuration {
		nap := func(name, arg string) system.Container {
			c := guest(image, name, "deaf", arg)
			c.Stop.Signal = 9
			return c
		}
		return []system.Configuration{
			{Name: "day", Containers: []system.Container{nap("kept", ""), nap("sun", ""), nap("both", "day")}},
			{Name: "night", Containers: []system.Container{nap("kept", ""), nap("moon", ""), nap("both", "night")}},
			{Name: "rescue", Fallback: true, Containers: []system.Container{nap("kept", "")}},
		}
	})
	r := w.start(t, build(t, "../../../cmd/instar-init"), "day")
	r.healthy(t)
	pid := r.supervisor(t)
	to := func(name string) {
		t.Helper()
		if _, err := r.client.Switch(t.Context(), wire.SwitchRequest{Configuration: name, Mode: wire.SwitchLive}); err != nil {
			t.Fatal(err)
		}
	}
	r.spares(t, pid, 2, 3)
	to("night") // the Go runtime and the launch programs are warm from here
	r.spares(t, pid, 2, 3)
	to("day")
	r.spares(t, pid, 2, 3)
	before := r.holds(t, pid)
	for range 10 {
		to("night")
		to("day") // at once: without spares, while there is something to remove
		to("night")
		r.spares(t, pid, 2, 3)
		to("day")
		r.spares(t, pid, 2, 3)
	}
	if after := r.holds(t, pid); after != before {
		t.Errorf("%s before, %s after", before, after)
	}
	if got := r.logs(t, "init"); strings.Contains(got, "spare") || strings.Contains(got, "removing") {
		t.Errorf("the log says\n%s", got)
	}
	if err := r.stop(); err != nil {
		t.Errorf("ended with %v", err)
	}
	if left := r.leftovers(t); left != "" {
		t.Errorf("left behind: %s", left)
	}
}
