package linux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// NetNS is a network namespace without processes, which lives as long as it is
// open.
type NetNS struct {
	*Netlink // a socket in it
	file     *os.File
}

// NewNetNS makes a network namespace. configure is called within it, on a
// thread that sees its /proc/sys/net.
func NewNetNS(configure func() error) (*NetNS, error) {
	type result struct {
		ns  *NetNS
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // not unlocked where the thread cannot go back: it ends then
		own, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			done <- result{nil, err}
			return
		}
		defer own.Close()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- result{nil, fmt.Errorf("making a network namespace: %w", err)}
			return
		}
		ns, err := thisNetNS(configure)
		if unix.Setns(int(own.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		done <- result{ns, err}
	}()
	r := <-done
	return r.ns, r.err
}

// thisNetNS opens the thread's network namespace.
func thisNetNS(configure func() error) (*NetNS, error) {
	file, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	socket, err := OpenNetlink()
	if err != nil {
		file.Close()
		return nil, err
	}
	ns := &NetNS{socket, file}
	const loopback = 1 // LOOPBACK_IFINDEX of net/flow.h
	if err := errors.Join(socket.SetUp(loopback), configure()); err != nil {
		ns.Close()
		return nil, err
	}
	return ns, nil
}

// Fd returns the namespace's descriptor.
func (n *NetNS) Fd() int { return int(n.file.Fd()) }

// Close gives up the namespace; it ends with its last process.
func (n *NetNS) Close() error { return errors.Join(n.Netlink.Close(), n.file.Close()) }

// Send sends a whole rtnetlink request, which asks for an acknowledgement, with
// a sequence number of its own, and returns the kernel's verdict.
func (n *Netlink) Send(message []byte) error {
	if len(message) < unix.NLMSG_HDRLEN {
		return fmt.Errorf("a netlink message of %d bytes", len(message))
	}
	kind, flags := binary.NativeEndian.Uint16(message[4:]), binary.NativeEndian.Uint16(message[6:])
	return n.request(kind, flags, message[unix.NLMSG_HDRLEN:])
}

// ApplyRules sends a transaction of nftables, in the network namespace of the
// calling thread. The kernel judges it before it returns from taking it, and
// answers only what it refuses: linux/netfilter/nfnetlink.h.
func ApplyRules(batch []byte) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return fmt.Errorf("opening nfnetlink: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 2*len(batch)+64<<10); err != nil {
		return fmt.Errorf("making room for %d bytes of rules: %w", len(batch), err)
	}
	if err := unix.Sendto(fd, batch, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("sending the rules: %w", err)
	}
	buf := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("sending the rules: %w", err)
		}
		if seq, errno, ok := refusal(buf[:n]); ok {
			return fmt.Errorf("message %d of the rules: %w", seq, errno)
		}
	}
}

// refusal finds the first error among messages.
func refusal(b []byte) (seq uint32, errno unix.Errno, ok bool) {
	for len(b) >= unix.NLMSG_HDRLEN {
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.NLMSG_HDRLEN || size > len(b) {
			return 0, 0, false
		}
		if binary.NativeEndian.Uint16(b[4:]) == unix.NLMSG_ERROR && size >= unix.NLMSG_HDRLEN+4 {
			if e := unix.Errno(-int32(binary.NativeEndian.Uint32(b[unix.NLMSG_HDRLEN:]))); e != 0 {
				return binary.NativeEndian.Uint32(b[8:]), e, true
			}
		}
		b = b[min((size+3)&^3, len(b)):]
	}
	return 0, 0, false
}

// WriteSysctl sets a value below /proc/sys. Those of the network are the
// calling thread's network namespace's.
func WriteSysctl(name, value string) error {
	if err := os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0); err != nil {
		return fmt.Errorf("setting %s to %s: %w", name, value, err)
	}
	return nil
}
