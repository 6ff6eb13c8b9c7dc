package tasks

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/task"
)

// loop is the job of a process of TestMain's: some work, regularly.
func loop(name string) {
	t, err := task.Begin(name, 5*time.Millisecond)
	for err == nil {
		for n, i := 1.0, 0; i < 20_000; i++ {
			if n *= 1.0000001; n == 0 {
				panic("never")
			}
		}
		err = t.Wait()
	}
	panic(err)
}

// TestReaction runs one loop twice: as it is declared right, and with one number
// changed, so that what is measured contradicts the proof.
func TestReaction(t *testing.T) {
	needRoot(t)
	reacted := make(chan string, 100)
	s := &seen{}
	bound := system.Bound{Bound: int64(time.Hour)}
	m := &Monitor{Log: s.Log, Bound: func(string) (system.Bound, bool) { return bound, true },
		React: func(container string, v system.Violation, why string) {
			reacted <- container + " " + v.Do + " " + v.To + ": " + why
		}}
	err := m.Open()
	if errors.Is(err, unix.EPERM) || errors.Is(err, os.ErrNotExist) {
		t.Skip("this kernel lets nobody load programs, or does not describe its types: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	k := &Keeper{Log: s.Log, Watcher: m, Failed: func(_, why string) { t.Error(why) }}
	declared := system.Task{Name: "turn", Thread: "loop-of-a-test", Policy: "deadline", Runtime: int64(4 * time.Millisecond), Relative: int64(5 * time.Millisecond),
		Period: int64(5 * time.Millisecond), Deadline: int64(time.Hour), WCET: int64(time.Hour), Violation: &system.Violation{Do: "switch", To: "safe", After: 3}}

	run := func(name string, tk system.Task) (stop func()) {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "INSTAR_TEST_LOOP="+tk.Thread)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		l := k.Attach(&system.Container{Name: name, Tasks: []system.Task{tk}}, "", cmd.Process.Pid)
		return func() {
			l.End()
			cmd.Process.Kill()
			cmd.Wait()
		}
	}
	stop := run("right", declared)
	for end := time.Now().Add(time.Minute); m.Tasks()["right.turn"].Jobs < 20; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no jobs: %+v, %v", m.Tasks(), s.log)
		}
	}
	got := m.Tasks()["right.turn"]
	t.Logf("right: %d jobs, response %s, latency %s, exec %s", got.Jobs, got.MaxResponse, got.MaxLatency, got.MaxExec)
	if got.Misses+got.Beyond+got.Overruns > 0 || len(reacted) > 0 || got.MaxExec == 0 || got.MaxResponse < got.MaxExec {
		t.Errorf("%+v", got)
	}
	if a := policy(t, got.Thread); a.Policy != unix.SCHED_DEADLINE || a.Runtime != uint64(declared.Runtime) || a.Deadline != uint64(declared.Relative) {
		t.Errorf("its thread has %+v", a)
	}
	// The configuration changes, and with it what is proven.
	bound.Bound = 1
	m.Rebind()
	select {
	case why := <-reacted:
		if !strings.HasPrefix(why, "right switch safe: task right.turn took ") || !strings.Contains(why, "though no more than 1ns was proven") {
			t.Error(why)
		}
	case <-time.After(time.Minute):
		t.Error("a bound of 1 ns is never exceeded")
	}
	stop()
	bound.Bound = int64(time.Hour)

	for len(reacted) > 0 {
		<-reacted
	}
	hasty := declared
	hasty.WCET = 1
	defer run("hasty", hasty)()
	select {
	case why := <-reacted:
		if !strings.HasPrefix(why, "hasty switch safe: task hasty.turn computed ") || !strings.Contains(why, "though its wcet with overheads is 1ns") {
			t.Error(why)
		}
	case <-time.After(time.Minute):
		t.Errorf("nothing is done: %+v, %v", m.Tasks(), s.log)
	}
	if len(m.Tasks()) != 1 {
		t.Errorf("%v are measured", m.Tasks())
	}
}
