package container

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// initCode returns the address of the instructions of a container's own first
// process, which end with initEnd. They are a part of this program that never
// runs in it.
func initCode() unsafe.Pointer

// initEnd stands behind the instructions, which are shorter than maxInit.
var initEnd = []byte("instar-init end.")

const maxInit = 512 // bytes

// initProgram is the program of a container's own first process, as an open
// file: it has no path, can be changed by nobody, and is in no container's tree.
type initProgram struct {
	mu sync.Mutex
	fd int // of a memfd; 0 before the first use
}

// open returns the program's descriptor, which stays the receiver's.
func (p *initProgram) open() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fd != 0 {
		return p.fd, nil
	}
	program, err := initELF()
	if err != nil {
		return -1, err
	}
	fd, err := sealed("init", program)
	if err != nil {
		return -1, fmt.Errorf("making the program of first processes: %w", err)
	}
	p.fd = fd
	return fd, nil
}

func (p *initProgram) close() (err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fd != 0 {
		err = os.NewSyscallError("close", unix.Close(p.fd))
	}
	p.fd = 0
	return err
}

// sealed makes a program in memory that cannot be changed: memfd_create(2).
func sealed(name string, program []byte) (int, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate(name, flags|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3 all are executable
		fd, err = unix.MemfdCreate(name, flags)
	}
	if err != nil {
		return -1, err
	}
	_, err = unix.Write(fd, program)
	if err == nil {
		err = unix.Fchmod(fd, 0o555)
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// initELF returns the instructions as a static program: elf(5), a header and one
// segment that holds the whole file, and a stack that is not executable.
func initELF() ([]byte, error) {
	code := unsafe.Slice((*byte)(initCode()), maxInit)
	end := bytes.Index(code, initEnd)
	if end < 0 {
		return nil, errors.New("the first process has no end")
	}
	code = code[:end]
	const (
		base     = 0x400000
		header   = 64
		segment  = 56
		pages    = 0x10000 // the largest that arm64 has
		segments = 2
	)
	machines := map[string]uint16{"amd64": 62, "arm64": 183}
	size := uint64(header + segments*segment + len(code))
	out := []byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 15: 0} // 64 bits, little-endian
	le := binary.LittleEndian
	for _, v := range []any{
		uint16(2), machines[runtime.GOARCH], uint32(1), uint64(base + header + segments*segment), // executable; entry
		uint64(header), uint64(0), uint32(0), uint16(header), uint16(segment), uint16(segments), uint16(64), uint16(0), uint16(0),
		uint32(1), uint32(5), uint64(0), uint64(base), uint64(base), size, size, uint64(pages), // PT_LOAD, read and execute
		uint32(0x6474e551), uint32(6), uint64(0), uint64(0), uint64(0), uint64(0), uint64(0), uint64(16), // PT_GNU_STACK
	} {
		var err error
		if out, err = binary.Append(out, le, v); err != nil {
			return nil, err
		}
	}
	return append(out, code...), nil
}
