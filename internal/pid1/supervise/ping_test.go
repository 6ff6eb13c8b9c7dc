package supervise

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/instar-os/instar/internal/system"
)

func ping(s *Supervisor) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return s.Ping(ctx)
}

// Loops answer in whatever state their container is.
func TestPing(t *testing.T) {
	list := []system.Container{container("once"), container("fails"), container("runs"), container("waits", "never"), container("never")}
	list[0].OneShot = true
	list[4].Health = health(time.Second, time.Second, 0, 1)
	does := map[string]script{
		"once":  {runs: func(int, []string) (time.Duration, int) { return time.Millisecond, 0 }},
		"fails": {runs: func(int, []string) (time.Duration, int) { return time.Millisecond, 1 }},
		"never": {probe: func(int, time.Duration) error { return errHang }},
	}
	run(t, does, list, func(t *testing.T, _ *world, s *Supervisor) {
		for range 50 {
			if err := ping(s); err != nil {
				t.Error(err)
			}
			time.Sleep(50 * time.Millisecond)
		}
	})
}

// A loop that hangs in the kernel is silent, though only after its limit; so is
// a supervisor whose lock is never given back.
func TestPingSilence(t *testing.T) {
	var hang chan struct{} // of the bubble
	does := map[string]script{"stuck": {prepare: func(int) error {
		hang = make(chan struct{})
		<-hang
		return nil
	}}}
	run(t, does, []system.Container{container("stuck"), container("runs")}, func(t *testing.T, _ *world, s *Supervisor) {
		synctest.Wait()
		if err := ping(s); err != nil {
			t.Errorf("while it may be busy: %v", err)
		}
		time.Sleep(startLimit)
		if err := ping(s); err == nil || !strings.Contains(err.Error(), "no sign of life from the loop of stuck") {
			t.Errorf("beyond the limit: %v", err)
		}
		close(hang)
		synctest.Wait()
		if err := ping(s); err != nil {
			t.Errorf("when it goes on: %v", err)
		}
	})
	s, err := New(&system.Configuration{Name: "day"}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := s.Ping(ctx); err == nil {
		t.Error("a supervisor that is locked answers")
	}
}

// Stopping what takes its time is no hang.
func TestPingWhileStopping(t *testing.T) {
	c := container("slow")
	c.Stop.Timeout = int64(time.Hour)
	run(t, map[string]script{"slow": {deaf: true}}, []system.Container{c}, func(t *testing.T, _ *world, s *Supervisor) {
		synctest.Wait()
		go s.Stop(context.Background(), "slow")
		for range 65 {
			if err := ping(s); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
	})
}
