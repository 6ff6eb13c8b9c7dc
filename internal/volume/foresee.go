package volume

import (
	"fmt"
	"slices"

	"github.com/instar-os/instar/internal/system"
)

// Foresee says why Open would fail for a container because a newer version has
// written the data, "" when it would not. It changes nothing.
func (s *Store) Foresee(configuration, container string, d system.Data) (string, error) {
	r, err := s.place(Name{configuration, container, d.Path}).read()
	if err != nil {
		return "", fmt.Errorf("data %s: %w", d.Path, err)
	}
	if r == nil || r.Version <= d.Version {
		return "", nil
	}
	understood := func(o Snapshot) bool { return o.Version <= d.Version }
	if d.OnOlder == system.RestoreOlder && slices.ContainsFunc(r.Snapshots, understood) {
		return "", nil
	}
	return fmt.Sprintf("data %s of container %s has version %d, and it wants %d", d.Path, container, r.Version, d.Version), nil
}
