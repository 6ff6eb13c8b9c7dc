package boot

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// firstGroup is the descriptor of the first fanotify group, after the standard
// streams.
const firstGroup = 3

// groups returns the files of the groups for names.
func groups(names []string) []*os.File {
	var out []*os.File
	for i := range names {
		out = append(out, os.NewFile(uintptr(firstGroup+i), "fanotify group "+strconv.Itoa(i)))
	}
	return out
}

// watch returns what has the groups see their containers' files; nil when there
// are none.
func watch(names []string) func(string, int) error {
	if len(names) == 0 {
		return nil
	}
	for i := range names {
		unix.CloseOnExec(firstGroup + i)
	}
	return func(container string, mounts int) error {
		i := slices.Index(names, container)
		if i < 0 {
			return nil
		}
		if err := mark(firstGroup+i, mounts); err != nil {
			return fmt.Errorf("watching the files of container %s: %w", container, err)
		}
		return nil
	}
}

// mark has a group see everything that is opened on the file system at the root
// of a mount namespace, by whatever way: fanotify_mark(2).
func mark(group, mounts int) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with this goroutine
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return os.NewSyscallError("unshare", err)
			}
			if err := unix.Setns(mounts, unix.CLONE_NEWNS); err != nil {
				return os.NewSyscallError("setns", err)
			}
			const events = unix.FAN_OPEN | unix.FAN_OPEN_EXEC | unix.FAN_ONDIR
			return os.NewSyscallError("fanotify_mark", unix.FanotifyMark(group, unix.FAN_MARK_ADD|unix.FAN_MARK_FILESYSTEM, events, unix.AT_FDCWD, "/"))
		}()
	}()
	return <-done
}
