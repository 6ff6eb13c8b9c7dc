package container

import (
	"fmt"

	"github.com/instar-os/instar/internal/launch"
	"github.com/instar-os/instar/internal/system"
)

// network puts the namespace of a container that is on networks in its slot.
// It outlasts the sandbox.
func (s *Sandbox) network(r *Runtime, c *system.Container) (err error) {
	if c.Network != system.MemberNetwork {
		return nil
	}
	if r.Namespace == nil {
		return fmt.Errorf("joining its networks: this machine has none")
	}
	if s.fds[launch.NetNS], err = r.Namespace(c.Name); err != nil {
		return fmt.Errorf("joining its networks: %w", err)
	}
	if s.fds[launch.NetNS] < 0 {
		return fmt.Errorf("joining its networks: the configuration has none for it")
	}
	return nil
}
