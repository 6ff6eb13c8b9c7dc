package volume

import (
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/instar-os/instar/internal/linux"
	"github.com/instar-os/instar/internal/system"
	"golang.org/x/sys/unix"
)

// upgrade keeps a copy of the current generation before a newer version of the
// container's software first writes to it. The current generation itself stays
// where it is: the container may hold paths in it.
func (s *Store) upgrade(p place, r *record, version int) error {
	n := r.Last + 1
	bytes, err := s.copy(p, r, r.Current, n, 0)
	if err != nil {
		return fmt.Errorf("making a snapshot of version %d before version %d writes: %w", r.Version, version, err)
	}
	r.Last = n
	if err := s.retain(r, Snapshot{Generation: n, Version: r.Version, Bytes: bytes, Made: s.Now().UTC(), Reason: BeforeUpgrade}); err != nil {
		return err
	}
	r.Version = version
	return p.write(r)
}

// downgrade gives an older version of the container's software the newest
// snapshot that it understands, when that is declared. What was current
// becomes a snapshot.
func (s *Store) downgrade(p place, r *record, d system.Data) error {
	why := fmt.Sprintf("what is there has version %d, the container wants %d: a newer system has written it", r.Version, d.Version)
	if d.OnOlder != system.RestoreOlder {
		return fmt.Errorf("%s; a snapshot can be restored, or declared to be with onOlder: restore", why)
	}
	for _, old := range slices.Backward(r.Snapshots) {
		if old.Version > d.Version {
			continue
		}
		if err := s.replace(p, r, old, BeforeDowngrade); err != nil {
			return fmt.Errorf("%s; restoring snapshot %d: %w", why, old.Generation, err)
		}
		if old.Version < d.Version {
			return s.upgrade(p, r, d.Version)
		}
		return nil
	}
	return fmt.Errorf("%s, and no snapshot is as old as that", why)
}

// replace makes a copy of a snapshot current; the snapshot stays.
func (s *Store) replace(p place, r *record, from Snapshot, why Reason) error {
	n := r.Last + 1
	project, err := s.projectFor(r)
	if err != nil {
		return err
	}
	if _, err := s.copy(p, r, from.Generation, n, project); err != nil {
		return err
	}
	return s.advance(p, r, n, project, from.Version, why)
}

// projectFor returns a project for a generation that is to be current.
func (s *Store) projectFor(r *record) (uint32, error) {
	if !s.Quota {
		return 0, nil
	}
	id, err := s.newProject()
	if err != nil {
		return 0, err
	}
	return id, linux.SetProjectLimit(s.Dir, id, r.Size)
}

// advance makes generation n, which is on the disk, current, and what was
// current a snapshot.
func (s *Store) advance(p place, r *record, n int, project uint32, version int, why Reason) error {
	_, bytes, err := measure(p.generation(r.Current))
	if err != nil {
		return err
	}
	was := Snapshot{Generation: r.Current, Version: r.Version, Bytes: bytes, Made: s.Now().UTC(), Reason: why}
	if err := s.retain(r, was); err != nil {
		return err
	}
	r.Current, r.Last, r.Version, r.Project = n, n, version, project
	return p.write(r)
}

// retain adds a snapshot and lets the oldest go beyond what is declared. The
// new one is never let go: one that exceeds the budget by itself is an error.
func (s *Store) retain(r *record, n Snapshot) error {
	if r.Budget > 0 && n.Bytes > r.Budget {
		return fmt.Errorf("a snapshot of %d bytes exceeds the budget of %d; nothing was changed", n.Bytes, r.Budget)
	}
	all := append(slices.Clone(r.Snapshots), n)
	var total int64
	for _, o := range all {
		total += o.Bytes
	}
	for len(all) > 1 && (len(all) > max(r.Keep, 1) || r.Budget > 0 && total > r.Budget) {
		total -= all[0].Bytes
		all = all[1:]
	}
	r.Snapshots = all
	return nil
}

// copy makes a new generation out of another and makes it last. It returns the
// bytes that its files occupy. There must be room for it, whole.
func (s *Store) copy(p place, r *record, from, to int, project uint32) (int64, error) {
	_, bytes, err := measure(p.generation(from))
	if err != nil {
		return 0, err
	}
	if r.Budget > 0 && bytes > r.Budget {
		return 0, fmt.Errorf("%d bytes exceed the budget of %d for snapshots", bytes, r.Budget)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(p.dir, &st); err != nil {
		return 0, os.NewSyscallError("statfs", err)
	}
	clones := canClone(p.dir)
	if free := int64(st.Bavail) * st.Bsize; !clones && free < bytes+roomLeft {
		return 0, fmt.Errorf("%d bytes are needed and %d are free", bytes+roomLeft, free)
	}
	dir := p.generation(to)
	if err := s.FS.RemoveAll(dir); err != nil {
		return 0, err
	}
	if err := copyTree(p.generation(from), dir, project); err != nil {
		return 0, err
	}
	return bytes, s.FS.SyncFS(p.dir)
}

// roomLeft is what a copy leaves free for everything else, in bytes.
const roomLeft = 1 << 20

// Restore makes a copy of a snapshot the current generation; what was current
// becomes a snapshot itself. The container must not run.
func (s *Store) Restore(n Name, generation int) error {
	return s.change(n, func(p place, r *record) error {
		i := slices.IndexFunc(r.Snapshots, func(o Snapshot) bool { return o.Generation == generation })
		if i < 0 {
			return fmt.Errorf("there is no snapshot %d", generation)
		}
		return s.replace(p, r, r.Snapshots[i], BeforeRestore)
	})
}

// Import replaces the content of a volume with that of a tar archive; what was
// current becomes a snapshot. version 0 leaves the volume's version. The
// container must not run, and must have run once.
func (s *Store) Import(n Name, version int, archive io.Reader) error {
	return s.change(n, func(p place, r *record) error {
		if version == 0 {
			version = r.Version
		}
		to := r.Last + 1
		project, err := s.projectFor(r)
		if err != nil {
			return err
		}
		if err := s.FS.RemoveAll(p.generation(to)); err != nil {
			return err
		}
		if err := unpack(archive, p.generation(r.Current), p.generation(to), r.Size, project); err != nil {
			return err
		}
		if err := s.FS.SyncFS(p.dir); err != nil {
			return err
		}
		return s.advance(p, r, to, project, version, BeforeImport)
	})
}

// change calls f with a volume that nobody uses, and sweeps after it.
func (s *Store) change(n Name, f func(place, *record) error) error {
	st := s.state(n)
	st.mu.Lock()
	defer st.mu.Unlock()
	p := s.place(n)
	r, err := p.read()
	switch {
	case err != nil:
		return fmt.Errorf("data %v: %w", n, err)
	case r == nil:
		return fmt.Errorf("there is no data %v", n)
	case st.users > 0:
		return fmt.Errorf("data %v: %w", n, ErrInUse)
	}
	held, err := p.alone()
	if err != nil {
		return fmt.Errorf("data %v: %w", n, err)
	}
	defer held.Close()
	if err := f(p, r); err != nil {
		if now, e := p.read(); e == nil && now != nil {
			p.sweep(now) // else the next use does it
		}
		return fmt.Errorf("data %v: %w", n, err)
	}
	return p.sweep(r)
}
