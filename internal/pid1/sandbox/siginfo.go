package sandbox

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// siginfoPID returns si_pid of a SIGCHLD. On 64-bit machines it stands at
// offset 16: three ints, padding, then the union's first member.
//
// Source: include/uapi/asm-generic/siginfo.h.
func siginfoPID(info *unix.Siginfo) int {
	return int(*(*int32)(unsafe.Add(unsafe.Pointer(info), 16)))
}
