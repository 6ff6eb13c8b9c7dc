package linux

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Uevent is an event of the kernel's device model.
type Uevent struct {
	Action string            // add, remove, change, move, online, offline, bind, unbind
	Path   string            // of the device below /sys, with a slash in front
	Keys   map[string]string // SUBSYSTEM, DEVNAME, MAJOR, …
}

// maxUeventKeys is UEVENT_NUM_ENVP of linux/kobject.h.
const maxUeventKeys = 64

// ParseUevent reads a message of the kernel: "action@path" and "KEY=value",
// each ended by NUL (lib/kobject_uevent.c). Messages of udev, which begin
// otherwise, are errors.
func ParseUevent(b []byte) (Uevent, error) {
	head, rest, ok := bytes.Cut(b, []byte{0})
	action, path, at := strings.Cut(string(head), "@")
	if !ok || !at || action == "" || !strings.HasPrefix(path, "/") {
		return Uevent{}, errors.New("not an event of the kernel")
	}
	e := Uevent{Action: action, Path: path, Keys: map[string]string{}}
	for len(rest) > 0 {
		if len(e.Keys) == maxUeventKeys {
			return Uevent{}, fmt.Errorf("an event of more than %d keys", maxUeventKeys)
		}
		var field []byte
		field, rest, _ = bytes.Cut(rest, []byte{0})
		if key, value, ok := strings.Cut(string(field), "="); ok && key != "" {
			e.Keys[key] = value
		}
	}
	return e, nil
}

// Uevents is a subscription to the kernel's events.
type Uevents struct {
	f *os.File
}

// OpenUevents subscribes. Events from then on are not missed: who opens it
// before looking at sysfs sees every device.
func OpenUevents() (*Uevents, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, fmt.Errorf("listening for devices: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("listening for devices: %w", err)
	}
	return &Uevents{os.NewFile(uintptr(fd), "uevents")}, nil
}

// Watch calls heard for every event until ctx ends, and closes the
// subscription. An event without an action says that some were lost. What does
// not come from the kernel is not heard.
func (u *Uevents) Watch(ctx context.Context, heard func(Uevent)) error {
	defer u.f.Close()
	stop := context.AfterFunc(ctx, func() { u.f.Close() })
	defer stop()
	conn, err := u.f.SyscallConn()
	if err != nil {
		return fmt.Errorf("listening for devices: %w", err)
	}
	buf := make([]byte, maxUevent)
	for {
		var n int
		var from unix.Sockaddr
		var failed error
		err := conn.Read(func(fd uintptr) bool {
			n, from, failed = unix.Recvfrom(int(fd), buf, 0)
			return failed != unix.EAGAIN
		})
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("listening for devices: %w", err)
		case failed == unix.ENOBUFS:
			heard(Uevent{})
			continue
		case failed == unix.EINTR:
			continue
		case failed != nil:
			return fmt.Errorf("listening for devices: %w", failed)
		}
		if sender, ok := from.(*unix.SockaddrNetlink); !ok || sender.Pid != 0 {
			continue
		}
		if e, err := ParseUevent(buf[:n]); err == nil {
			heard(e)
		}
	}
}
