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

// waits are what the children of build have in common.
type waits struct {
	slots   []uintptr
	users   *gate           // the users are mapped, for both
	owners  *unix.MountAttr // by which namespace; looked at behind the gate
	ready   *gate           // the namespaces are there, for the root
	entered *gate           // the host's mounts can be dropped
	self    int             // descriptor of the supervisor
}

// noFile is no descriptor to mount_setattr(2).
const noFile = 1<<64 - 1

func newWaits() (*waits, error) {
	w := &waits{slots: make([]uintptr, launch.MaxSlots), owners: &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: noFile}, self: -1}
	var err error
	if w.self, err = unix.PidfdOpen(os.Getpid(), 0); err != nil {
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	for _, g := range []**gate{&w.users, &w.ready, &w.entered} {
		if *g, err = newGate(w.self); err != nil {
			w.close()
			return nil, err
		}
	}
	w.clear()
	return w, nil
}

// clear makes the slots those of programs that have not begun.
func (w *waits) clear() {
	for i := range w.slots {
		w.slots[i] = ^uintptr(0)
	}
	w.users.put(w.slots, launch.Users)
	w.ready.put(w.slots, launch.Ready)
	w.entered.put(w.slots, launch.Entered)
	w.slots[launch.IDMap] = uintptr(unsafe.Pointer(w.owners))
}

func (w *waits) close() {
	for _, g := range []*gate{w.users, w.ready, w.entered} {
		if g != nil {
			g.close()
		}
	}
	unix.Close(w.self)
}

// build makes the namespaces and the mounts at the same time, and meanwhile what
// else there is to do: a network namespace takes the kernel nearly as long as
// all mounts together. Whatever fails, no child is left.
func (s *Sandbox) build(r *Runtime, c *system.Container, l *loadedLaunch, where parts, meanwhile func() error) error {
	if err := os.MkdirAll(s.place, 0o700); err != nil {
		return err
	}
	on, err := newWaits()
	if err != nil {
		return err
	}
	defer on.close()
	root, err := s.beginRoot(r, l.root, where, on)
	if err != nil {
		return err
	}
	drop, err := s.makeRest(c, l, on, meanwhile)
	if err != nil {
		err = errors.Join(err, s.giveUp(root, on))
	} else if err = s.endRoot(root, on); errors.Is(err, unix.ENOTBLK) {
		err = s.makeRootOnLoop(r, l.root, where, on)
	}
	if drop == nil {
		return err
	}
	if err != nil {
		drop.kill() // it opens nothing that could be lost
	}
	if e := drop.end(); err == nil {
		err = e
	}
	if err == nil && r.Watch != nil {
		err = r.Watch(c.Name, s.fds[launch.MountNS])
	}
	return err
}

// makeRest makes the namespaces that hold no mounts, beside the root, and lets
// the host's mounts be dropped, by a child that the caller ends.
func (s *Sandbox) makeRest(c *system.Container, l *loadedLaunch, on *waits, meanwhile func() error) (drop *walk, err error) {
	spaces, err := l.spaces.begin(on.slots, on)
	if err != nil {
		return nil, err
	}
	err = s.serve(c, spaces, on, func() (err error) {
		if drop, err = l.drop.begin(on.slots, on); err != nil {
			return err
		}
		return meanwhile()
	})
	if e := spaces.end(); e != nil {
		err = e // what came of the child explains the rest
	}
	return drop, s.collect(spaces, err)
}

// serve does the supervisor's part while the children walk: it maps the users,
// lets those go on that wait for them, and does what else there is to do.
func (s *Sandbox) serve(c *system.Container, spaces *walk, on *waits, meanwhile func() error) error {
	if c.IDs.Base != 0 {
		if err := s.takeUsers(spaces.pid, c.IDs); err != nil {
			return err
		}
		on.owners.Userns_fd = uint64(s.fds[launch.UserNS])
		if err := on.users.open(2); err != nil {
			return err
		}
	}
	return meanwhile()
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
	on.clear()
	s.known(on.slots)
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
	keep := []any{on}
	for i, text := range in {
		p := unsafe.StringData(text + "\x00")
		keep = append(keep, p)
		on.slots[i] = uintptr(unsafe.Pointer(p))
	}
	return l.begin(on.slots, keep...)
}

// endRoot lets the root go on with the sandbox's namespaces, if it waits, and
// waits for it.
func (s *Sandbox) endRoot(w *walk, on *waits) error {
	s.known(on.slots)
	if err := on.ready.open(1); err != nil {
		return errors.Join(err, s.giveUp(w, on))
	}
	return s.collect(w, w.end())
}

// giveUp lets the root end without what it waits for. It is not killed, for a
// descriptor that it has just opened could not be found then.
func (s *Sandbox) giveUp(w *walk, on *waits) error {
	errs := []error{on.users.open(1), on.ready.open(1)}
	_ = w.end() // somebody else's error is the reason
	_ = s.collect(w, errGivenUp)
	return errors.Join(errs...)
}

var errGivenUp = errors.New("the sandbox is not wanted any more")

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
