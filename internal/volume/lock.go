package volume

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Containers and those who change their data can be in different processes: the
// units of a host and its service. Who uses a volume therefore holds its
// directory shared, and who changes it has it alone: flock(2), whose locks end
// with the process.

// hold waits for a change that is under way and holds a volume until the file is
// closed; nil when the volume is not there yet.
func (p place) hold() (*os.File, error) {
	f, err := os.Open(p.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := flock(f, unix.LOCK_SH); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// alone holds a volume that nobody uses until the file is closed; ErrInUse when
// somebody does.
func (p place) alone() (*os.File, error) {
	f, err := os.Open(p.dir)
	if err != nil {
		return nil, err
	}
	if err := flock(f, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrInUse
		}
		return nil, err
	}
	return f, nil
}

// used says whether somebody holds a volume.
func (p place) used() bool {
	f, err := p.alone()
	if err == nil {
		f.Close()
	}
	return errors.Is(err, ErrInUse)
}

func flock(f *os.File, how int) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		for {
			if failed = unix.Flock(int(fd), how); failed != unix.EINTR {
				return
			}
		}
	})
	return errors.Join(err, os.NewSyscallError("flock", failed))
}
