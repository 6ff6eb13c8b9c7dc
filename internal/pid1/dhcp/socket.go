package dhcp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	serverPort = 67
	clientPort = 68
)

// Socket is a Conn over UDP, bound to one interface.
type Socket struct{ udp *net.UDPConn }

// Open opens a socket on an interface, which must be up, in the network
// namespace of the calling thread.
func Open(ctx context.Context, device string) (*Socket, error) {
	conf := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		if failed := raw.Control(func(fd uintptr) { err = prepare(int(fd), device) }); failed != nil {
			return failed
		}
		return err
	}}
	conn, err := conf.ListenPacket(ctx, "udp4", fmt.Sprintf(":%d", clientPort))
	if err != nil {
		return nil, fmt.Errorf("opening a DHCP socket on %s: %w", device, err)
	}
	return &Socket{conn.(*net.UDPConn)}, nil
}

func prepare(fd int, device string) error {
	for _, option := range []int{unix.SO_BROADCAST, unix.SO_REUSEADDR} {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, 1); err != nil {
			return err
		}
	}
	return unix.BindToDevice(fd, device)
}

// Close closes the socket; a Receive under way fails.
func (s *Socket) Close() error { return s.udp.Close() }

// Send implements Conn.
func (s *Socket) Send(b []byte, to netip.Addr) error {
	_, err := s.udp.WriteToUDPAddrPort(b, netip.AddrPortFrom(to, serverPort))
	return err
}

// Receive implements Conn.
func (s *Socket) Receive(deadline time.Time) ([]byte, error) {
	if err := s.udp.SetReadDeadline(deadline); err != nil {
		return nil, err
	}
	b := make([]byte, maxMessage+1)
	n, _, err := s.udp.ReadFromUDPAddrPort(b)
	return b[:n], err
}
