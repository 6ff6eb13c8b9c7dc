package receive

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// enter makes the store's mount writable in this process's mount namespace,
// which the first process has made: its own mount stays read-only.
func enter(store string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making the mounts private: %w", err)
	}
	if err := unix.Mount("", store, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("making the store writable: %w", err)
	}
	return nil
}

// dropPrivileges gives up all capabilities but one, in every thread and for
// good: what is open stays open, and root's files stay root's. The one lets it
// replace a variable of the firmware, which efivarfs protects by a flag.
func dropPrivileges() error {
	if _, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("giving up new privileges: %w", errno)
	}
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var few [2]unix.CapUserData
	few[0].Permitted, few[0].Effective = 1<<unix.CAP_LINUX_IMMUTABLE, 1<<unix.CAP_LINUX_IMMUTABLE
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&head)), uintptr(unsafe.Pointer(&few[0])), 0); errno != 0 {
		return errors.Join(errors.New("giving up capabilities"), errno)
	}
	return nil
}
