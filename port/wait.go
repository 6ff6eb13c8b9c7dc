package port

import (
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"
)

// pollFD is struct pollfd of poll(2).
type pollFD struct {
	fd      int32
	events  int16
	revents int16
}

const pollIn = 1 // POLLIN

// Wait returns when the writer has written since the last Wait, or when the
// time is up; woken tells which. A negative timeout waits for ever. The link
// must have wake set.
func (r *SamplingReader) Wait(timeout time.Duration) (woken bool, err error) {
	return r.m.wait(timeout)
}

// Wait returns when the writer has written since the last Wait, or when the
// time is up; woken tells which. A negative timeout waits for ever. The link
// must have wake set. Several messages may be one wake-up: read until
// ErrEmpty before waiting again.
func (r *QueueReader) Wait(timeout time.Duration) (woken bool, err error) {
	return r.m.wait(timeout)
}

func (m *memory) wait(timeout time.Duration) (bool, error) {
	if m.wake == nil {
		return false, fmt.Errorf("link %s: %w that wakes its reader", m.layout.Link, ErrNoLink)
	}
	began := time.Now()
	p := pollFD{fd: int32(m.wake.Fd()), events: pollIn}
	for {
		var limit *syscall.Timespec
		if timeout >= 0 {
			ts := syscall.NsecToTimespec(int64(max(timeout-time.Since(began), 0)))
			limit = &ts
		}
		n, _, errno := syscall.Syscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(limit)), 0, 0, 0)
		switch {
		case errno == syscall.EINTR:
			continue
		case errno != 0:
			return false, fmt.Errorf("link %s: %w", m.layout.Link, os.NewSyscallError("ppoll", errno))
		case n == 0:
			return false, nil
		}
		var count [8]byte
		if _, err := syscall.Read(int(p.fd), count[:]); err != nil {
			return false, fmt.Errorf("link %s: reading its wake-ups: %w", m.layout.Link, err)
		}
		return true, nil
	}
}
