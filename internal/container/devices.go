package container

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/instar-os/instar/internal/bpf"
	"github.com/instar-os/instar/internal/launch"
	"github.com/instar-os/instar/internal/system"
	"golang.org/x/sys/unix"
)

// common are the devices of every container: those that launch makes, and
// terminals of its own.
func common() []bpf.Rule {
	all := bpf.Mknod | bpf.Read | bpf.Write
	rules := []bpf.Rule{
		{Device: bpf.Device{Major: unix98Major, Minor: bpf.AnyMinor}, Access: all},
		{Device: bpf.Device{Major: 5, Minor: 2}, Access: all}, // ptmx
	}
	for _, n := range launch.Nodes() {
		rules = append(rules, bpf.Rule{Device: bpf.Device{Major: n.Major, Minor: n.Minor}, Access: all})
	}
	return rules
}

// unix98Major is the first major number of /dev/pts, the only one in use:
// Documentation/admin-guide/devices.txt.
const unix98Major = 136

// sharedFilter is the filter of containers that own no device. It is loaded
// once and stays until the runtime is closed.
type sharedFilter struct {
	mu sync.Mutex
	f  *bpf.DeviceFilter
}

func (s *sharedFilter) get() (*bpf.DeviceFilter, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.f != nil {
		return s.f, nil
	}
	f, err := bpf.NewDeviceFilter(common())
	if err != nil {
		return nil, err
	}
	s.f = f
	return f, nil
}

func (s *sharedFilter) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.f == nil {
		return nil
	}
	f := s.f
	s.f = nil
	return f.Close()
}

// Close gives up what the runtime's containers share, and the spares. Those that
// run keep their limits.
func (r *Runtime) Close() error {
	return errors.Join(r.KeepSpares(func(*system.Container) bool { return false }), r.filter.close(), r.init.close())
}

// devices is what a sandbox may do with devices, and the way to its /dev.
type devices struct {
	base uint32 // of the container's users
	uid  uint32
	gid  uint32

	mu     sync.Mutex
	filter *bpf.DeviceFilter // its own; nil: the shared one or none
	dev    *os.File          // a mount of its /dev that can be written; nil before the first device
	closed bool
}

func (d *devices) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	if d.filter != nil {
		d.filter.Close()
	}
	if d.dev != nil {
		d.dev.Close()
	}
	d.filter, d.dev = nil, nil
}

// guard limits the devices that the container's processes can use, whatever
// nodes they make, to those that every container has; AddDevice adds to them.
// Where that cannot be enforced it is a warning.
func (s *Sandbox) guard(r *Runtime, c *system.Container) {
	s.devices.base, s.devices.uid, s.devices.gid = c.IDs.Base, c.UID, c.GID
	if s.cgroup == nil {
		if len(c.Devices) > 0 || len(c.Capabilities) > 0 {
			s.warnings = append(s.warnings, "its use of devices is not limited: no cgroup v2 here")
		}
		return
	}
	filter, err := r.filter.get()
	if err == nil && len(c.Devices) > 0 {
		filter, err = bpf.NewDeviceFilter(common())
		s.devices.filter = filter
	}
	if err == nil {
		err = filter.Attach(s.cgroup.fd)
	}
	if err != nil {
		s.warnings = append(s.warnings, fmt.Sprintf("its use of devices is not limited: %v", err))
	}
}

// AddDevice makes the node of a device in the container's /dev and allows its
// use. The node belongs to the container's user. It may be called again.
func (s *Sandbox) AddDevice(d system.Device, block bool, major, minor uint32) error {
	s.devices.mu.Lock()
	defer s.devices.mu.Unlock()
	if s.devices.closed {
		return errors.New("the container has ended")
	}
	rule := bpf.Rule{Device: bpf.Device{Block: block, Major: major, Minor: minor}, Access: access(d.Access)}
	if s.devices.filter != nil {
		if err := s.devices.filter.Allow(rule); err != nil {
			return err
		}
	}
	if s.devices.dev == nil {
		var err error
		if s.devices.dev, err = writableDev(s.fds[launch.MountNS]); err != nil {
			return fmt.Errorf("opening its /dev: %w", err)
		}
	}
	return s.devices.makeNode(d, rule.Device)
}

// RemoveDevice takes a device away. What the container has open stays open; the
// kernel fails what is done with it.
func (s *Sandbox) RemoveDevice(d system.Device, block bool, major, minor uint32) error {
	s.devices.mu.Lock()
	defer s.devices.mu.Unlock()
	if s.devices.closed {
		return nil
	}
	var err error
	if s.devices.dev != nil {
		err = unix.Unlinkat(int(s.devices.dev.Fd()), below(d.To), 0)
		if errors.Is(err, unix.ENOENT) {
			err = nil
		}
	}
	if s.devices.filter != nil {
		err = errors.Join(err, s.devices.filter.Deny(bpf.Device{Block: block, Major: major, Minor: minor}))
	}
	return err
}

func below(to string) string { return strings.TrimPrefix(path.Clean(to), "/dev/") }

func access(s string) bpf.Access {
	var a bpf.Access
	for _, c := range s {
		switch c {
		case 'r':
			a |= bpf.Read
		case 'w':
			a |= bpf.Write
		case 'm':
			a |= bpf.Mknod
		}
	}
	return a
}

func (d *devices) makeNode(device system.Device, n bpf.Device) error {
	name, dir := below(device.To), int(d.dev.Fd())
	if err := makeParents(dir, path.Dir(name)); err != nil {
		return err
	}
	mode := uint32(unix.S_IFCHR)
	if n.Block {
		mode = unix.S_IFBLK
	}
	if access(device.Access)&bpf.Read != 0 {
		mode |= 0o400
	}
	if access(device.Access)&bpf.Write != 0 {
		mode |= 0o200
	}
	if err := unix.Unlinkat(dir, name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("replacing %s: %w", device.To, err)
	}
	if err := unix.Mknodat(dir, name, mode, int(unix.Mkdev(n.Major, n.Minor))); err != nil {
		return fmt.Errorf("making %s: %w", device.To, err)
	}
	if err := unix.Fchmodat(dir, name, mode&0o777, 0); err != nil { // whatever the umask
		return fmt.Errorf("making %s: %w", device.To, err)
	}
	if err := unix.Fchownat(dir, name, int(d.base+d.uid), int(d.base+d.gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("making %s: %w", device.To, err)
	}
	return nil
}

func makeParents(dir int, name string) error {
	if name == "." {
		return nil
	}
	if err := makeParents(dir, path.Dir(name)); err != nil {
		return err
	}
	if err := unix.Mkdirat(dir, name, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("making /dev/%s: %w", name, err)
	}
	return unix.Fchmodat(dir, name, 0o755, 0)
}

// writableDev returns a mount of its own of the /dev of a mount namespace,
// which the container sees read-only. A thread enters the namespace for it and
// ends there.
func writableDev(namespace int) (*os.File, error) {
	type result struct {
		fd  int
		err error
	}
	got := make(chan result)
	go func() {
		runtime.LockOSThread() // for good: the thread is given up
		fd, err := cloneDev(namespace)
		got <- result{fd, err}
	}()
	r := <-got
	if r.err != nil {
		return nil, r.err
	}
	return os.NewFile(uintptr(r.fd), filepath.Join("container", "dev")), nil
}

func cloneDev(namespace int) (int, error) {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return -1, os.NewSyscallError("unshare", err)
	}
	if err := unix.Setns(namespace, unix.CLONE_NEWNS); err != nil {
		return -1, os.NewSyscallError("setns", err)
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, "/dev", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, os.NewSyscallError("open_tree", err)
	}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}); err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("mount_setattr", err)
	}
	return fd, nil
}
