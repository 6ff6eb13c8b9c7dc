package receive

import (
	"slices"

	"github.com/instar-os/instar/internal/container"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/update"
	"github.com/instar-os/instar/internal/volume"
)

// newerData finds data that a newer version has written than a system
// understands, which its containers would not start with.
func newerData(dir string, m *system.Manifest) []update.Problem {
	if dir == "" {
		return nil
	}
	s := &volume.Store{Dir: dir}
	var all []update.Problem
	for _, c := range m.Configurations {
		for _, ct := range c.Containers {
			for _, d := range ct.Data {
				owner := c.Name
				if d.Shared {
					owner = container.SharedData
				}
				why, err := s.Foresee(owner, ct.Name, d)
				if err != nil {
					why = err.Error()
				}
				p := update.Problem{Code: update.DataNewer, Text: why}
				if why != "" && !slices.Contains(all, p) {
					all = append(all, p)
				}
			}
		}
	}
	return all
}
