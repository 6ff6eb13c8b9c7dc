package main

import (
	"errors"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/port"
)

// memory makes an anonymous file with a port's header.
func memory(head []byte, size int) (*os.File, error) {
	fd, err := unix.MemfdCreate("bench", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "memfd:"+strconv.Itoa(fd))
	_, err = f.Write(head)
	return f, errors.Join(err, f.Truncate(int64(size)))
}

func ports(l port.Layout) (port.Ends, error) {
	size, err := l.Bytes()
	if err != nil {
		return port.Ends{}, err
	}
	var e port.Ends
	if e.Memory, err = memory(l.Header(), size); err == nil && l.Kind == port.Queueing {
		e.Cursor, err = memory(l.CursorHeader(), port.CursorBytes)
	}
	return e, err
}

func samplingLayout(name string, size int) port.Layout {
	return port.Layout{Message: port.Message{Link: name, Size: size, Version: 1}, Kind: port.Sampling}
}

func queueLayout(name string, size int) port.Layout {
	return port.Layout{Message: port.Message{Link: name, Size: size, Version: 1}, Kind: port.Queueing, Depth: 16, Policy: port.Reject}
}

// near measures what one thread does.
func near() ([]Row, error) {
	var rows []Row
	add := func(what string, size, n int, do func() error) error {
		r, err := measure(what, size, n, do)
		rows = append(rows, r)
		return err
	}
	for _, size := range []int{8, 64, 1024} {
		data, buf := make([]byte, size), make([]byte, size)
		e, err := ports(samplingLayout("near", size))
		if err != nil {
			return nil, err
		}
		w, err := port.NewSamplingWriter(e, samplingLayout("near", size).Message)
		if err != nil {
			return nil, err
		}
		r, err := port.NewSamplingReader(e, samplingLayout("near", size).Message)
		if err != nil {
			return nil, err
		}
		q, err := ports(queueLayout("near", size))
		if err != nil {
			return nil, err
		}
		qw, err := port.NewQueueWriter(q, queueLayout("near", size).Message)
		if err != nil {
			return nil, err
		}
		qr, err := port.NewQueueReader(q, queueLayout("near", size).Message)
		if err != nil {
			return nil, err
		}
		if err := errors.Join(
			add("sampling port", size, 300_000, func() error {
				w.Write(data)
				_, err := r.Read(buf)
				return err
			}),
			add("queueing port", size, 300_000, func() error {
				qw.Write(data)
				_, err := qr.Read(buf)
				return err
			}),
		); err != nil {
			return nil, err
		}
		for _, peer := range pairs {
			fds, err := peer.make()
			if err != nil {
				return nil, err
			}
			err = add(peer.name, size, 100_000, func() error {
				if n := raw(unix.SYS_WRITE, fds[1], data); n != size {
					return unix.EIO
				}
				if n := raw(unix.SYS_READ, fds[0], buf); n != size {
					return unix.EIO
				}
				return nil
			})
			if err := errors.Join(err, unix.Close(fds[0]), unix.Close(fds[1])); err != nil {
				return nil, err
			}
		}
	}
	return rows, nil
}

// pairs are the peers: [0] is read, [1] written.
var pairs = []struct {
	name string
	make func() ([2]int, error)
}{
	{"pipe", func() (fds [2]int, err error) { err = unix.Pipe2(fds[:], unix.O_CLOEXEC); return fds, err }},
	{"unix stream socket", func() ([2]int, error) { return unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0) }},
	{"unix datagram socket", func() ([2]int, error) { return unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0) }},
}

// raw is a system call that cannot block, without the scheduler's part.
func raw(call uintptr, fd int, b []byte) int {
	n, _, errno := unix.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	if errno != 0 {
		return -1
	}
	return int(n)
}
