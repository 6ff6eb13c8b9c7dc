package supervise

import (
	"testing"
	"time"

	"github.com/instar-os/instar/internal/system"
)

// A signal right after the start is repeated when the program has a handler.
func TestStopBeforeTheHandler(t *testing.T) {
	does := map[string]script{"a": {ready: 30 * time.Millisecond}}
	run(t, does, []system.Container{container("a")}, func(t *testing.T, w *world, s *Supervisor) {
		wantStates(t, s, "a=healthy")
		if err := s.Stop(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		wantHistory(t, w, "0s a start /a", "0s a signal 15", "30ms a signal 15", "30ms a end 143")
	})
}

// A program that never takes the signal is killed when the time is over.
func TestStopWithoutHandler(t *testing.T) {
	does := map[string]script{"a": {ready: time.Hour}}
	run(t, does, []system.Container{container("a")}, func(t *testing.T, w *world, s *Supervisor) {
		wantStates(t, s, "a=healthy")
		if err := s.Stop(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		wantHistory(t, w, "0s a start /a", "0s a signal 15", "10s a end 137")
	})
}

// The steps of a stop come one after the other until one does it.
func TestStopSteps(t *testing.T) {
	c := container("a")
	c.Stop = system.Stop{Signal: 15, Timeout: int64(5 * time.Second),
		Then: []system.StopStep{{Signal: 2, Wait: int64(2 * time.Second)}, {Signal: 3, Wait: int64(time.Second)}}}
	for _, row := range []struct {
		minds int
		want  []string
	}{
		{15, []string{"0s a start /a", "0s a signal 15", "0s a end 143"}},
		{2, []string{"0s a start /a", "0s a signal 15", "5s a signal 2", "5s a end 130"}},
		{3, []string{"0s a start /a", "0s a signal 15", "5s a signal 2", "7s a signal 3", "7s a end 131"}},
		{10, []string{"0s a start /a", "0s a signal 15", "5s a signal 2", "7s a signal 3", "8s a end 137"}},
	} {
		run(t, map[string]script{"a": {minds: row.minds}}, []system.Container{c}, func(t *testing.T, w *world, s *Supervisor) {
			wantStates(t, s, "a=healthy")
			if err := s.Stop(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			wantHistory(t, w, row.want...)
		})
	}
}
