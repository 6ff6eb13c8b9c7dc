package linux

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// SwitchRoot makes a mount the root of the calling process and of this mount
// namespace, with mounts of the former root moved into it. The former root,
// which may be the initial ramfs, stays mounted below where nobody sees it. An
// error before the first move leaves everything as it was; later ones do not.
//
// Source: Documentation/filesystems/ramfs-rootfs-initramfs.rst, "what is initramfs".
func SwitchRoot(dir string, mounts ...string) error {
	for _, m := range mounts {
		if err := unix.Access(filepath.Join(dir, m), unix.F_OK); err != nil {
			return fmt.Errorf("switching the root to %s: it has no %s: %w", dir, m, err)
		}
	}
	if err := unix.Chdir(dir); err != nil {
		return fmt.Errorf("switching the root to %s: %w", dir, err)
	}
	for _, m := range mounts {
		if err := unix.Mount(m, "."+m, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("moving %s to the new root: %w", m, err)
		}
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("moving %s to the root: %w", dir, err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("changing the root: %w", err)
	}
	return unix.Chdir("/")
}
