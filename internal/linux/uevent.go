package linux

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// maxUevent is UEVENT_BUFFER_SIZE and room for the headline, in bytes.
const maxUevent = 8 << 10

// again is how long WaitDevice waits for an event before it looks all the same:
// found may watch other things as well.
const again = 250 * time.Millisecond

// WaitDevice calls found now, after each event of the kernel's device model and
// four times a second, until it says true, fails, or the time has passed; then
// it returns what found said last.
func WaitDevice(timeout time.Duration, found func() (bool, error)) (bool, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return false, fmt.Errorf("listening for devices: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		return false, fmt.Errorf("listening for devices: %w", err)
	}
	deadline := time.Now().Add(timeout)
	for {
		if ok, err := found(); ok || err != nil {
			return ok, err
		}
		left := time.Until(deadline)
		if left <= 0 {
			return false, nil
		}
		if err := awaitUevent(fd, min(left, again)); err != nil {
			return false, err
		}
	}
}

// awaitUevent returns after the next event, or after the time.
func awaitUevent(fd int, left time.Duration) error {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p, int(left.Milliseconds())+1)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("waiting for devices: %w", err)
	}
	if n == 0 {
		return nil
	}
	buf := make([]byte, maxUevent)
	for {
		// What the event says does not matter: found looks at sysfs itself.
		_, _, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT)
		if err != nil {
			return nil // drained, or events were lost; look again either way
		}
	}
}
