package supervise

import "github.com/instar-os/instar/internal/system"

// A Lacker is a Runtime that knows what a container waits for beside other
// containers, as a device that is not plugged in. The channel is closed when
// that may have changed.
type Lacker interface {
	Lacks(c *system.Container) (what []string, changed <-chan struct{})
}

func (u *unit) lacks() ([]string, <-chan struct{}) {
	if l, ok := u.s.arrangement().runtime.(Lacker); ok {
		return l.Lacks(u.c)
	}
	return nil, nil
}
