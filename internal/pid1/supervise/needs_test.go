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

// needy is a broker, a client that needs it, and one that needs the client.
func needy() *system.Configuration {
	c := func(name string, needs ...string) system.Container {
		return system.Container{Name: name, Args: []string{"/" + name}, After: needs, Needs: needs,
			Stop:    system.Stop{Signal: 15, Timeout: int64(time.Second)},
			Restart: system.Restart{Policy: system.RestartAlways, Min: int64(100 * time.Millisecond), Max: int64(time.Second)}}
	}
	return &system.Configuration{Name: "all", Containers: []system.Container{c("broker"), c("client", "broker"), c("gauge", "client")}}
}

func allStates(s *Supervisor) string {
	list, _ := s.Status()
	var all []string
	for _, c := range list {
		all = append(all, c.Name+" "+string(c.State))
	}
	return strings.Join(all, ", ")
}

func TestNeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, map[string]script{"broker": {runs: func(life int, _ []string) (time.Duration, int) {
			if life == 0 {
				return 10 * time.Second, 1
			}
			return 0, 0
		}}})
		s, err := New(needy(), w, w)
		if err != nil {
			t.Fatal(err)
		}
		s.Run()
		time.Sleep(5 * time.Second)
		pids := allStates(s)
		if pids != "broker healthy, client healthy, gauge healthy" {
			t.Fatal(pids)
		}

		// The broker falls: all come again, each after the one it needs, and
		// nobody is blamed but the broker.
		time.Sleep(10 * time.Second)
		list, healthy := s.Status()
		if !healthy || list[0].Restarts != 1 || list[1].Restarts != 0 || w.lives["client"] != 2 || w.lives["gauge"] != 2 {
			t.Errorf("after the broker's fall: %+v, lives %v", list, w.lives)
		}

		// It is stopped: who needs it goes first, and waits.
		if err := s.Stop(t.Context(), "broker"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if got := allStates(s); got != "broker stopped, client waiting, gauge waiting" {
			t.Error(got)
		}
		h := w.history()
		h = h[strings.LastIndex(h, "start /gauge"):]
		gauge, client, broker := strings.Index(h, "gauge end"), strings.Index(h, "client end"), strings.Index(h, "broker end")
		if gauge < 0 || client < gauge || broker < client {
			t.Errorf("stopped in another order: %s", h)
		}

		// Starting the last of them starts what it needs.
		if err := s.Start(context.Background(), "gauge"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if got := allStates(s); got != "broker healthy, client healthy, gauge healthy" {
			t.Error(got)
		}
		if err := s.Restart(context.Background(), "client"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if got := allStates(s); got != "broker healthy, client healthy, gauge healthy" || w.lives["broker"] != 3 || w.lives["gauge"] != 4 {
			t.Errorf("%s, lives %v", got, w.lives)
		}
		s.Shutdown()
		if w.open != 0 {
			t.Errorf("%d sandboxes are left", w.open)
		}
	})
}

// What is kept by a switch must be kept with what it needs.
func TestNeedsInASwitch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		s, err := New(needy(), w, w)
		if err != nil {
			t.Fatal(err)
		}
		s.Run()
		time.Sleep(time.Second)
		to := needy()
		to.Containers[0].Env = []string{"NEW=1"}
		for _, c := range s.Changes(to) {
			if c.Act != wire.ActRestarted {
				t.Errorf("%+v", c)
			}
		}
		s.Shutdown()
	})
}
