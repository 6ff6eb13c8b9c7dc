package vm

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// kvmCreateVM is the ioctl KVM_CREATE_VM, _IO(0xAE, 0x01) of linux/kvm.h.
const kvmCreateVM = 0xAE01

// HasKVM reports whether the host lets this process make virtual machines of
// the architecture with KVM. The device's presence proves nothing, so it makes
// one. Start still finds out whether QEMU can use it.
func HasKVM(arch string) bool {
	if arch != runtime.GOARCH {
		return false
	}
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	fd, err := unix.IoctlRetInt(int(f.Fd()), kvmCreateVM)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}
