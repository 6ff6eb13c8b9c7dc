package linux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Netlink is a socket of rtnetlink in the network namespace in which it was
// opened. It is not for concurrent use.
//
// Source: rtnetlink(7), netlink(7).
type Netlink struct {
	fd  int
	seq uint32
}

// OpenNetlink opens a socket.
func OpenNetlink() (*Netlink, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("opening rtnetlink: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("opening rtnetlink: %w", err)
	}
	return &Netlink{fd: fd}, nil
}

// Close closes the socket.
func (n *Netlink) Close() error { return unix.Close(n.fd) }

// SetUp brings an interface up.
func (n *Netlink) SetUp(index int) error {
	return n.link(index, unix.IFF_UP, unix.IFF_UP, nil, "bringing it up")
}

// SetDown takes an interface down.
func (n *Netlink) SetDown(index int) error {
	return n.link(index, 0, unix.IFF_UP, nil, "taking it down")
}

// Rename gives an interface another name; kernels before 6.2 want it down.
func (n *Netlink) Rename(index int, name string) error {
	if name == "" || len(name) >= unix.IFNAMSIZ {
		return fmt.Errorf("interface %d: a name has 1 to %d bytes, not %d", index, unix.IFNAMSIZ-1, len(name))
	}
	return n.link(index, 0, 0, attribute(nil, unix.IFLA_IFNAME, append([]byte(name), 0)), "naming it "+name)
}

// SetMTU sets an interface's MTU in bytes.
func (n *Netlink) SetMTU(index, mtu int) error {
	value := binary.NativeEndian.AppendUint32(nil, uint32(mtu))
	return n.link(index, 0, 0, attribute(nil, unix.IFLA_MTU, value), fmt.Sprintf("setting its MTU to %d", mtu))
}

// link sends struct ifinfomsg with attributes.
func (n *Netlink) link(index int, flags, change uint32, attrs []byte, what string) error {
	b := []byte{unix.AF_UNSPEC, 0, 0, 0}
	b = binary.NativeEndian.AppendUint32(b, uint32(index))
	b = binary.NativeEndian.AppendUint32(b, flags)
	b = binary.NativeEndian.AppendUint32(b, change)
	if err := n.request(unix.RTM_NEWLINK, 0, append(b, attrs...)); err != nil {
		return fmt.Errorf("interface %d: %s: %w", index, what, err)
	}
	return nil
}

// AddAddress gives an interface an address, or renews it. With a lifetime in
// seconds the kernel removes it by itself; 0 is for ever.
func (n *Netlink) AddAddress(index int, p netip.Prefix, lifetime uint32) error {
	attrs := addressAttributes(p)
	if lifetime > 0 {
		info := binary.NativeEndian.AppendUint32(nil, lifetime) // struct ifa_cacheinfo
		info = binary.NativeEndian.AppendUint32(info, lifetime)
		attrs = attribute(attrs, unix.IFA_CACHEINFO, append(info, 0, 0, 0, 0, 0, 0, 0, 0))
	}
	b := append(addressHeader(index, p), attrs...)
	if err := n.request(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, b); err != nil {
		return fmt.Errorf("interface %d: adding address %s: %w", index, p, err)
	}
	return nil
}

// RemoveAddress takes an address from an interface; one that it does not have
// is no error.
func (n *Netlink) RemoveAddress(index int, p netip.Prefix) error {
	err := n.request(unix.RTM_DELADDR, 0, append(addressHeader(index, p), addressAttributes(p)...))
	if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("interface %d: removing address %s: %w", index, p, err)
	}
	return nil
}

// addressHeader is struct ifaddrmsg.
func addressHeader(index int, p netip.Prefix) []byte {
	flags := byte(0)
	if p.Addr().Is6() {
		flags = unix.IFA_F_NODAD // declared, so nobody else's
	}
	b := []byte{family(p.Addr()), byte(p.Bits()), flags, unix.RT_SCOPE_UNIVERSE}
	return binary.NativeEndian.AppendUint32(b, uint32(index))
}

func addressAttributes(p netip.Prefix) []byte {
	ip := p.Addr().AsSlice()
	attrs := attribute(nil, unix.IFA_LOCAL, ip)
	attrs = attribute(attrs, unix.IFA_ADDRESS, ip)
	if p.Addr().Is4() && p.Bits() < 31 {
		last := p.Masked().Addr().As4()
		v := binary.BigEndian.Uint32(last[:]) | 1<<(32-p.Bits()) - 1
		attrs = attribute(attrs, unix.IFA_BROADCAST, binary.BigEndian.AppendUint32(nil, v))
	}
	return attrs
}

// SetRoute sets the route to a destination through a gateway of the interface,
// or directly with a zero gateway. onLink is for a gateway that no address of
// the interface can reach.
func (n *Netlink) SetRoute(index int, to netip.Prefix, gateway netip.Addr, onLink bool) error {
	scope := byte(unix.RT_SCOPE_LINK)
	if gateway.IsValid() || to.Addr().Is6() {
		scope = unix.RT_SCOPE_UNIVERSE
	}
	var flags uint32
	if onLink {
		flags = unix.RTNH_F_ONLINK
	}
	// struct rtmsg
	b := []byte{family(to.Addr()), byte(to.Bits()), 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, scope, unix.RTN_UNICAST}
	b = binary.NativeEndian.AppendUint32(b, flags)
	if to.Bits() > 0 {
		b = attribute(b, unix.RTA_DST, to.Masked().Addr().AsSlice())
	}
	if gateway.IsValid() {
		b = attribute(b, unix.RTA_GATEWAY, gateway.AsSlice())
	}
	b = attribute(b, unix.RTA_OIF, binary.NativeEndian.AppendUint32(nil, uint32(index)))
	if err := n.request(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, b); err != nil {
		return fmt.Errorf("interface %d: setting the route to %s: %w", index, to, err)
	}
	return nil
}

func family(a netip.Addr) byte {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// attribute appends struct rtattr with its value, padded to 4 bytes.
func attribute(b []byte, kind uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(4+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, value...)
	return append(b, make([]byte, -len(value)&3)...)
}

// request sends one message and returns the kernel's verdict.
func (n *Netlink) request(kind, flags uint16, body []byte) error {
	n.seq++
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.NLMSG_HDRLEN+len(body)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, flags|unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	b = binary.NativeEndian.AppendUint32(b, n.seq)
	b = binary.NativeEndian.AppendUint32(b, 0)
	if err := unix.Sendto(n.fd, append(b, body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	buf := make([]byte, 16<<10)
	for {
		size, _, err := unix.Recvfrom(n.fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if errno, ok := verdict(buf[:size], n.seq); ok {
			if errno != 0 {
				return errno
			}
			return nil
		}
	}
}

// verdict finds the acknowledgement of a request among messages.
func verdict(b []byte, seq uint32) (unix.Errno, bool) {
	for len(b) >= unix.NLMSG_HDRLEN {
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.NLMSG_HDRLEN || size > len(b) {
			return 0, false
		}
		kind, got := binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint32(b[8:])
		if kind == unix.NLMSG_ERROR && got == seq && size >= unix.NLMSG_HDRLEN+4 {
			return unix.Errno(-int32(binary.NativeEndian.Uint32(b[unix.NLMSG_HDRLEN:]))), true
		}
		b = b[min((size+3)&^3, len(b)):]
	}
	return 0, false
}
