package volume

import (
	"context"
	"fmt"

	"github.com/instar-os/instar/internal/linux"
	"github.com/instar-os/instar/internal/wire"
)

// Volumes implements wire.DataControl: every volume with what it occupies.
func (s *Store) Volumes(context.Context) ([]wire.Volume, error) {
	out := []wire.Volume{}
	err := s.each(func(n Name, p place, r *record) error {
		st := s.state(n)
		st.mu.Lock()
		used := st.users > 0 || p.used()
		st.mu.Unlock()
		bytes, err := s.usage(p, r)
		if err != nil {
			return fmt.Errorf("data %v: %w", n, err)
		}
		v := wire.Volume{
			VolumeName: wire.VolumeName{Configuration: n.Configuration, Container: n.Container, Path: n.Path},
			Version:    r.Version, Generation: r.Current, Bytes: bytes, Limit: r.Size, InUse: used,
			Limited: r.Size > 0 && r.Project != 0, Budget: r.Budget, Snapshots: []wire.VolumeSnapshot{},
		}
		for _, o := range r.Snapshots {
			v.Snapshots = append(v.Snapshots, wire.VolumeSnapshot{
				Number: o.Generation, Version: o.Version, Bytes: o.Bytes, Made: o.Made, Reason: string(o.Reason)})
		}
		out = append(out, v)
		return nil
	})
	return out, err
}

// usage returns what the current generation occupies: what the quota counts,
// else the sum over its files.
func (s *Store) usage(p place, r *record) (int64, error) {
	if s.Quota && r.Project != 0 {
		return linux.ProjectUsage(s.Dir, r.Project)
	}
	_, bytes, err := measure(p.generation(r.Current))
	return bytes, err
}
