package container

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// LeaveRamfs puts the calling process's root on a mount of its own, with the
// same files as before: pivot_root(2) does not work on the initial ramfs, which
// is mounted on nothing. The first process of a machine calls it once, before
// it mounts anything else, for what is mounted below the root stays behind.
func LeaveRamfs() error {
	const at = "/.root"
	if err := os.Mkdir(at, 0o700); err != nil && !os.IsExist(err) {
		return err
	}
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"binding the root", func() error { return unix.Mount("/", at, "", unix.MS_BIND, "") }},
		{"entering the new root", func() error { return unix.Chdir(at) }},
		{"moving it", func() error { return unix.Mount(".", "/", "", unix.MS_MOVE, "") }},
		{"changing the root", func() error { return unix.Chroot(".") }},
		{"removing the mount point", func() error { return os.Remove(at) }},
		{"entering the root", func() error { return unix.Chdir("/") }},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("leaving the initial ramfs: %s: %w", step.what, err)
		}
	}
	return nil
}
