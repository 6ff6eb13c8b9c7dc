package container

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"github.com/instar-os/instar/internal/launch"
	"github.com/instar-os/instar/internal/system"
	"golang.org/x/sys/unix"
)

// waits are what the children of build wait for.
type waits struct {
	users  *gate           // the users are mapped, for both
	owners *unix.MountAttr // by which namespace; looked at behind the gate
	ready  *gate           // the namespaces are there, for the root
}

func newWaits() (*waits, error) {
	users, err := newGate()
	if err != nil {
		return nil, err
	}
	ready, err := newGate()
	if err != nil {
		users.close()
		return nil, err
	}
	return &waits{users, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP}, ready}, nil
}

func (w *waits) close() {
	w.users.close()
	w.ready.close()
}

func (w *waits) put(slots []uintptr) {
	w.users.put(slots, launch.Users)
	w.ready.put(slots, launch.Ready)
	slots[launch.IDMap] = uintptr(unsafe.Pointer(w.owners))
}

// build makes the namespaces and the mounts at the same time, and meanwhile what
// else there is to do: a network namespace takes the kernel nearly as long as
// all mounts together. Whatever fails, no child is left.
func (s *Sandbox) build(r *Runtime, c *system.Container, l *loadedLaunch, where parts, meanwhile func() error) error {
	if err := os.MkdirAll(s.place, 0o700); err != nil {
		return err
	}
	w, err := newWaits()
	if err != nil {
		return err
	}
	defer w.close()
	root, err := s.beginRoot(r, l.root, where, w)
	if err != nil {
		return err
	}
	if err := s.makeSpaces(c, l.spaces, w, meanwhile); err != nil {
		root.cancel()
		return s.collect(root, err)
	}
	err = s.endRoot(root, w)
	if errors.Is(err, unix.ENOTBLK) {
		err = s.makeRootOnLoop(r, l.root, where, w)
	}
	return err
}

// makeSpaces makes the namespaces that hold no mounts. When there are users, it
// lets those go on that wait for them.
func (s *Sandbox) makeSpaces(c *system.Container, l *loaded, on *waits, meanwhile func() error) error {
	slots := l.slots()
	on.put(slots)
	w, err := l.begin(slots, on)
	if err != nil {
		return err
	}
	if c.IDs.Base != 0 {
		err = s.takeUsers(w.pid, c.IDs)
		on.owners.Userns_fd = uint64(s.fds[launch.UserNS])
		err = errors.Join(err, on.users.open(2)) // a mistake shows when the owners are mapped
	}
	if err == nil {
		err = meanwhile()
	}
	if e := w.end(); e != nil {
		err = e // what came of the child explains the rest
	}
	return s.collect(w, err)
}

// takeUsers takes a child's new user namespace and maps its users.
func (s *Sandbox) takeUsers(pid int, ids system.IDRange) (err error) {
	s.fds[launch.UserNS], err = openat(unix.AT_FDCWD, fmt.Sprintf("/proc/%d/ns/user", pid), unix.O_RDONLY)
	if err != nil {
		return err
	}
	return mapIDs(pid, ids)
}

// mapIDs makes the users and groups of a process' new user namespace those of a
// range of the machine: user_namespaces(7).
func mapIDs(pid int, r system.IDRange) error {
	line := fmt.Sprintf("0 %d %d\n", r.Base, r.Count)
	for _, file := range []string{"uid_map", "gid_map"} {
		if err := put(unix.AT_FDCWD, fmt.Sprintf("/proc/%d/%s", pid, file), line); err != nil {
			return fmt.Errorf("mapping its users and groups: %w", err)
		}
	}
	return nil
}

// makeRootOnLoop mounts the image from a loop device. EROFS wants a block
// device (ENOTBLK) when the image's file system cannot back it: tmpfs, and an
// overlay, which would be one file system too many on top of each other. The
// first try has come to no gate.
func (s *Sandbox) makeRootOnLoop(r *Runtime, l *loaded, where parts, on *waits) error {
	device, err := attachLoop(where.image)
	if err != nil {
		return fmt.Errorf("making its image a block device: %w", err)
	}
	defer device.Close()
	where.image = device.Name()
	w, err := s.beginRoot(r, l, where, on)
	if err != nil {
		return err
	}
	return s.endRoot(w, on)
}

// beginRoot begins to make the mounts.
func (s *Sandbox) beginRoot(r *Runtime, l *loaded, where parts, on *waits) (*walk, error) {
	verity := "off"
	if r.Verity {
		verity = "require"
	}
	in := map[int]string{
		launch.Place: s.place, launch.Image: where.image, launch.Objects: where.objects,
		launch.Verity: verity, launch.Resolv: r.Resolv, launch.Control: r.Control,
	}
	for i, dir := range where.data {
		in[launch.FirstData+i] = dir
	}
	slots := l.slots()
	s.known(slots)
	keep := []any{on}
	for i, text := range in {
		p := unsafe.StringData(text + "\x00")
		keep = append(keep, p)
		slots[i] = uintptr(unsafe.Pointer(p))
	}
	on.put(slots)
	return l.begin(slots, keep...)
}

// endRoot lets the root go on with the sandbox's namespaces, and waits for it.
func (s *Sandbox) endRoot(w *walk, on *waits) error {
	s.known(w.slots)
	if err := on.ready.open(1); err != nil {
		w.cancel()
		return s.collect(w, err)
	}
	return s.collect(w, w.end())
}

// known sets the slots of the namespaces that Root finds.
func (s *Sandbox) known(slots []uintptr) {
	for i := launch.UTSNS; i <= launch.UserNS; i++ {
		slots[i] = uintptr(s.fds[i])
	}
}

// collect takes what a child that has ended has opened: without an error, the
// descriptors in the namespaces' slots become the sandbox's. The others are
// closed. It returns the error.
func (s *Sandbox) collect(w *walk, err error) error {
	for _, i := range w.l.outputs() {
		fd := int(w.slots[i])
		switch {
		case fd < 0:
		case i <= launch.UserNS && err == nil:
			s.fds[i] = fd
		case i == launch.Master && err == nil:
			s.master = os.NewFile(uintptr(fd), "terminal")
		default:
			unix.Close(fd)
		}
	}
	return err
}
