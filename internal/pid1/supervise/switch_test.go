package supervise

import (
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/wire"
)

// dayAndNight are two configurations: the broker is the same in both, the
// panel goes, the sampler is another one, irrigation comes, and keys is done.
func dayAndNight() (day, night *system.Configuration) {
	keys, broker := container("keys"), container("broker", "keys")
	keys.OneShot, keys.Restart.Policy = true, system.RestartOnFailure
	broker.Data = []system.Data{{Path: "/var/lib/broker", Shared: true}}
	panel, sampler, slow := container("panel", "broker"), container("sampler", "broker"), container("sampler", "broker")
	sampler.Source, slow.Source = "machine.yaml:1", "machine.yaml:2"
	slow.Env = []string{"PERIOD=1m"}
	irrigation := container("irrigation", "sampler")
	irrigation.Health = health(time.Second, time.Second, 10*time.Second, 3)
	return &system.Configuration{Name: "day", Containers: []system.Container{keys, broker, panel, sampler}},
		&system.Configuration{Name: "night", Containers: []system.Container{keys, broker, slow, irrigation}}
}

var keysOnce = script{runs: func(int, []string) (time.Duration, int) { return time.Millisecond, 0 }}

// switching starts the day, waits a minute, and hands over to test, which
// finds nothing left behind at its end.
func switching(t *testing.T, does map[string]script, test func(t *testing.T, w *world, s *Supervisor, to Target)) {
	synctest.Test(t, func(t *testing.T) {
		if does == nil {
			does = map[string]script{}
		}
		does["keys"] = keysOnce
		w := newWorld(t, does)
		day, night := dayAndNight()
		s, err := New(day, w, w)
		if err != nil {
			t.Fatal(err)
		}
		s.Run()
		time.Sleep(time.Minute)
		test(t, w, s, Target{night, w, 30 * time.Second})
		s.Shutdown()
		if w.open != 0 {
			t.Errorf("%d sandboxes were left", w.open)
		}
	})
}

// since returns what happened after the minute that switching waits.
func (w *world) since() string {
	all := strings.Split(w.history(), "\n")
	at := slices.IndexFunc(all, func(l string) bool { return strings.HasPrefix(l, "1m0") })
	if at < 0 {
		return ""
	}
	return strings.Join(all[at:], "\n")
}

func wantSince(t *testing.T, w *world, want ...string) {
	t.Helper()
	if got := w.since(); got != strings.Join(want, "\n") {
		t.Errorf("since the switch:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
	}
}

const dayRuns = "keys=done broker=healthy panel=healthy sampler=healthy"

func TestSwitch(t *testing.T) {
	switching(t, nil, func(t *testing.T, w *world, s *Supervisor, to Target) {
		day := s.Configuration()
		if got := text(s.Changes(to.Configuration)); got != "panel stopped: night does not have it; keys kept; broker kept; "+
			"sampler restarted: another env; irrigation started" {
			t.Errorf("changes: %s", got)
		}
		wantStates(t, s, dayRuns)
		if err := s.Switch(t.Context(), to); err != nil {
			t.Fatal(err)
		}
		wantStates(t, s, "keys=done broker=healthy sampler=healthy irrigation=healthy")
		if got := s.Configuration().Name; got != "night" {
			t.Errorf("runs %s", got)
		}
		if got := text(s.Changes(to.Configuration)); strings.Contains(got, "ed:") || strings.Contains(got, "started") {
			t.Errorf("a switch to what runs changes: %s", got)
		}
		if err := s.Switch(t.Context(), Target{day, w, time.Minute}); err != nil {
			t.Fatal(err)
		}
		wantStates(t, s, dayRuns)
		if w.lives["broker"] != 1 || w.lives["keys"] != 1 || w.lives["sampler"] != 3 || w.lives["panel"] != 2 {
			t.Errorf("lives: %v", w.lives)
		}
		got := w.since()
		for _, order := range [][2]string{
			{"panel end", "sampler start"}, {"sampler end", "sampler start"}, {"sampler start", "irrigation start"},
			{"irrigation end", "panel start"},
		} {
			if strings.Index(got, order[0]) > strings.Index(got, order[1]) {
				t.Errorf("%s comes after %s:\n%s", order[0], order[1], got)
			}
		}
		// Stops in reverse order: irrigation comes after the sampler.
		if strings.LastIndex(got, "sampler end") < strings.Index(got, "irrigation end") {
			t.Errorf("the sampler is stopped before irrigation:\n%s", got)
		}
	})
}

func text(changes []wire.Change) string {
	var all []string
	for _, c := range changes {
		line := c.Container + " " + string(c.Act)
		if c.Why != "" {
			line += ": " + c.Why
		}
		all = append(all, line)
	}
	return strings.Join(all, "; ")
}

// TestSwitchReturns fails each step of a switch.
func TestSwitchReturns(t *testing.T) {
	never := func(int, time.Duration) error { return errors.New("refused") }
	for _, row := range []struct {
		name   string
		does   map[string]script
		change func(night *system.Configuration)
		why    string
		after  time.Duration // of the minute, until it has returned
		starts string        // of sampler and panel, lives
	}{
		{
			name: "a start fails", after: 0,
			does: map[string]script{"irrigation": {prepare: func(int) error { return errors.New("no image") }}},
			why:  "could not become healthy: irrigation: no image",
		},
		{
			name: "no program", after: 0,
			change: func(night *system.Configuration) { night.Containers[3].Args = []string{"/missing"} },
			why:    "could not become healthy: irrigation: no such file",
		},
		{
			name: "never healthy", after: 30 * time.Second,
			does: map[string]script{"irrigation": {probe: never}},
			why:  "could not become healthy: not healthy within 30s: irrigation is unhealthy (refused)",
		},
		{
			name: "hanging check", after: 30 * time.Second,
			does: map[string]script{"irrigation": {probe: func(int, time.Duration) error { return errHang }}},
			why:  "could not become healthy: not healthy within 30s: irrigation is unhealthy (context deadline exceeded)",
		},
		{
			name: "ends for good", after: time.Second,
			does:   map[string]script{"irrigation": {runs: func(int, []string) (time.Duration, int) { return time.Second, 3 }, probe: never}},
			change: func(night *system.Configuration) { night.Containers[3].Restart.Policy = system.RestartNever },
			why:    "could not become healthy: irrigation: ended with exit code 3",
		},
		{
			name: "falls and falls", after: 30 * time.Second,
			does: map[string]script{"irrigation": {runs: func(int, []string) (time.Duration, int) { return time.Second, 3 }, probe: never}},
			why:  "could not become healthy: not healthy within 30s: irrigation is",
		},
		{
			name: "waits for one that fails", after: 0,
			does: map[string]script{"sampler": {prepare: func(life int) error {
				if life == 1 {
					return errors.New("no memory")
				}
				return nil
			}}},
			why: "could not become healthy: sampler: no memory",
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			switching(t, row.does, func(t *testing.T, w *world, s *Supervisor, to Target) {
				if row.change != nil {
					row.change(to.Configuration)
				}
				began := time.Now()
				err := s.Switch(t.Context(), to)
				var returned *ErrReturned
				if !errors.As(err, &returned) || returned.Back != nil || !strings.HasPrefix(err.Error(), row.why) ||
					!strings.HasSuffix(err.Error(), "what ran before runs again") {
					t.Errorf("got %v, want %s", err, row.why)
				}
				if took := time.Since(began); took != row.after {
					t.Errorf("took %s, want %s", took, row.after)
				}
				wantStates(t, s, dayRuns)
				if got := s.Configuration().Name; got != "day" {
					t.Errorf("runs %s", got)
				}
				if w.lives["broker"] != 1 {
					t.Errorf("the broker was started %d times", w.lives["broker"])
				}
				// And it is able to do the next one.
				next, _ := dayAndNight()
				next.Containers = next.Containers[:2]
				if err := s.Switch(t.Context(), Target{next, w, time.Minute}); err != nil {
					t.Error(err)
				}
				wantStates(t, s, "keys=done broker=healthy")
			})
		})
	}
}

// lastGhost is the newest process that survives everything.
func (w *world) lastGhost() *proc {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ghost
}

func TestSwitchStopFails(t *testing.T) {
	does := map[string]script{"panel": {deaf: true, immortal: true}}
	switching(t, does, func(t *testing.T, w *world, s *Supervisor, to Target) {
		ghosts := []*proc{w.lastGhost()}
		err := s.Switch(t.Context(), to)
		if err == nil || err.Error() != "could not stop panel, sampler: panel does not end though killed 10s ago; what ran before runs again" {
			t.Errorf("got %v", err)
		}
		wantStates(t, s, dayRuns)
		s.Shutdown()
		if strings.Contains(w.history(), "irrigation") {
			t.Errorf("irrigation was started:\n%s", w.history())
		}
		// Both lives of the panel would hang for ever.
		for _, p := range append(ghosts, w.lastGhost()) {
			p.signal <- -1
		}
	})
}

// TestSwitchCannotReturn has a container that can be started only once.
func TestSwitchCannotReturn(t *testing.T) {
	does := map[string]script{
		"panel": {prepare: func(life int) error {
			if life > 0 {
				return errors.New("disk is full")
			}
			return nil
		}},
		"irrigation": {prepare: func(int) error { return errors.New("disk is full") }},
	}
	switching(t, does, func(t *testing.T, w *world, s *Supervisor, to Target) {
		err := s.Switch(t.Context(), to)
		want := "could not become healthy: irrigation: disk is full; going back to what ran before: panel: disk is full"
		if err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
		wantStates(t, s, "keys=done broker=healthy panel=backoff sampler=healthy")
	})
}

// TestSwitchRefused changes nothing at all.
func TestSwitchRefused(t *testing.T) {
	switching(t, nil, func(t *testing.T, w *world, s *Supervisor, to Target) {
		to.Configuration.Containers[3].After = []string{"panel"}
		err := s.Switch(t.Context(), to)
		var returned *ErrReturned
		if err == nil || errors.As(err, &returned) || !strings.Contains(err.Error(), "after panel, which configuration night does not have") {
			t.Errorf("got %v", err)
		}
		wantSince(t, w)
		wantStates(t, s, dayRuns)
	})
}

// TestSwitchAlone has others ask while a switch waits for health.
func TestSwitchAlone(t *testing.T) {
	never := func(int, time.Duration) error { return errors.New("refused") }
	switching(t, map[string]script{"irrigation": {probe: never}}, func(t *testing.T, w *world, s *Supervisor, to Target) {
		done := make(chan error)
		go func() { done <- s.Switch(t.Context(), to) }()
		time.Sleep(time.Second)
		for _, err := range []error{s.Switch(t.Context(), to), s.Stop(t.Context(), "broker"), s.Start(t.Context(), "broker")} {
			if !errors.Is(err, errSwitching) {
				t.Errorf("during a switch: %v", err)
			}
		}
		s.Shutdown()
		if err := <-done; !errors.Is(err, errClosing) {
			t.Errorf("a switch that Shutdown has met: %v", err)
		}
		wantStates(t, s, "keys=done broker=stopped sampler=stopped irrigation=stopped")
		if took := time.Since(w.began); took != time.Minute+time.Second {
			t.Errorf("ended after %s", took)
		}
		if err := s.Switch(t.Context(), to); !errors.Is(err, errClosing) {
			t.Errorf("a switch after Shutdown: %v", err)
		}
	})
}

// TestSwitchOfStopped starts what the new configuration has and does not run,
// and leaves stopped what was stopped when it goes back.
func TestSwitchOfStopped(t *testing.T) {
	does := map[string]script{"irrigation": {prepare: func(life int) error {
		if life == 0 {
			return errors.New("not yet")
		}
		return nil
	}}}
	switching(t, does, func(t *testing.T, w *world, s *Supervisor, to Target) {
		if err := errors.Join(s.Stop(t.Context(), "broker"), s.Stop(t.Context(), "panel")); err != nil {
			t.Fatal(err)
		}
		if got := text(s.Changes(to.Configuration)); !strings.Contains(got, "broker started: it is stopped") {
			t.Errorf("changes: %s", got)
		}
		if err := s.Switch(t.Context(), to); err == nil {
			t.Error("the first switch succeeded")
		}
		wantStates(t, s, "keys=done broker=stopped panel=stopped sampler=waiting")
		s.Start(t.Context(), "broker")
		if err := s.Switch(t.Context(), to); err != nil {
			t.Fatal(err)
		}
		wantStates(t, s, "keys=done broker=healthy sampler=healthy irrigation=healthy")
	})
}

func TestDifference(t *testing.T) {
	day, night := &system.Configuration{Name: "day"}, &system.Configuration{Name: "night"}
	own := []system.Data{{Path: "/d", Version: 1}}
	shared := []system.Data{{Path: "/d", Version: 1, Shared: true}}
	for _, row := range []struct {
		change func(c *system.Container)
		to     *system.Configuration
		want   string
	}{
		{func(c *system.Container) {}, night, ""},
		{func(c *system.Container) { c.Source = "other.yaml:9" }, night, ""},
		{func(c *system.Container) { c.Image.Size = 1 }, night, "another image"},
		{func(c *system.Container) { c.Limits.Memory = 1 }, night, "another limits"},
		{func(c *system.Container) { c.Health = health(1, 1, 1, 1) }, night, "another health"},
		{func(c *system.Container) { c.Data = own }, night, "another data"},
	} {
		a, b := container("a"), container("a")
		row.change(&b)
		if got := difference(day, row.to, &a, &b); got != row.want {
			t.Errorf("%q, want %q", got, row.want)
		}
	}
	c := container("a")
	c.Data = own
	if got := difference(day, night, &c, &c); got != "its data /d belongs to day" {
		t.Errorf("data of a configuration: %q", got)
	}
	if got := difference(day, day, &c, &c); got != "" {
		t.Errorf("data of the same configuration: %q", got)
	}
	c.Data = shared
	if got := difference(day, night, &c, &c); got != "" {
		t.Errorf("data of the machine: %q", got)
	}
}

// TestSwitchLeavesNothing switches to and fro, and back from failures: units
// that are gone have no goroutine.
func TestSwitchLeavesNothing(t *testing.T) {
	switching(t, nil, func(t *testing.T, w *world, s *Supervisor, to Target) {
		day := Target{s.Configuration(), w, time.Minute}
		_, broken := dayAndNight()
		broken.Name, broken.Containers[3].Args = "broken", []string{"/missing"}
		round := func() int {
			if err := errors.Join(s.Switch(t.Context(), to), s.Switch(t.Context(), day)); err != nil {
				t.Fatal(err)
			}
			if err := s.Switch(t.Context(), Target{broken, w, time.Minute}); err == nil {
				t.Fatal("the broken configuration runs")
			}
			synctest.Wait()
			return runtime.NumGoroutine()
		}
		first := round()
		for range 10 {
			round()
		}
		// One a round would be eleven; the Go runtime has some of its own, which
		// come and go.
		if last := round(); last > first+5 {
			t.Errorf("%d goroutines, %d after the first round", last, first)
		}
	})
}
