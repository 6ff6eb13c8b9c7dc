package linux

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Mount is one call of mount(2).
type Mount struct {
	Source, Target, Type string
	Flags                uintptr
	Data                 string
}

// Do makes the target directory and mounts.
func (m Mount) Do() error {
	if err := os.MkdirAll(m.Target, 0o755); err != nil {
		return fmt.Errorf("mounting %s: %w", m.Target, err)
	}
	if err := unix.Mount(m.Source, m.Target, m.Type, m.Flags, m.Data); err != nil {
		return fmt.Errorf("mounting %s (%s) at %s: %w", m.Source, m.Type, m.Target, err)
	}
	return nil
}

// Unmount unmounts what is topmost at the target.
func Unmount(target string, flags int) error {
	if err := unix.Unmount(target, flags); err != nil {
		return fmt.Errorf("unmounting %s: %w", target, err)
	}
	return nil
}

// Mounted reports whether something of a type is mounted at a path, going by
// the magic number of statfs(2).
func Mounted(path string, magic int64) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && int64(st.Type) == magic
}

// The ends of the machine.
const (
	PowerOff = unix.LINUX_REBOOT_CMD_POWER_OFF
	Restart  = unix.LINUX_REBOOT_CMD_RESTART
)

// End writes everything out and ends the machine; it returns only on failure.
func End(how int) error {
	unix.Sync()
	if err := unix.Reboot(how); err != nil {
		return fmt.Errorf("ending the machine: %w", err)
	}
	return nil
}

// EndWith restarts the machine with an argument for its firmware; it returns
// only on failure.
func EndWith(argument string) error {
	unix.Sync()
	b, err := unix.BytePtrFromString(argument)
	if err != nil {
		return fmt.Errorf("ending the machine: %w", err)
	}
	// reboot(2): the magic numbers of include/uapi/linux/reboot.h.
	_, _, errno := unix.Syscall6(unix.SYS_REBOOT, unix.LINUX_REBOOT_MAGIC1, unix.LINUX_REBOOT_MAGIC2,
		unix.LINUX_REBOOT_CMD_RESTART2, uintptr(unsafe.Pointer(b)), 0, 0)
	return fmt.Errorf("ending the machine: %w", errno)
}

// CatchCtrlAltDel makes the kernel send SIGINT to PID 1 instead of rebooting
// at once.
func CatchCtrlAltDel() error {
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF); err != nil {
		return fmt.Errorf("catching Ctrl-Alt-Del: %w", err)
	}
	return nil
}
