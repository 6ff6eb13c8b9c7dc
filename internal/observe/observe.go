// Package observe tells which files of a file system are opened, as the kernel
// tells it: fanotify(7). It sees what is opened, executed and mapped, and
// directories that are listed; not what only stat, access or readlink look at.
package observe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Seen says how a path was used.
type Seen struct {
	Dir      bool // a directory was opened
	Executed bool
}

// Observer collects what a fanotify group reports. Close it.
type Observer struct {
	group  *os.File
	seen   map[string]Seen
	ending atomic.Bool
	done   chan error
}

// Start makes a group and collects what it reports from now on; what it is to
// see, somebody marks. It needs CAP_SYS_ADMIN.
func Start() (*Observer, error) {
	// The queue has no limit: a file that is not recorded would be missed later.
	const flags = unix.FAN_CLASS_NOTIF | unix.FAN_CLOEXEC | unix.FAN_UNLIMITED_QUEUE | unix.FAN_UNLIMITED_MARKS | unix.FAN_NONBLOCK
	fd, err := unix.FanotifyInit(flags, unix.O_RDONLY|unix.O_LARGEFILE|unix.O_NONBLOCK|unix.O_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("fanotify_init", err)
	}
	o := &Observer{group: os.NewFile(uintptr(fd), "fanotify"), seen: map[string]Seen{}, done: make(chan error, 1)}
	go func() { o.done <- o.collect(fd) }()
	return o, nil
}

// Group is the group's descriptor, to be given to who marks; it stays o's.
func (o *Observer) Group() *os.File { return o.group }

// Finish returns what was opened until now, by absolute path as the file system
// had it when it was reported.
func (o *Observer) Finish() (map[string]Seen, error) {
	o.ending.Store(true)
	err := <-o.done
	return o.seen, errors.Join(err, o.group.Close())
}

// pollPause is how long one wait for reports takes, in milliseconds; Finish
// waits for one at most.
const pollPause = 50

func (o *Observer) collect(fd int) error {
	buf := make([]byte, 64<<10)
	for {
		ending := o.ending.Load() // before the read, which then is the last
		n, err := unix.Read(fd, buf)
		switch {
		case err == nil && n > 0:
			if err := o.events(buf[:n]); err != nil {
				return err
			}
		case err == unix.EINTR:
		case err == nil, err == unix.EAGAIN:
			if ending {
				return nil
			}
			unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, pollPause)
		default:
			return fmt.Errorf("reading what was opened: %w", err)
		}
	}
}

// describe returns where an open file is, and whether it is a directory.
func describe(fd int) (name string, dir bool, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return "", false, os.NewSyscallError("fstat", err)
	}
	name, err = os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	return name, st.Mode&unix.S_IFMT == unix.S_IFDIR, err
}

// metadata is the size of struct fanotify_event_metadata.
const metadata = 24

func (o *Observer) events(b []byte) error {
	for len(b) >= metadata {
		length := binary.NativeEndian.Uint32(b)
		mask := binary.NativeEndian.Uint64(b[8:])
		fd := int32(binary.NativeEndian.Uint32(b[16:]))
		if length < metadata || int(length) > len(b) {
			return fmt.Errorf("a report of %d bytes", length)
		}
		b = b[length:]
		if mask&unix.FAN_Q_OVERFLOW != 0 {
			return errors.New("more files were opened at once than the kernel reports")
		}
		if fd < 0 {
			continue
		}
		name, dir, err := describe(int(fd))
		unix.Close(int(fd))
		if err != nil {
			return err
		}
		if strings.HasPrefix(name, "/") && !strings.HasSuffix(name, " (deleted)") {
			s := o.seen[name]
			s.Dir = dir
			s.Executed = s.Executed || mask&unix.FAN_OPEN_EXEC != 0
			o.seen[name] = s
		}
	}
	return nil
}
