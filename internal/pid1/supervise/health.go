package supervise

import (
	"context"
	"time"

	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/wire"
)

// firstCheck is when a container is checked first after its start. The delay
// doubles up to the declared interval until it is healthy, so that a start is
// noticed soon.
const firstCheck = 10 * time.Millisecond

// A checker judges the results of health checks of one life.
type checker struct {
	h        *system.Health
	began    time.Time
	failures int // in a row, after Within
	healthy  bool
}

// A probing is the goroutine that checks. results is nil without checks.
type probing struct {
	results chan error
	cancel  context.CancelFunc
	done    chan struct{}
}

// start begins checking p; stop ends it and waits for the check under way.
func (ck *checker) start(u *unit, sb Sandbox, p Process) probing {
	if ck == nil {
		return probing{}
	}
	ctx, cancel := context.WithCancel(context.Background())
	pr := probing{results: make(chan error), cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(pr.done)
		delay, once := min(firstCheck, time.Duration(ck.h.Interval)), false
		for sleep(ctx, delay) {
			if u.isPaused() {
				continue
			}
			err := ck.check(ctx, sb, p)
			select {
			case pr.results <- err:
			case <-ctx.Done():
				return
			}
			if once = once || err == nil; once {
				delay = time.Duration(ck.h.Interval)
			} else {
				delay = min(2*delay, time.Duration(ck.h.Interval))
			}
		}
	}()
	return pr
}

func (pr probing) stop() {
	if pr.cancel != nil {
		pr.cancel()
		<-pr.done
	}
}

func (ck *checker) check(ctx context.Context, sb Sandbox, p Process) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(ck.h.Timeout))
	defer cancel()
	return sb.Probe(ctx, ck.h, p)
}

// note takes the result of one check into the unit's state.
func (ck *checker) note(u *unit, err error) {
	if u.isPaused() {
		return // the check was under way when it was paused
	}
	if err == nil {
		if !ck.healthy {
			u.s.log.Printf("%s: healthy after %s", u.c.Name, time.Since(ck.began).Round(time.Millisecond))
		}
		ck.healthy, ck.failures = true, 0
		u.set(wire.Healthy, "")
		return
	}
	if time.Since(ck.began) >= time.Duration(ck.h.Within) {
		ck.failures++
	}
	state := wire.Starting
	switch {
	case ck.failures >= ck.h.Retries:
		state = wire.Unhealthy
		if ck.failures == ck.h.Retries {
			u.s.log.Printf("%s: unhealthy: %v", u.c.Name, err)
		}
		ck.healthy = false
	case ck.healthy:
		state = wire.Healthy
	}
	u.set(state, err.Error())
}

// sleep waits for d; false when ctx ended before.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
