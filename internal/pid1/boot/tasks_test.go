package boot

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/wire"
)

// TestTasks runs a container whose thread is a task, and one with a task that
// no kernel takes.
func TestTasks(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("namespaces need root")
	}
	w := &world{dir: t.TempDir()}
	w.fill(t, nil, func(image system.Object) []system.Configuration {
		loop, greedy := guest(image, "loop", "serve", ":8080"), guest(image, "greedy", "serve", ":8081")
		loop.Tasks = []system.Task{{Name: "main", Policy: "fifo", Priority: 7, Period: 1e9, Deadline: 1e9, WCET: 1e6}}
		greedy.Tasks = []system.Task{{Name: "all", Policy: "deadline", Runtime: 2e9, Relative: 1e9, Period: 1e9}}
		rt := &system.RealTime{Bounds: []system.Bound{{Task: "loop.main", Bound: 1e6, Exact: true}}, Conditions: []string{"the moon is full"}}
		return []system.Configuration{
			{Name: "day", Containers: []system.Container{loop, greedy}, RealTime: rt},
			{Name: "rescue", Fallback: true, Containers: []system.Container{loop}},
		}
	})
	r := w.start(t, build(t, "../../../cmd/instar-init"), "")
	ctx := t.Context()
	var st wire.Status
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		var err error
		if st, err = r.client.Status(ctx); err == nil && len(st.Containers) == 2 && st.Containers[0].PID != 0 && st.Containers[1].State == wire.Unhealthy {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%+v, %v\n%s", st, err, r.console.String())
		}
	}
	if d := st.Containers[1].Detail; !strings.Contains(d, "task greedy.all is not in time: declared: runtime 2s, deadline 1s, period 1s, which is 200.00% of CPU 0; the kernel: sched_setattr: invalid argument") {
		t.Errorf("what the kernel refuses: %s", d)
	}
	a, err := unix.SchedGetAttr(hostPID(t, r, "loop"), 0)
	if err != nil || a.Policy != unix.SCHED_FIFO || a.Priority != 7 {
		t.Errorf("its thread has %+v, %v", a, err)
	}
	rt, err := r.client.RT(ctx, wire.RTRequest{})
	if err != nil || len(rt.Tasks) != 2 || rt.Tasks[0].Bound != time.Millisecond || !rt.Tasks[0].Exact || rt.Unmeasured == "" || len(rt.Conditions) != 1 {
		t.Errorf("report %+v, %v", rt, err)
	}
	if _, err := r.client.RT(ctx, wire.RTRequest{Cost: time.Hour}); err == nil {
		t.Error("an hour of measuring is taken")
	}
	c, err := r.client.Calibrate(ctx, wire.CalibrateRequest{CPU: 0, For: 100 * time.Millisecond})
	if err != nil || c.Latency.Samples == 0 || c.Switch.Samples == 0 || c.Release.Samples == 0 || c.Kernel == "" {
		t.Errorf("calibration %+v, %v", c, err)
	}
	if _, err := r.client.Calibrate(ctx, wire.CalibrateRequest{CPU: 1000, For: 100 * time.Millisecond}); err == nil || !strings.Contains(err.Error(), "calibrating CPU 1000: running on CPU 1000: invalid argument") {
		t.Errorf("a processor that is not there: %v", err)
	}
}

// hostPID returns the process of a container as this test sees it: the machine
// has a PID namespace of its own.
func hostPID(t *testing.T, r *run, container string) int {
	t.Helper()
	list, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		env, err := os.ReadFile(fmt.Sprintf("/proc/%s/root/etc/hostname", e.Name()))
		cmd, err2 := os.ReadFile(fmt.Sprintf("/proc/%s/cmdline", e.Name()))
		if err == nil && err2 == nil && strings.TrimSpace(string(env)) == container && strings.HasPrefix(string(cmd), "/bin/guest\x00serve") {
			var pid int
			fmt.Sscan(e.Name(), &pid)
			return pid
		}
	}
	t.Fatalf("no process of %s\n%s", container, r.console.String())
	return 0
}
