package container

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Terminal makes a pseudo terminal of the container's own /dev/pts, of a user
// and group of the machine. The caller closes both ends.
func (s *Sandbox) Terminal(uid, gid int) (master, peer *os.File, err error) {
	err = s.inRoot(func(root int) error {
		fd, err := beneath(root, "/dev/pts/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK)
		if err != nil {
			return err
		}
		master = os.NewFile(uintptr(fd), "terminal")
		return nil
	})
	if err == nil {
		peer, err = s.peer(master, uid, gid)
	}
	if err != nil {
		if master != nil {
			master.Close()
		}
		return nil, nil, fmt.Errorf("making a terminal in container %s: %w", s.name, err)
	}
	return master, peer, nil
}

// OwnTerminal returns the terminal that a container has for its command, once.
// The caller closes both ends.
func (s *Sandbox) OwnTerminal(uid, gid int) (master, peer *os.File, err error) {
	if master, s.master = s.master, nil; master == nil {
		return nil, nil, fmt.Errorf("container %s has no terminal left", s.name)
	}
	if peer, err = s.peer(master, uid, gid); err != nil {
		master.Close()
		return nil, nil, fmt.Errorf("making the terminal of container %s: %w", s.name, err)
	}
	return master, peer, nil
}

// peer opens the other end of a terminal, for a user and group of the machine.
func (s *Sandbox) peer(master *os.File, uid, gid int) (*os.File, error) {
	conn, err := master.SyscallConn()
	if err != nil {
		return nil, err
	}
	other := -1
	e := conn.Control(func(m uintptr) {
		fd := int(m)
		var st unix.Stat_t
		if err = unix.Fstat(fd, &st); err != nil || st.Rdev != unix.Mkdev(5, 2) {
			err = errors.Join(errors.New("its /dev/pts/ptmx is no terminal"), err)
			return
		}
		if err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
			return
		}
		var errno syscall.Errno
		if other, errno = ptPeer(fd); errno != 0 {
			err = os.NewSyscallError("TIOCGPTPEER", errno)
		}
	})
	if err = errors.Join(e, err); err != nil {
		return nil, err
	}
	peer := os.NewFile(uintptr(other), "terminal's other end")
	if err := peer.Chown(uid, gid); err != nil {
		peer.Close()
		return nil, err
	}
	return peer, nil
}

// ptPeer opens the other end of a terminal: ioctl_tty(2), whose argument is
// the flags of open.
func ptPeer(master int) (int, syscall.Errno) {
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	return int(fd), errno
}

// Resize tells a terminal its size in characters.
func Resize(master *os.File, rows, cols uint16) error {
	conn, err := master.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		failed = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols})
	})
	return errors.Join(err, failed)
}

// Find returns the first of some programs that the running container has. A
// name without a slash is looked for along the PATH of its environment.
func (s *Sandbox) Find(programs ...string) (found string, err error) {
	err = s.inRoot(func(root int) error {
		for _, name := range programs {
			for _, p := range s.candidates(name) {
				fd, err := beneath(root, p, unix.O_PATH)
				if err != nil {
					continue
				}
				var st unix.Stat_t
				err = unix.Fstat(fd, &st)
				unix.Close(fd)
				if err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Mode&0o111 != 0 {
					found = p
					return nil
				}
			}
		}
		return fmt.Errorf("container %s has no program %s", s.name, strings.Join(programs, ", "))
	})
	return found, err
}

func (s *Sandbox) candidates(name string) []string {
	if strings.Contains(name, "/") {
		return []string{name}
	}
	var all []string
	for _, e := range s.env {
		if dirs, ok := strings.CutPrefix(e, "PATH="); ok {
			for dir := range strings.SplitSeq(dirs, ":") {
				all = append(all, path.Join("/", dir, name))
			}
		}
	}
	return all
}

// inRoot calls f with a descriptor of the root that the container's first
// process sees.
func (s *Sandbox) inRoot(f func(root int) error) error {
	s.mu.Lock()
	main := s.main
	s.mu.Unlock()
	if main == nil {
		return fmt.Errorf("container %s does not run", s.name)
	}
	return main.hold(func() error {
		root, err := unix.Open("/proc/"+strconv.Itoa(main.pid)+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(root)
		return f(root)
	})
}

// beneath opens a path of the container; its links do not lead out.
func beneath(root int, name string, flags uint64) (int, error) {
	fd, err := unix.Openat2(root, name, &unix.OpenHow{
		Flags: flags | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return -1, fmt.Errorf("opening its %s: %w", name, err)
	}
	return fd, nil
}

// SignalGroup sends a signal to a process and those of its group.
func (p *Process) SignalGroup(sig syscall.Signal) error {
	return p.hold(func() error {
		err := unix.Kill(-p.pid, sig)
		if errors.Is(err, unix.ESRCH) {
			return os.ErrProcessDone
		}
		return os.NewSyscallError("kill", err)
	})
}
