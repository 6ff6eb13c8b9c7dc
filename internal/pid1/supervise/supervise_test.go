package supervise

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/wire"
)

// run starts the containers in a bubble of fake time, and shuts down what the
// test leaves running.
func run(t *testing.T, does map[string]script, list []system.Container, test func(t *testing.T, w *world, s *Supervisor)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, does)
		s, err := New(&system.Configuration{Name: "day", Containers: list}, w, w)
		if err != nil {
			t.Fatal(err)
		}
		s.Run()
		test(t, w, s)
		s.Shutdown()
		if w.open != 0 {
			t.Errorf("%d sandboxes were left", w.open)
		}
	})
}

func states(s *Supervisor) string {
	list, _ := s.Status()
	var all []string
	for _, c := range list {
		all = append(all, c.Name+"="+string(c.State))
	}
	return strings.Join(all, " ")
}

func wantStates(t *testing.T, s *Supervisor, want string) {
	t.Helper()
	synctest.Wait()
	if got := states(s); got != want {
		t.Errorf("states are %q, want %q", got, want)
	}
}

func wantHistory(t *testing.T, w *world, want ...string) {
	t.Helper()
	if got := w.history(); got != strings.Join(want, "\n") {
		t.Errorf("history:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
	}
}

func TestOrder(t *testing.T) {
	list := []system.Container{container("keys"), container("broker", "keys"), container("panel", "broker")}
	list[0].OneShot = true
	list[1].Health = health(5*time.Second, time.Second, 30*time.Second, 3)
	does := map[string]script{
		"keys": {runs: func(int, []string) (time.Duration, int) { return 2 * time.Second, 0 }},
		"broker": {probe: func(_ int, after time.Duration) error {
			if after < time.Second {
				return errors.New("refused")
			}
			return nil
		}},
	}
	run(t, does, list, func(t *testing.T, w *world, s *Supervisor) {
		wantStates(t, s, "keys=starting broker=waiting panel=waiting")
		time.Sleep(2500 * time.Millisecond)
		wantStates(t, s, "keys=done broker=starting panel=waiting")
		st, healthy := s.Status()
		if healthy || st[1].Detail != "refused" || st[2].Detail != "for broker (starting)" {
			t.Errorf("healthy %v, details %q, %q", healthy, st[1].Detail, st[2].Detail)
		}
		if err := s.Healthy(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantStates(t, s, "keys=done broker=healthy panel=healthy")
		s.Shutdown()
		wantHistory(t, w,
			"0s keys start /keys", "2s keys end 0", "2s broker start /broker", "3.27s panel start /panel",
			"3.27s panel end 143", "3.27s broker end 143")
	})
}

func TestRestartPolicies(t *testing.T) {
	const always, onFailure, never = system.RestartAlways, system.RestartOnFailure, system.RestartNever
	for _, row := range []struct {
		policy  system.RestartPolicy
		code    int
		oneShot bool
		state   wire.State
		starts  int
	}{
		{always, 0, false, wire.Backoff, 3},
		{always, 1, false, wire.Backoff, 3},
		{onFailure, 0, false, wire.Stopped, 1},
		{onFailure, 3, false, wire.Backoff, 3},
		{never, 0, false, wire.Stopped, 1},
		{never, 1, false, wire.Failed, 1},
		{always, 0, true, wire.Done, 1},
		{onFailure, 0, true, wire.Done, 1},
		{onFailure, 1, true, wire.Backoff, 3},
		{never, 137, true, wire.Failed, 1},
	} {
		c := container("a")
		c.Restart.Policy, c.OneShot = row.policy, row.oneShot
		does := map[string]script{"a": {runs: func(int, []string) (time.Duration, int) { return time.Millisecond, row.code }}}
		run(t, does, []system.Container{c}, func(t *testing.T, w *world, s *Supervisor) {
			time.Sleep(350 * time.Millisecond) // starts at 0, 101, 302 ms
			synctest.Wait()
			st, _ := s.Status()
			if st[0].State != row.state || w.lives["a"] != row.starts || *st[0].ExitCode != row.code {
				t.Errorf("%s, code %d, one-shot %v: state %s after %d starts, code %d; want %s after %d",
					row.policy, row.code, row.oneShot, st[0].State, w.lives["a"], *st[0].ExitCode, row.state, row.starts)
			}
			if want := row.starts - 1; st[0].Restarts != want {
				t.Errorf("%s, code %d: %d restarts counted, want %d", row.policy, row.code, st[0].Restarts, want)
			}
		})
	}
}

func TestBackoff(t *testing.T) {
	// Lives 0 to 4 fail at once, the fifth lasts longer than the longest delay.
	does := map[string]script{"a": {runs: func(life int, _ []string) (time.Duration, int) {
		if life == 5 {
			return 5 * time.Second, 1
		}
		return time.Nanosecond, 1
	}}}
	run(t, does, []system.Container{container("a")}, func(t *testing.T, w *world, s *Supervisor) {
		time.Sleep(8 * time.Second)
		var starts []string
		for _, line := range strings.Split(w.history(), "\n") {
			if at, _, ok := strings.Cut(line, " a start"); ok {
				d, err := time.ParseDuration(at)
				if err != nil {
					t.Fatal(err)
				}
				starts = append(starts, d.Round(time.Millisecond).String())
			}
		}
		want := "0s 100ms 300ms 700ms 1.5s 2.5s 7.6s 7.8s"
		if got := strings.Join(starts, " "); got != want {
			t.Errorf("starts at %s, want %s", got, want)
		}
	})
}

func TestHealth(t *testing.T) {
	c := container("a")
	c.Health = health(time.Second, 500*time.Millisecond, 3*time.Second, 2)
	refused := errors.New("refused")
	does := map[string]script{"a": {probe: func(_ int, after time.Duration) error {
		switch {
		case after < 2*time.Second:
			return refused // does not count
		case after < 5*time.Second:
			return nil
		case after < 8*time.Second:
			return errHang
		}
		return nil
	}}}
	run(t, does, []system.Container{c}, func(t *testing.T, w *world, s *Supervisor) {
		for _, row := range []struct {
			at    time.Duration
			state wire.State
		}{
			{1900 * time.Millisecond, wire.Starting},
			{2900 * time.Millisecond, wire.Healthy},
			{6 * time.Second, wire.Healthy}, // one failure of two
			{7500 * time.Millisecond, wire.Unhealthy},
			{10 * time.Second, wire.Healthy},
		} {
			time.Sleep(time.Until(w.began.Add(row.at)))
			wantStates(t, s, "a="+string(row.state))
		}
		if st, _ := s.Status(); st[0].Restarts != 0 || st[0].Memory != 4096 || st[0].PID != 7 {
			t.Errorf("status %+v: want the first life still running", st[0])
		}
	})
}

func TestShutdownKillsAndGivesUp(t *testing.T) {
	list := []system.Container{container("ghost"), container("deaf", "ghost"), container("nice", "deaf")}
	does := map[string]script{
		"ghost": {deaf: true, immortal: true},
		"deaf":  {deaf: true},
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, does)
		s, err := New(&system.Configuration{Containers: list}, w, w)
		if err != nil {
			t.Fatal(err)
		}
		s.Run()
		time.Sleep(time.Second)
		s.Shutdown()
		if took := time.Since(w.began); took != 1*time.Second+10*time.Second+10*time.Second+killGrace {
			t.Errorf("shutdown ended at %s", took)
		}
		wantHistory(t, w, "0s ghost start /ghost", "0s deaf start /deaf", "0s nice start /nice",
			"1s nice end 143", "11s deaf end 137")
		wantStates(t, s, "ghost=stopped deaf=stopped nice=stopped")
		if err := s.Start(t.Context(), "nice"); !errors.Is(err, errClosing) {
			t.Errorf("start after shutdown: %v", err)
		}
		// The ghost's process would hang for ever: let it go with the test.
		w.mu.Lock()
		defer w.mu.Unlock()
		w.ghost.signal <- -1
	})
}

func TestStopStartRestart(t *testing.T) {
	list := []system.Container{container("a"), container("b", "a"), container("c")}
	list[2].Args = []string{"/missing"}
	list[2].Restart.Policy = system.RestartNever
	run(t, nil, list, func(t *testing.T, w *world, s *Supervisor) {
		ctx := t.Context()
		time.Sleep(time.Second)
		wantStates(t, s, "a=healthy b=healthy c=failed")
		for _, err := range []error{s.Stop(ctx, "a"), s.Start(ctx, "b"), s.Restart(ctx, "b")} {
			if err != nil {
				t.Error(err)
			}
		}
		wantStates(t, s, "a=stopped b=waiting c=failed")
		if err := s.Start(ctx, "a"); err != nil {
			t.Error(err)
		}
		wantStates(t, s, "a=healthy b=healthy c=failed")
		if err := s.Start(ctx, "c"); err == nil || err.Error() != "starting c: no such file" {
			t.Errorf("starting a container without a program: %v", err)
		}
		if err := s.Stop(ctx, "c"); err != nil {
			t.Error(err)
		}
		for _, err := range []error{s.Stop(ctx, "x"), s.Start(ctx, "x"), s.Restart(ctx, "x")} {
			if err == nil || err.Error() != "no container x" {
				t.Errorf("unknown container: %v", err)
			}
		}
		if got := s.Warnings(); strings.Join(got, ";") != "a: no limits;b: no limits;c: no limits" {
			t.Errorf("warnings %q", got)
		}
	})
}

func TestStopDuringBackoffAndPrepare(t *testing.T) {
	list := []system.Container{container("loops"), container("slow")}
	list[0].Restart.Min, list[0].Restart.Max = int64(time.Hour), int64(time.Hour)
	list[1].Prepare = [][]string{{"/init"}}
	does := map[string]script{
		"loops": {runs: func(int, []string) (time.Duration, int) { return time.Second, 1 }},
		"slow": {runs: func(life int, args []string) (time.Duration, int) {
			if args[0] == "/init" {
				return time.Minute, 0
			}
			return 0, 0
		}},
	}
	run(t, does, list, func(t *testing.T, w *world, s *Supervisor) {
		time.Sleep(10 * time.Second)
		wantStates(t, s, "loops=backoff slow=starting")
		if err := errors.Join(s.Stop(t.Context(), "loops"), s.Stop(t.Context(), "slow")); err != nil {
			t.Fatal(err)
		}
		wantStates(t, s, "loops=stopped slow=stopped")
		if at := time.Since(w.began); at != 10*time.Second {
			t.Errorf("stopping took until %s", at)
		}
		if err := s.Start(t.Context(), "slow"); err != nil {
			t.Fatal(err)
		}
		wantStates(t, s, "loops=stopped slow=healthy")
	})
}

func TestPrepareFails(t *testing.T) {
	a, b := container("a"), container("b")
	a.Prepare = [][]string{{"/one"}, {"/two"}, {"/three"}}
	a.Restart.Policy = system.RestartNever
	does := map[string]script{
		"a": {runs: func(_ int, args []string) (time.Duration, int) {
			if args[0] == "/two" {
				return time.Millisecond, 4
			}
			return time.Millisecond, 0
		}},
		"b": {prepare: func(life int) error {
			if life < 2 {
				return errors.New("no image")
			}
			return nil
		}},
	}
	run(t, does, []system.Container{a, b}, func(t *testing.T, w *world, s *Supervisor) {
		time.Sleep(50 * time.Millisecond)
		st, _ := s.Status()
		if want := "preparing with /two ended with exit code 4"; st[0].State != wire.Failed || st[0].Detail != want {
			t.Errorf("a is %s: %q; want failed: %q", st[0].State, st[0].Detail, want)
		}
		if st[1].State != wire.Backoff || st[1].Detail != "no image" {
			t.Errorf("b is %s: %q", st[1].State, st[1].Detail)
		}
		time.Sleep(time.Second)
		wantStates(t, s, "a=failed b=healthy")
		if strings.Contains(w.history(), "/three") {
			t.Error("the command after the failed one was run")
		}
	})
}

func TestNewRefuses(t *testing.T) {
	for _, row := range []struct {
		list []system.Container
		want string
	}{
		{[]system.Container{container("a"), container("a")}, "two containers a"},
		{[]system.Container{container("a", "b")}, "after b, which"},
		{[]system.Container{container("x"), container("a", "c"), container("b", "a"), container("c", "b", "x")}, "wait for each other: a, b, c"},
	} {
		w := newWorld(t, nil)
		_, err := New(&system.Configuration{Name: "day", Containers: row.list}, w, w)
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("got %v, want an error with %q", err, row.want)
		}
	}
}
