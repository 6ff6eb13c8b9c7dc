package links

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/port"
)

// backlog is the length of a listener's queue; the kernel's own limit is lower
// or equal by default (net.core.somaxconn).
const backlog = 4096

// open makes a link.
func (t *Table) open(w system.Link) (_ *link, err error) {
	l := &link{Link: w, id: w.ID(), from: map[system.Part]*os.File{}, to: map[system.Part]*os.File{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	switch w.Type {
	case system.SamplingLink, system.QueueingLink:
		return l, l.ports()
	case system.StreamLink:
		return l, l.sockets(unix.SOCK_STREAM)
	case system.DatagramLink:
		return l, l.sockets(unix.SOCK_DGRAM)
	case system.PipeLink:
		return l, l.pipe()
	case system.EventLink:
		f, err := l.eventfd()
		l.from[system.End], l.to[system.End] = f, f
		return l, err
	case system.ListenLink:
		l.to[system.Listener], err = t.listen(w)
		return l, err
	}
	return nil, fmt.Errorf("unknown type %q", w.Type)
}

func (l *link) file(fd int) *os.File { return os.NewFile(uintptr(fd), l.Name) }

func (l *link) sockets(kind int) error {
	fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socketpair", err)
	}
	l.from[system.End], l.to[system.End] = l.file(fds[0]), l.file(fds[1])
	return nil
}

func (l *link) pipe() error {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return os.NewSyscallError("pipe2", err)
	}
	l.to[system.End], l.from[system.End] = l.file(fds[0]), l.file(fds[1])
	return nil
}

func (l *link) eventfd() (*os.File, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	return l.file(fd), nil
}

// layout is the link as package port knows it.
func layout(w *system.Link) port.Layout {
	p := port.Layout{
		Message: port.Message{Link: w.Name, Size: w.Size, Version: w.Version},
		Kind:    port.Sampling, Validity: time.Duration(w.Validity),
	}
	if w.Type == system.QueueingLink {
		p.Kind, p.Depth, p.Policy = port.Queueing, w.Depth, port.Reject
		if w.Drop {
			p.Policy = port.Drop
		}
	}
	return p
}

// ports makes the memory of a port, and the supervisor's own ends of it.
func (l *link) ports() (err error) {
	p := layout(&l.Link)
	size, err := p.Bytes()
	if err != nil {
		return err
	}
	if l.from[system.Memory], l.to[system.Memory], err = l.memory(p.Header(), size); err != nil {
		return err
	}
	if p.Kind == port.Queueing {
		if l.to[system.Cursor], l.from[system.Cursor], err = l.memory(p.CursorHeader(), port.CursorBytes); err != nil {
			return err
		}
	}
	if l.Wake {
		f, err := l.eventfd()
		if err != nil {
			return err
		}
		l.from[system.Wake], l.to[system.Wake] = f, f
	}
	return l.ownEnds(p)
}

// ownEnds opens the reader, which sees the state of every port, and for a link
// from outside the writer.
func (l *link) ownEnds(p port.Layout) (err error) {
	if l.reader, err = newReader(p, ends(l.to)); err == nil && l.From == system.Outside {
		l.writer, err = newWriter(p, ends(l.from))
	}
	return err
}

func newReader(p port.Layout, e port.Ends) (reader, error) {
	if p.Kind == port.Queueing {
		r, err := port.NewQueueReader(e, p.Message)
		if err != nil {
			return nil, err
		}
		return r, nil
	}
	r, err := port.NewSamplingReader(e, p.Message)
	if err != nil {
		return nil, err
	}
	return r, nil
}

func newWriter(p port.Layout, e port.Ends) (writer, error) {
	if p.Kind == port.Queueing {
		w, err := port.NewQueueWriter(e, p.Message)
		if err != nil {
			return nil, err
		}
		return w, nil
	}
	w, err := port.NewSamplingWriter(e, p.Message)
	if err != nil {
		return nil, err
	}
	return w, nil
}

func ends(files map[system.Part]*os.File) port.Ends {
	return port.Ends{Memory: files[system.Memory], Cursor: files[system.Cursor], Wake: files[system.Wake]}
}

// nobody owns the memory of ports: no container's user, so that who has it read
// only can neither change its mode nor open it anew by /proc/self/fd.
const nobody = 1<<32 - 2

// memory makes sealed memory of a fixed size, and opens it for writing and for
// reading: memfd_create(2), F_ADD_SEALS of fcntl(2). Nobody can shrink it below
// somebody's feet. A seal against writing would be one against writers that
// are started again as well; the file's owner and mode do that instead.
func (l *link) memory(head []byte, size int) (rw, ro *os.File, err error) {
	fd, err := unix.MemfdCreate("instar-link-"+l.Name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_NOEXEC_SEAL)
	if err != nil {
		return nil, nil, os.NewSyscallError("memfd_create", err)
	}
	rw = l.file(fd)
	defer func() {
		if err != nil {
			rw.Close()
		}
	}()
	if _, err := rw.Write(head); err != nil {
		return nil, nil, err
	}
	if err := rw.Truncate(int64(size)); err != nil {
		return nil, nil, err
	}
	if _, err := unix.FcntlInt(rw.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		return nil, nil, os.NewSyscallError("sealing", err)
	}
	ro, err = os.OpenFile("/proc/self/fd/"+strconv.Itoa(fd), os.O_RDONLY, 0)
	if err != nil {
		return nil, nil, err
	}
	if err := errors.Join(rw.Chmod(0), rw.Chown(nobody, nobody)); err != nil {
		ro.Close()
		return nil, nil, err
	}
	return rw, ro, nil
}

// listen opens a listening socket, or takes over that of a link that is there.
func (t *Table) listen(w system.Link) (*os.File, error) {
	for _, l := range t.links {
		if l.Type != system.ListenLink || l.Address != w.Address {
			continue
		}
		fd, err := unix.FcntlInt(l.to[system.Listener].Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return nil, os.NewSyscallError("fcntl", err)
		}
		return os.NewFile(uintptr(fd), w.Name), nil
	}
	address, family, err := resolve(w.Address)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), w.Name)
	// IP_FREEBIND, which holds for both families: an address may come later.
	err = errors.Join(
		os.NewSyscallError("setting SO_REUSEADDR", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)),
		os.NewSyscallError("setting IP_FREEBIND", unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_FREEBIND, 1)))
	if err == nil {
		err = os.NewSyscallError("bind to "+w.Address, unix.Bind(fd, address))
	}
	if err == nil {
		err = os.NewSyscallError("listen on "+w.Address, unix.Listen(fd, backlog))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func resolve(hostPort string) (unix.Sockaddr, int, error) {
	host, portText, err := net.SplitHostPort(hostPort)
	if err != nil {
		return nil, 0, err
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return nil, 0, fmt.Errorf("%s is no address: %w", host, err)
	}
	n, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, 0, fmt.Errorf("%s is no port: %w", portText, err)
	}
	if ip.Is4() {
		return &unix.SockaddrInet4{Port: int(n), Addr: ip.As4()}, unix.AF_INET, nil
	}
	return &unix.SockaddrInet6{Port: int(n), Addr: ip.As16()}, unix.AF_INET6, nil
}
