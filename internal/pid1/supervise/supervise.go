package supervise

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/wire"
)

// Supervisor runs the containers of a configuration.
type Supervisor struct {
	log     Log
	running sync.WaitGroup
	ctx     context.Context // ends the units' loops
	cancel  context.CancelFunc
	watch   func(container string, s wire.State, detail string)

	mu        sync.Mutex
	changed   chan struct{} // closed, and replaced, whenever a unit changes
	now       *arrangement
	switching bool
	closing   bool
	beat      uint64 // of the last Ping
}

// New checks the configuration and returns its supervisor; Run starts it.
func New(c *system.Configuration, rt Runtime, log Log) (*Supervisor, error) {
	s := &Supervisor{log: log, changed: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	var err error
	s.now, err = arrange(c, rt, func(ct *system.Container) *unit { return newUnit(s, ct) })
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Configuration returns what the supervisor runs; during a switch, the
// configuration that it comes from until that one's containers are stopped.
func (s *Supervisor) Configuration() *system.Configuration { return s.arrangement().configuration }

func (s *Supervisor) arrangement() *arrangement {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// Watch lets a function see every change of a container's state. It must not
// wait, nor call the supervisor. Call it before Run.
func (s *Supervisor) Watch(see func(container string, st wire.State, detail string)) { s.watch = see }

func (s *Supervisor) moved(container string, st wire.State, detail string) {
	if s.watch != nil {
		s.watch(container, st, detail)
	}
}

// Run starts all containers and returns at once. Call it once.
func (s *Supervisor) Run() {
	a := s.arrangement()
	s.update(func() {
		for _, u := range a.units {
			u.want = true
		}
	})
	for _, u := range a.units {
		s.running.Go(u.run)
	}
}

// Shutdown stops every container after those that came after it, and returns
// when all have ended and no goroutine of the supervisor is left. Nothing
// starts after it; a switch that is under way ends where it is. A container
// that does not even end when it is killed is given up.
func (s *Supervisor) Shutdown() {
	s.update(func() { s.closing = true })
	s.until(s.ctx, func() bool { return !s.switching })
	s.stopAll(s.arrangement(), s.arrangement().units)
	s.cancel()
	s.running.Wait()
}

// stopAll stops units of an arrangement, each after those of them that come
// after it, and returns when all have ended.
func (s *Supervisor) stopAll(a *arrangement, units []*unit) {
	var wg sync.WaitGroup
	for _, u := range units {
		wg.Go(func() {
			s.until(s.ctx, func() bool {
				return !slices.ContainsFunc(a.before[u], func(b *unit) bool { return slices.Contains(units, b) && b.alive() })
			})
			u.setWant(false)
			s.until(s.ctx, func() bool { return !u.alive() })
		})
	}
	wg.Wait()
}

// until waits for a condition over the units, which it calls under s.mu.
func (s *Supervisor) until(ctx context.Context, holds func() bool) error {
	for {
		s.mu.Lock()
		ok, changed := holds(), s.changed
		s.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// update changes a unit under the lock and tells whoever waits.
func (s *Supervisor) update(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	s.tell()
}

// tell wakes, under s.mu, whoever waits for a change.
func (s *Supervisor) tell() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// Why a container is not to be touched.
var (
	errClosing   = errors.New("the machine is shutting down")
	errSwitching = errors.New("the machine is switching to another configuration")
)

// find returns the unit of a container that may be started and stopped. When
// the machine is shutting down it comes with an error.
func (s *Supervisor) find(name string) (*unit, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.now.unit(name)
	switch {
	case u == nil:
		return nil, fmt.Errorf("no container %s", name)
	case s.closing:
		return u, errClosing
	case s.switching:
		return nil, errSwitching
	}
	return u, nil
}

// Start starts a container that is stopped, done or failed, and returns when
// it runs, waits for others, or could not be started. A container that runs
// already is left alone.
func (s *Supervisor) Start(ctx context.Context, name string) error {
	u, err := s.find(name)
	if err != nil {
		return err
	}
	s.mu.Lock()
	attempts, alive := u.attempts, u.alive()
	s.mu.Unlock()
	if err := s.startNeeds(ctx, u); err != nil || alive {
		return err
	}
	u.setWant(true)
	err = s.until(ctx, func() bool {
		return u.attempts > attempts || s.closing || u.active && u.status.State == wire.Waiting
	})
	if err != nil {
		return fmt.Errorf("starting %s: %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if u.attempts > attempts && u.startErr != nil {
		return fmt.Errorf("starting %s: %w", name, u.startErr)
	}
	return nil
}

// Stop stops a container and returns when it has ended. It stays stopped
// until Start.
func (s *Supervisor) Stop(ctx context.Context, name string) error {
	u, err := s.find(name)
	if err != nil && !errors.Is(err, errClosing) {
		return err
	}
	u.setWant(false)
	if err := s.until(ctx, func() bool { return !u.alive() }); err != nil {
		return fmt.Errorf("stopping %s: %w", name, err)
	}
	return nil
}

// Restart stops a container and starts it.
func (s *Supervisor) Restart(ctx context.Context, name string) error {
	if err := s.Stop(ctx, name); err != nil {
		return err
	}
	return s.Start(ctx, name)
}

// Status returns the state of every container, in start order, and whether
// all are healthy or done.
func (s *Supervisor) Status() (list []wire.ContainerStatus, healthy bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	healthy = true
	list = make([]wire.ContainerStatus, 0, len(s.now.units))
	for _, u := range s.now.units {
		st := u.status
		if u.sandbox != nil {
			st.Memory = u.sandbox.Memory()
		}
		healthy = healthy && u.satisfied()
		list = append(list, st)
	}
	return list, healthy
}

// Warnings returns what could not be enforced, each with its container.
func (s *Supervisor) Warnings() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, u := range s.now.units {
		for _, w := range u.warnings {
			all = append(all, u.c.Name+": "+w)
		}
	}
	return all
}

// Healthy waits until every container is healthy or done.
func (s *Supervisor) Healthy(ctx context.Context) error {
	return s.until(ctx, func() bool {
		return !slices.ContainsFunc(s.now.units, func(u *unit) bool { return !u.satisfied() })
	})
}
