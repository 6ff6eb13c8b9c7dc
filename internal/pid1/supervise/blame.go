package supervise

import "github.com/instar-os/instar/internal/wire"

// Blame makes a container unhealthy until it is started again, whatever its
// checks say. One that is not there, or is blamed already, is left alone.
func (s *Supervisor) Blame(container, why string) {
	u := s.arrangement().unit(container)
	if u == nil {
		return
	}
	first := false
	s.update(func() {
		if first = u.blame == ""; first {
			u.blame = why
		}
	})
	if !first {
		return
	}
	s.log.Printf("%s: unhealthy: %s", container, why)
	s.mu.Lock()
	healthy := u.status.State == wire.Healthy
	s.mu.Unlock()
	if healthy {
		u.set(wire.Healthy, "") // which it is not
	}
}
