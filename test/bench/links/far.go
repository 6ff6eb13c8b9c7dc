package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/port"
)

const farSize = 64

// far measures messages to another process and back.
func far() ([]Row, error) {
	var rows []Row
	for _, way := range []struct {
		what  string
		count int
	}{{"sampling ports, polling", 100_000}, {"queueing ports, eventfd", 20_000}, {"futex", 20_000}, {"eventfd", 20_000}, {"pipes", 20_000}, {"unix stream socket", 20_000}, {"unix datagram socket", 20_000}} {
		r, err := thereAndBack(way.what, way.count)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", way.what, err)
		}
		rows = append(rows, r)
	}
	return rows, nil
}

func thereAndBack(what string, n int) (Row, error) {
	files, err := open(what)
	if err != nil {
		return Row{}, err
	}
	stop, err := start(what, files)
	if err != nil {
		return Row{}, err
	}
	defer stop()
	here, err := end(what, files, true)
	if err != nil {
		return Row{}, err
	}
	return measure(what, farSize, n, func() error { return errors.Join(here.send(), here.receive()) })
}

// start runs this program as the other end until stop.
func start(what string, files []*os.File) (stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "other-end", what)
	cmd.ExtraFiles, cmd.Stderr = files, os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() {
		cmd.Process.Kill()
		cmd.Wait() // it was killed, and says so
		for _, f := range files {
			f.Close()
		}
	}, nil
}

// otherEnd answers messages until it is killed.
func otherEnd(what string) error {
	runtime.LockOSThread()
	var files []*os.File
	for fd := uintptr(3); fd < 16; fd++ {
		if _, err := unix.FcntlInt(fd, unix.F_GETFD, 0); err == nil {
			files = append(files, os.NewFile(fd, "fd"))
		}
	}
	if what == "torn" {
		return writeForEver(files)
	}
	there, err := end(what, files, false)
	if err != nil {
		return err
	}
	for {
		if err := errors.Join(there.receive(), there.send()); err != nil {
			return err
		}
	}
}

// A pair of functions is one end.
type functions struct{ send, receive func() error }

// open makes the files of both ends: the same list for each.
func open(what string) ([]*os.File, error) {
	var files []*os.File
	add := func(fds ...int) {
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), what))
		}
	}
	switch what {
	case "sampling ports, polling", "queueing ports, eventfd":
		for _, name := range []string{"there", "back"} {
			l := samplingLayout(name, farSize)
			if what != "sampling ports, polling" {
				l = queueLayout(name, farSize)
			}
			e, err := ports(l)
			if err != nil {
				return nil, err
			}
			files = append(files, e.Memory)
			if e.Cursor != nil {
				wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
				if err != nil {
					return nil, err
				}
				files = append(files, e.Cursor)
				add(wake)
			}
		}
	case "futex":
		f, err := memory(make([]byte, 8), 4096)
		return []*os.File{f}, err
	case "eventfd":
		for range 2 {
			fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
			if err != nil {
				return nil, err
			}
			add(fd)
		}
	case "pipes":
		for range 2 {
			fds, err := pairs[0].make()
			if err != nil {
				return nil, err
			}
			add(fds[0], fds[1])
		}
	default:
		for _, p := range pairs {
			if p.name == what {
				fds, err := p.make()
				if err != nil {
					return nil, err
				}
				add(fds[0], fds[1])
			}
		}
	}
	return files, nil
}

// end makes one end of the files: first sends first.
func end(what string, files []*os.File, first bool) (functions, error) {
	i, j := 0, 1 // what is sent on, what is received from
	if !first {
		i, j = 1, 0
	}
	msg := make([]byte, farSize)
	plain := func(to, from *os.File, size int) functions {
		w, r := int(to.Fd()), int(from.Fd())
		binary.LittleEndian.PutUint64(msg, 1)
		return functions{
			func() error { _, err := unix.Write(w, msg[:size]); return err },
			func() error { _, err := unix.Read(r, msg[:size]); return err },
		}
	}
	switch what {
	case "sampling ports, polling":
		return sampling(files[i], files[j], names[i], names[j])
	case "queueing ports, eventfd":
		return queueing(files[3*i:3*i+3], files[3*j:3*j+3], names[i], names[j])
	case "futex":
		return futex(files[0], i, j)
	case "eventfd":
		return plain(files[i], files[j], 8), nil
	case "pipes":
		return plain(files[2*i+1], files[2*j], farSize), nil
	}
	return plain(files[i], files[i], farSize), nil
}

var names = [2]string{"there", "back"}

func sampling(to, from *os.File, toName, fromName string) (functions, error) {
	w, err := port.NewSamplingWriter(port.Ends{Memory: to}, samplingLayout(toName, farSize).Message)
	if err != nil {
		return functions{}, err
	}
	r, err := port.NewSamplingReader(port.Ends{Memory: from}, samplingLayout(fromName, farSize).Message)
	if err != nil {
		return functions{}, err
	}
	msg, last := make([]byte, farSize), uint64(0)
	return functions{
		func() error { return w.Write(msg) },
		func() error {
			for {
				s, err := r.Read(msg)
				if err == nil && s.Sequence != last {
					last = s.Sequence
					return nil
				}
				if err != nil && !errors.Is(err, port.ErrEmpty) {
					return err
				}
			}
		},
	}, nil
}

func queueing(to, from []*os.File, toName, fromName string) (functions, error) {
	w, err := port.NewQueueWriter(port.Ends{Memory: to[0], Cursor: to[1], Wake: to[2]}, queueLayout(toName, farSize).Message)
	if err != nil {
		return functions{}, err
	}
	r, err := port.NewQueueReader(port.Ends{Memory: from[0], Cursor: from[1], Wake: from[2]}, queueLayout(fromName, farSize).Message)
	if err != nil {
		return functions{}, err
	}
	msg := make([]byte, farSize)
	return functions{
		func() error { return w.Write(msg) },
		func() error {
			if _, err := r.Wait(-1); err != nil {
				return err
			}
			_, err := r.Read(msg)
			return err
		},
	}, nil
}

// futex lets the two ends wake each other by two words of shared memory, in
// which a message would lie.
func futex(f *os.File, i, j int) (functions, error) {
	mem, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return functions{}, err
	}
	word := func(n int) *uint32 { return (*uint32)(unsafe.Pointer(&mem[64*n])) }
	const wait, wake = 0, 1 // FUTEX_WAIT, FUTEX_WAKE
	last := uint32(0)
	return functions{
		func() error {
			atomic.AddUint32(word(i), 1)
			_, _, errno := unix.Syscall(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word(i))), wake, 1)
			if errno != 0 {
				return errno
			}
			return nil
		},
		func() error {
			for atomic.LoadUint32(word(j)) == last {
				_, _, errno := unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word(j))), wait, uintptr(last), 0, 0, 0)
				if errno != 0 && errno != unix.EAGAIN && errno != unix.EINTR {
					return errno
				}
			}
			last++
			return nil
		},
	}, nil
}

// check is what every word of a value follows from.
func check(n uint64, i int) uint64 { return n*0x9e3779b97f4a7c15 + uint64(i)*n }

func writeForEver(files []*os.File) error {
	w, err := port.NewSamplingWriter(port.Ends{Memory: files[0]}, samplingLayout("torn", farSize).Message)
	if err != nil {
		return err
	}
	var msg [farSize]byte
	for n := uint64(1); ; n++ {
		for i := 0; i < farSize; i += 8 {
			binary.LittleEndian.PutUint64(msg[i:], check(n, i))
		}
		if err := w.Write(msg[:]); err != nil {
			return err
		}
	}
}

// torn reads n values and checks each.
func torn(n int) (Torn, error) {
	e, err := ports(samplingLayout("torn", farSize))
	if err != nil {
		return Torn{}, err
	}
	stop, err := start("torn", []*os.File{e.Memory})
	if err != nil {
		return Torn{}, err
	}
	defer stop()
	r, err := port.NewSamplingReader(e, samplingLayout("torn", farSize).Message)
	if err != nil {
		return Torn{}, err
	}
	t := Torn{Reads: n}
	var msg [farSize]byte
	last, began := uint64(0), time.Now()
	for done := 0; done < n; {
		s, err := r.Read(msg[:])
		if errors.Is(err, port.ErrEmpty) {
			continue // the writer is not there yet
		}
		if err != nil {
			return t, err
		}
		done++
		if s.Sequence != last {
			t.New++
			last = s.Sequence
		}
		for i := 0; i < farSize; i += 8 {
			if binary.LittleEndian.Uint64(msg[i:]) != check(s.Sequence, i) {
				t.Torn++
				break
			}
		}
	}
	t.Seconds = time.Since(began).Seconds()
	if t.Torn > 0 {
		return t, fmt.Errorf("%d of %d values were torn", t.Torn, n)
	}
	return t, nil
}
