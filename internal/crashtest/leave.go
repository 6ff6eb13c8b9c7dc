package crashtest

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

func (m *model) diskNames() []string { return slices.Sorted(maps.Keys(m.disks)) }

// leave writes a crashed state out below dir, which is empty.
func (s *settled) leave(dir string) (*State, error) {
	st := &State{Dir: dir, Acked: s.c.acked, disks: map[string]*Disk{}}
	for name, dm := range s.c.m.disks {
		d := &Disk{name: name, size: dm.size, base: dm.base, over: make(map[int64][]byte, len(dm.order))}
		for n, x := range dm.sectors {
			if x.latest(s.c.at) >= 0 && s.index[x.id] > 0 {
				d.over[n] = s.get(x).b
			}
		}
		st.disks[name] = d
	}
	if s.c.m.root == 0 {
		return st, nil
	}
	root := s.c.m.inodes[s.c.m.root]
	paths := map[int64]string{root.id: dir}
	made := map[int64]string{}
	type late struct {
		path string
		attr attr
	}
	var dirs []late
	var err error
	s.each(func(in int64, name string, n *inode) bool {
		if err != nil {
			return false
		}
		at := filepath.Join(paths[in], name)
		a := s.get(n.attr).attr
		if first, ok := made[n.id]; ok {
			if n.kind == kindDir {
				return false // a directory has one name: the first that is met
			}
			err = os.Link(first, at)
			return false
		}
		made[n.id], paths[n.id] = at, at
		switch n.kind {
		case kindDir:
			err = unix.Mkdir(at, 0o700)
			if a.mode != 0o700 || a.uid != 0 || a.gid != 0 {
				dirs = append(dirs, late{at, a})
			}
		case kindLink:
			err = unix.Symlink(n.target, at)
		case kindPipe:
			err = unix.Mkfifo(at, a.mode)
		default:
			err = leaveFile(at, a, s.content(n))
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", at, err)
		}
		return true
	})
	for _, d := range slices.Backward(dirs) {
		if err == nil {
			err = setAttr(d.path, d.attr)
		}
	}
	return st, err
}

func leaveFile(at string, a attr, content []byte) error {
	fd, err := unix.Open(at, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for len(content) > 0 {
		n, err := unix.Write(fd, content)
		if err != nil {
			return err
		}
		content = content[n:]
	}
	if a.uid != 0 || a.gid != 0 {
		if err := unix.Fchown(fd, int(a.uid), int(a.gid)); err != nil {
			return err
		}
	}
	if a.mode == 0o600 {
		return nil
	}
	return unix.Fchmod(fd, a.mode)
}

func setAttr(at string, a attr) error {
	if a.uid != 0 || a.gid != 0 {
		if err := unix.Chown(at, int(a.uid), int(a.gid)); err != nil {
			return err
		}
	}
	return unix.Chmod(at, a.mode)
}
