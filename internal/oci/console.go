package oci

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/instar-os/instar/internal/container"
	"github.com/instar-os/instar/internal/launch"
	"golang.org/x/sys/unix"
)

// takeTerminal takes the master that a child has in a slot.
func takeTerminal(child *container.Child, slot launch.Arg) (*os.File, error) {
	fd, err := unix.PidfdGetfd(child.PidFD(), int(child.Slot(slot)), 0)
	if err != nil {
		return nil, fmt.Errorf("taking the terminal: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("taking the terminal: %w", err)
	}
	return os.NewFile(uintptr(fd), "/dev/ptmx"), nil
}

// sendTerminal sends a terminal's master through a unix socket, as SCM_RIGHTS
// with the terminal's name, and closes it.
func sendTerminal(socket string, master *os.File) error {
	defer master.Close()
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(s)
	fd := int(master.Fd()) // blocking again, as receivers expect it
	if err := unix.Connect(s, &unix.SockaddrUnix{Name: socket}); err != nil {
		return fmt.Errorf("connecting to the console socket %s: %w", socket, err)
	}
	if err := unix.Sendmsg(s, []byte(master.Name()), unix.UnixRights(fd), nil, 0); err != nil {
		return fmt.Errorf("sending the terminal to %s: %w", socket, err)
	}
	return nil
}

// A relay connects a container's terminal with the caller's.
type relay struct {
	master *os.File
	input  int
	saved  *unix.Termios // nil when the input is no terminal
	sizes  chan os.Signal
	done   chan struct{}
}

// newRelay begins copying. The caller's terminal gives on every key as it is.
func newRelay(master, in, out *os.File) (*relay, error) {
	r := &relay{master: master, input: int(in.Fd()), sizes: make(chan os.Signal, 1), done: make(chan struct{})}
	if t, err := unix.IoctlGetTermios(r.input, unix.TCGETS); err == nil {
		r.saved = t
		raw := *t // cfmakeraw(3)
		raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
		raw.Oflag &^= unix.OPOST
		raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
		raw.Cflag = raw.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
		raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
		if err := unix.IoctlSetTermios(r.input, unix.TCSETS, &raw); err != nil {
			return nil, errors.Join(fmt.Errorf("setting the terminal: %w", err), master.Close())
		}
		signal.Notify(r.sizes, unix.SIGWINCH)
		r.resize()
	}
	go func() { // ends with the program's input or its own
		_, _ = io.Copy(master, in)
	}()
	go func() { // ends with EIO when nobody has the terminal any more
		defer close(r.done)
		_, _ = io.Copy(out, master)
	}()
	go func() {
		for range r.sizes {
			r.resize()
		}
	}()
	return r, nil
}

func (r *relay) resize() {
	size, err := unix.IoctlGetWinsize(r.input, unix.TIOCGWINSZ)
	if err != nil {
		return
	}
	conn, err := r.master.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Control(func(fd uintptr) { _ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, size) })
}

// close waits for the rest of the output and sets the caller's terminal back.
func (r *relay) close() {
	if r == nil {
		return
	}
	<-r.done
	signal.Stop(r.sizes)
	close(r.sizes)
	r.master.Close()
	if r.saved != nil {
		_ = unix.IoctlSetTermios(r.input, unix.TCSETS, r.saved)
	}
}
