package linux

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Reconfigure makes a mounted file system itself writable or read-only. Every
// mount of it keeps a flag of its own, so that those that are read-only stay so.
//
// Source: fspick(2) and fsconfig(2), since Linux 5.2.
func Reconfigure(path string, readOnly bool) error {
	word := map[bool]string{true: "ro", false: "rw"}[readOnly]
	fd, err := unix.Fspick(unix.AT_FDCWD, path, unix.FSPICK_CLOEXEC)
	if err != nil {
		return fmt.Errorf("reconfiguring the file system at %s: %w", path, err)
	}
	defer unix.Close(fd)
	if err := unix.FsconfigSetFlag(fd, word); err != nil {
		return fmt.Errorf("making the file system at %s %s: %w", path, word, err)
	}
	if err := unix.FsconfigReconfigure(fd); err != nil {
		return fmt.Errorf("making the file system at %s %s: %w", path, word, err)
	}
	return nil
}
