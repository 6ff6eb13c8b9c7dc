package linux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// SetPolicy sets a thread's scheduling policy, and that its children have none:
// sched_setattr(2). It may be repeated.
func SetPolicy(tid int, a unix.SchedAttr) error {
	a.Size = uint32(unsafe.Sizeof(a))
	a.Flags |= unix.SCHED_FLAG_RESET_ON_FORK
	if err := unix.SchedSetAttr(tid, &a, 0); err != nil {
		return fmt.Errorf("sched_setattr: %w", err)
	}
	return nil
}

// ProcEvents are what the kernel's process connector tells: include/uapi/linux/
// cn_proc.h. It exists in the first PID and user namespaces only.
type ProcEvents struct {
	file *os.File
	conn syscall.RawConn
}

// Numbers of linux/connector.h and linux/cn_proc.h.
const (
	connectorProc    = 1
	connectorListen  = 1
	procEventComm    = 0x200
	connectorHeaders = unix.NLMSG_HDRLEN + 20
)

// OpenProcEvents listens for threads that change their names.
func OpenProcEvents() (*ProcEvents, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_CONNECTOR)
	if err != nil {
		return nil, fmt.Errorf("opening the process connector: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: connectorProc}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("listening to the process connector: %w", err)
	}
	// struct proc_input, from Linux 6.6 on: only these events wake anybody.
	m := make([]byte, 0, connectorHeaders+8)
	for _, v := range []uint32{connectorHeaders + 8, unix.NLMSG_DONE, 0, 0, connectorProc, connectorProc, 0, 0, 8, connectorListen, procEventComm} {
		m = binary.NativeEndian.AppendUint32(m, v)
	}
	if err := unix.Sendto(fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("asking the process connector: %w", err)
	}
	f := os.NewFile(uintptr(fd), "process connector")
	conn, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &ProcEvents{f, conn}, nil
}

// Next waits for a thread that has changed its name. What was lost for want of
// room is an error that errors.Is finds to be ENOBUFS.
func (p *ProcEvents) Next() (tid int, comm string, err error) {
	var b [4096]byte
	for {
		var n int
		var from unix.Sockaddr
		var e error
		if err := p.conn.Read(func(fd uintptr) bool {
			n, from, e = unix.Recvfrom(int(fd), b[:], 0)
			return !errors.Is(e, unix.EAGAIN)
		}); err != nil {
			return 0, "", err
		}
		if e != nil {
			return 0, "", e
		}
		if nl, ok := from.(*unix.SockaddrNetlink); !ok || nl.Pid != 0 {
			continue // not of the kernel
		}
		if tid, comm, ok := commEvent(b[:n]); ok {
			return tid, comm, nil
		}
	}
}

// commEvent reads a message: headers, what, cpu, timestamp, then thread,
// process and 16 bytes of name.
func commEvent(b []byte) (tid int, comm string, ok bool) {
	const event = 16
	if len(b) < connectorHeaders+event+8+16 {
		return 0, "", false
	}
	b = b[connectorHeaders:]
	if binary.NativeEndian.Uint32(b) != procEventComm {
		return 0, "", false
	}
	return int(binary.NativeEndian.Uint32(b[event:])), unix.ByteSliceToString(b[event+8 : event+24]), true
}

// Close ends a Next that waits.
func (p *ProcEvents) Close() error { return p.file.Close() }
