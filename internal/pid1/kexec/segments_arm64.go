package kexec

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// archARM64 is KEXEC_ARCH_AARCH64 (include/uapi/linux/kexec.h).
const archARM64 = 183 << 16

// segment is struct kexec_segment.
type segment struct {
	buf     *byte
	bufSize uintptr
	mem     uintptr
	memSize uintptr
}

// loadSegments places the parts in memory that the next kernel finds free, and
// loads them with the code that jumps.
func loadSegments(kernel, initrd *os.File, command string) error {
	k, err := mapped(kernel)
	if err != nil {
		return err
	}
	defer unix.Munmap(k)
	i, err := mapped(initrd)
	if err != nil {
		return err
	}
	defer unix.Munmap(i)
	tree, err := os.ReadFile("/sys/firmware/fdt")
	if err != nil {
		return err
	}
	memory, err := os.ReadFile("/proc/iomem")
	if err != nil {
		return err
	}
	var seed [8]byte
	rand.Read(seed[:])
	segments, err := place(k, i, tree, string(memory), command, seed)
	if err != nil {
		return err
	}
	var list []segment
	for _, s := range segments {
		list = append(list, segment{unsafe.SliceData(s.data), uintptr(len(s.data)), uintptr(s.at), uintptr(s.size)})
	}
	entry := segments[len(segments)-1].at
	if _, _, errno := unix.Syscall6(unix.SYS_KEXEC_LOAD, uintptr(entry), uintptr(len(list)), uintptr(unsafe.Pointer(&list[0])), archARM64, 0, 0); errno != 0 {
		return os.NewSyscallError("kexec_load", errno)
	}
	return nil
}

func mapped(f *os.File) ([]byte, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st.Size() <= 0 {
		return nil, errors.New("an empty file")
	}
	b, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mapping %s: %w", f.Name(), err)
	}
	return b, nil
}
