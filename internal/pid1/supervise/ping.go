package supervise

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// startLimit is how long a unit may be busy with the kernel before and while it
// starts a process. It is far more than a start takes on the slowest machine:
// beyond it something hangs.
const startLimit = 2 * time.Minute

// Ping returns when every unit's loop has given a sign of life, or with an
// error that names those that have not when ctx ends. A loop that is busy with
// something that has a limit, as with stopping its container, counts as alive
// until that limit.
func (s *Supervisor) Ping(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- s.ping(ctx) }() // which hangs itself when the lock is never free
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done: // it knows who is silent
		return err
	case <-time.After(pingGrace):
		return fmt.Errorf("the supervisor does not answer: %w", ctx.Err())
	}
}

// pingGrace is for a ping that has just noticed the end of its time.
const pingGrace = 100 * time.Millisecond

func (s *Supervisor) ping(ctx context.Context) error {
	s.mu.Lock()
	s.beat++
	beat, units := s.beat, s.now.units
	s.mu.Unlock()
	for _, u := range units {
		select {
		case u.kick <- struct{}{}:
		default:
		}
	}
	var silent []string
	err := s.until(ctx, func() bool {
		silent = nil
		for _, u := range units {
			if u.seen < beat && !time.Now().Before(u.busy) && u.ctx.Err() == nil {
				silent = append(silent, u.c.Name)
			}
		}
		return silent == nil
	})
	if err != nil {
		return fmt.Errorf("no sign of life from the loop of %s: %w", strings.Join(silent, ", "), err)
	}
	return nil
}

// answer is the sign of life of a unit's loop, under s.mu.
func (u *unit) answer() {
	if u.seen != u.s.beat {
		u.seen = u.s.beat
		u.s.tell()
	}
}

// busyFor says that the unit's loop does not look at anything for at most d.
func (u *unit) busyFor(d time.Duration) {
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	u.busy = time.Time{}
	if d > 0 {
		u.busy = time.Now().Add(d)
	}
}

// StopLimit is the longest that stopping everything in order may take.
func (s *Supervisor) StopLimit() time.Duration {
	limit := time.Duration(startLimit)
	for _, u := range s.arrangement().units {
		limit += time.Duration(u.c.Stop.Longest()) + killGrace
	}
	return limit
}
