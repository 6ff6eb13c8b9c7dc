package boot

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/system"
)

// napping is a configuration of containers that do nothing.
func napping(image system.Object) []system.Configuration {
	var list []system.Container
	for _, name := range []string{"one", "two"} {
		c := guest(image, name, "deaf")
		c.Stop.Signal = 9
		list = append(list, c)
	}
	return []system.Configuration{{Name: "day", Fallback: true, Containers: list}}
}

// supervisor returns the PID, as we see it, of the machine's first process.
func (r *run) supervisor(t *testing.T) int {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", r.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, _ := os.ReadFile(f)
		for _, field := range strings.Fields(string(b)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	t.Fatal("no supervisor")
	return 0
}

// status returns a field of /proc/PID/status, summed over all threads.
func status(t *testing.T, pid int, field string) (sum int) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // the thread has ended
		}
		for line := range strings.Lines(string(b)) {
			if v, ok := strings.CutPrefix(line, field+":"); ok {
				n, err := strconv.Atoi(strings.Fields(v)[0])
				if err != nil {
					t.Fatal(err)
				}
				sum += n
			}
		}
	}
	return sum
}

func threads(t *testing.T, pid int) int {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// resident returns the memory of a process in KiB.
func resident(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(b))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize() / 1024
}

// holds says what a supervisor holds that it could forget to give back.
func (r *run) holds(t *testing.T, pid int) string {
	t.Helper()
	proc := fmt.Sprintf("/proc/%d/", pid)
	fds, err := os.ReadDir(proc + "fd")
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, fd := range fds {
		to, _ := os.Readlink(proc + "fd/" + fd.Name())
		kind, _, _ := strings.Cut(to, ":")
		kinds[kind]++
	}
	mounts, err := os.ReadFile(proc + "mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	groups, err := filepath.Glob(fmt.Sprintf("/sys/fs/cgroup/*/instar-%d/*/cgroup.procs", r.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	places, err := filepath.Glob(proc + "root" + filepath.Join(r.dir, "state/run/containers/*"))
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("descriptors %v, %d mounts, %d cgroups, %d places", kinds, strings.Count(string(mounts), "\n"), len(groups), len(places))
}

// TestThousandRestarts starts and stops a container a thousand times through
// the control socket: the supervisor holds afterwards what it held before, and
// its memory is flat.
func TestThousandRestarts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("making containers needs root")
	}
	w := &world{dir: t.TempDir()}
	w.fill(t, nil, napping)
	r := w.start(t, build(t, "../../../cmd/instar-init"), "day")
	r.healthy(t)
	pid := r.supervisor(t)
	restart := func(n int) {
		for range n {
			if err := r.client.Restart(context.Background(), "one"); err != nil {
				t.Fatal(err)
			}
		}
	}
	cycles := 1000
	if testing.Short() {
		cycles = 50
	}
	restart(100)
	time.Sleep(200 * time.Millisecond)
	before, memory, running := r.holds(t, pid), resident(t, pid), threads(t, pid)
	restart(cycles)
	time.Sleep(200 * time.Millisecond)
	if after := r.holds(t, pid); after != before {
		t.Errorf("%s before, %s after", before, after)
	}
	after := resident(t, pid)
	t.Logf("%s; resident %d KiB, after %d restarts %d; threads %d, %d", before, memory, cycles, after, running, threads(t, pid))
	if after > memory+2<<10 {
		t.Errorf("resident memory grew from %d to %d KiB", memory, after)
	}
}

// TestIdle holds that a supervisor with nothing to do does nothing, in little
// memory.
func TestIdle(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("making containers needs root")
	}
	w := &world{dir: t.TempDir()}
	w.fill(t, nil, napping)
	r := w.start(t, build(t, "../../../cmd/instar-init"), "day")
	r.healthy(t)
	pid := r.supervisor(t)
	// What a start leaves to do, as a garbage collection, ends; on a busy machine
	// it takes its time. What wakes up by a clock of its own is never done.
	fewest := math.MaxInt
	for deadline := time.Now().Add(3 * time.Minute); fewest > 0 && time.Now().Before(deadline); {
		running, before := threads(t, pid), status(t, pid, "voluntary_ctxt_switches")
		time.Sleep(3 * time.Second)
		n := status(t, pid, "voluntary_ctxt_switches") - before
		if threads(t, pid) == running { // one that ended took its count along
			fewest = min(fewest, n)
		}
	}
	kib := resident(t, pid)
	t.Logf("resident %d KiB, %d wake-ups in 3 s", kib, fewest)
	if fewest != 0 {
		t.Errorf("%d wake-ups in 3 s\n%s", fewest, wakers(pid))
	}
	if kib > 12<<10 {
		t.Errorf("resident %d KiB, more than 12 MiB", kib)
	}
}

// wakers says what the threads of a process that wake up wait for, in between.
func wakers(pid int) string {
	var out strings.Builder
	for range 5 {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", pid))
		for _, f := range files {
			call, _ := os.ReadFile(f)
			st, _ := os.ReadFile(filepath.Join(filepath.Dir(f), "status"))
			_, switches, _ := strings.Cut(string(st), "\nvoluntary_ctxt_switches:\t")
			fmt.Fprintf(&out, "%s: %s times, now in %s\n", filepath.Base(filepath.Dir(f)), strings.Fields(switches + " ?")[0], strings.TrimSpace(string(call)))
		}
		time.Sleep(200 * time.Millisecond)
	}
	return out.String()
}

// TestOutputByName holds that a program may open its output again, whoever it
// runs as.
func TestOutputByName(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("making containers needs root")
	}
	w := &world{dir: t.TempDir()}
	w.fill(t, nil, func(image system.Object) []system.Configuration {
		somebody, root := guest(image, "somebody", "reopen"), guest(image, "root", "reopen")
		root.UID, root.GID = 0, 0
		somebody.Stop.Signal, root.Stop.Signal = 9, 9
		return []system.Configuration{{Name: "day", Fallback: true, Containers: []system.Container{somebody, root}}}
	})
	r := w.start(t, build(t, "../../../cmd/instar-init"), "day")
	r.healthy(t)
	for range 100 {
		text := r.console.String()
		if strings.Contains(text, "somebody: by its name <nil>") && strings.Contains(text, "root: by its name <nil>") {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error("a container could not open its output by name")
}
