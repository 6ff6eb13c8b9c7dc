package boot

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/container"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/wire"
)

// A machine that has nothing else to do makes sandboxes of what a live switch
// would start, so that a switch has only to start programs. Their number is
// limited, for each costs memory of the kernel.
const (
	quiet      = 250 * time.Millisecond // without a switch before spares are made
	maxSpares  = 16
	spareBytes = 448 << 10 // measured with Linux 6.18: 381 KiB, and 57 for the process that waits
	spareShare = 64        // one of so many parts of the machine's memory is for spares
)

// spareLimit is how many spares this machine has room for.
func spareLimit() int {
	var i unix.Sysinfo_t
	if unix.Sysinfo(&i) != nil {
		return 0
	}
	return int(min(maxSpares, i.Totalram*uint64(i.Unit)/spareShare/spareBytes))
}

// keeper tells the goroutine that makes spares that a switch has ended.
type keeper struct{ kick chan struct{} }

func (k *keeper) wake() {
	select {
	case k.kick <- struct{}{}:
	default: // it knows, or there is none
	}
}

// keepSpares makes spares when all containers are healthy and after each
// switch, until ctx ends; then the channel is closed. A machine whose manifest
// has nothing to switch to does nothing.
func (m *machine) keepSpares(ctx context.Context) <-chan struct{} {
	m.spares.kick = make(chan struct{}, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for m.supervisor.Healthy(ctx) == nil {
			select {
			case <-ctx.Done():
				return
			case <-m.spares.kick:
				continue
			case <-time.After(quiet):
			}
			m.makeSpares(ctx)
			select {
			case <-ctx.Done():
				return
			case <-m.spares.kick:
			}
		}
	}()
	return done
}

// makeSpares makes the spares that are lacking and removes those that no switch
// needs any more.
func (m *machine) makeSpares(ctx context.Context) {
	want := m.sparable()
	if err := m.runtime.KeepSpares(func(c *system.Container) bool { return slices.Contains(want, c) }); err != nil {
		m.log.Printf("removing spare sandboxes: %v", err)
	}
	rt := m.containersOf("")
	for _, c := range want {
		if ctx.Err() != nil || len(m.spares.kick) > 0 {
			return
		}
		if err := rt.Spare(c); err != nil {
			m.log.Printf("%v", err) // a switch will say so again
		}
	}
}

// sparable returns the containers that live switches would start and of which
// there can be spares, those of the first configurations first.
func (m *machine) sparable() (out []*system.Container) {
	from := m.supervisor.Configuration()
	if from.Host != nil { // its containers are units
		return nil
	}
	limit := spareLimit()
	for i := range m.manifest.Configurations {
		to := &m.manifest.Configurations[i]
		if to.Name == from.Name || len(m.obstacles(from, to)) > 0 {
			continue
		}
		changes := m.supervisor.Changes(to)
		for j := range to.Containers {
			c := &to.Containers[j]
			comes := slices.ContainsFunc(changes, func(ch wire.Change) bool {
				return ch.Container == c.Name && (ch.Act == wire.ActStarted || ch.Act == wire.ActRestarted)
			})
			if comes && container.CanSpare(c) && len(out) < limit {
				out = append(out, c)
			}
		}
	}
	return out
}
