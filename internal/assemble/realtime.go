package assemble

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/realtime/plan"
	"github.com/instar-os/instar/internal/system"
)

// timing proves that every task of every configuration is in time on a kernel,
// or says which is not. The release is "" when it is not known yet.
func (b *Builder) timing(def *config.Definition, release string) ([]*plan.Configuration, error) {
	return plan.Make(def, plan.Options{Release: release, Read: func(name string) ([]byte, error) {
		return os.ReadFile(filepath.Join(b.Dir, filepath.FromSlash(name)))
	}})
}

// realtime puts into the configurations what was proven, and what the device
// has to set so that it is true.
func (b *Builder) realtime(def *config.Definition, confs []system.Configuration, release string) error {
	plans, err := b.timing(def, release)
	if err != nil {
		return err
	}
	for _, p := range plans {
		i := slices.IndexFunc(confs, func(c system.Configuration) bool { return c.Name == p.Name })
		c := &confs[i]
		proof, err := p.Proof()
		if err != nil {
			return fmt.Errorf("configuration %s: writing its proof: %w", p.Name, err)
		}
		c.RealTime = p.RealTime
		if c.RealTime.Proof, err = b.putObject(proof); err != nil {
			return err
		}
		c.Command = slices.Concat(c.Command, p.Command)
		for j := range c.Containers {
			ct := &c.Containers[j]
			ct.Tasks, ct.Partition = p.Tasks[ct.Name], p.Partitions[ct.Name]
		}
	}
	return nil
}
