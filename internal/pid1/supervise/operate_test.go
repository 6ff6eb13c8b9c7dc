package supervise

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/wire"
)

func one(c system.Container) *system.Configuration {
	c.Name, c.Args = "a", []string{"/a"}
	c.Stop.Signal, c.Stop.Timeout = 15, int64(time.Second)
	return &system.Configuration{Name: "all", Containers: []system.Container{c}}
}

func TestOperate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		checks := 0
		w := newWorld(t, map[string]script{"a": {probe: func(int, time.Duration) error { checks++; return nil }}})
		s, err := New(one(system.Container{Health: &system.Health{TCP: "x", Interval: int64(time.Second), Timeout: int64(time.Second), Retries: 1}}), w, w)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Exec(t.Context(), wire.ExecRequest{Container: "a"}, wire.Terminal{}); err == nil {
			t.Error("a command in a container that does not run")
		}
		s.Run()
		time.Sleep(5 * time.Second)
		r, err := s.Exec(context.Background(), wire.ExecRequest{Container: "a", Args: []string{"x"}}, wire.Terminal{})
		if err != nil || r.Code != 7 {
			t.Errorf("exec: %v %v", r, err)
		}
		if top, err := s.Top("a"); err != nil || top.Processes[0].PID != 5 {
			t.Error(top, err)
		}
		if st := s.Stats(); len(st.Containers) != 1 || st.Containers[0].Memory != 4096 {
			t.Error(st)
		}
		for _, err := range []error{s.Kill(wire.KillRequest{Container: "a", Signal: 65}), s.Pause("b")} {
			if err == nil {
				t.Error("no error")
			}
		}

		// While it is paused nothing is checked, and it is not healthy.
		if err := s.Pause("a"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Exec(context.Background(), wire.ExecRequest{Container: "a"}, wire.Terminal{}); err == nil {
			t.Error("a command in a paused container")
		}
		before := checks
		time.Sleep(10 * time.Second)
		if list, healthy := s.Status(); healthy || list[0].State != wire.Paused || checks != before {
			t.Errorf("paused: %+v, %d checks more", list, checks-before)
		}
		if err := s.Unpause("a"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if list, healthy := s.Status(); !healthy || checks == before {
			t.Errorf("unpaused: %+v, %d checks more", list, checks-before)
		}

		// Whoever is stopped goes on first, to hear of it.
		if err := s.Pause("a"); err != nil {
			t.Fatal(err)
		}
		if err := s.Stop(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if err := s.Start(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if list, healthy := s.Status(); !healthy {
			t.Errorf("started after a pause: %+v", list)
		}
		s.Shutdown()
		if h := w.history(); strings.Count(h, "freeze true") != 2 || strings.Count(h, "freeze false") != 2 {
			t.Error(h)
		}
	})
}

func TestOutOfMemoryIsTheReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, map[string]script{"a": {oomKills: 2, runs: func(int, []string) (time.Duration, int) { return time.Second, 137 }}})
		s, err := New(one(system.Container{Restart: system.Restart{Policy: system.RestartNever}, Limits: system.Limits{Memory: 1 << 20}}), w, w)
		if err != nil {
			t.Fatal(err)
		}
		s.Run()
		time.Sleep(5 * time.Second)
		list, _ := s.Status()
		if c := list[0]; c.State != wire.Failed || c.OOMKills != 2 || c.Detail != "out of memory: the kernel killed 2 of its processes (limit 1048576 bytes)" {
			t.Errorf("%+v", c)
		}
		if st := s.Stats(); st.Containers[0].OOMKills != 2 {
			t.Errorf("%+v", st)
		}
		s.Shutdown()
	})
}
