//go:build sabotage

package supervise

// Hang lets every loop of the supervisor stand still at its next step.
func (s *Supervisor) Hang() { s.mu.Lock() }
