// Package fuse serves files whose every read, write and flush is a call of Go
// code, by the kernel's FUSE protocol (include/uapi/linux/fuse.h, version
// 7.31). A loop device over such a file is a disk that can be watched, cut and
// made to fail under the kernel's own file systems. It needs root.
//
// The process that serves must not start programs while it has a loop device of
// its own open: the child closes it before it runs, which may need the server,
// which may stand still until the child runs.
package fuse

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// File is what a name stands for. Offsets and sizes are bytes.
type File interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
	Discard(off, size int64) error // the range reads as zeros from now on
	Size() int64
}

// Server is a mounted directory of files. Close it.
type Server struct {
	dir string
	dev int

	mu    sync.Mutex
	names map[string]uint64
	files map[uint64]File
	last  uint64
	wg    sync.WaitGroup
}

// workers answer requests; one alone would be enough but for waiting.
const workers = 4

// maxWrite is the longest write in one request, in bytes.
const maxWrite = 128 << 10

// Mount serves an empty directory at dir.
func Mount(dir string) (*Server, error) {
	dev, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening /dev/fuse: %w", err)
	}
	data := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", dev)
	if err := unix.Mount("crashtest", dir, "fuse", unix.MS_NOSUID|unix.MS_NODEV, data); err != nil {
		return nil, errors.Join(fmt.Errorf("mounting fuse at %s: %w", dir, err), unix.Close(dev))
	}
	s := &Server{dir: dir, dev: dev, names: map[string]uint64{}, files: map[uint64]File{}, last: rootNode}
	for range workers {
		s.wg.Go(s.serve)
	}
	return s, nil
}

// Put gives a file a name and returns its path. A former file of that name is
// what it was for those who have it open.
func (s *Server) Put(name string, f File) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	s.names[name], s.files[s.last] = s.last, f
	return filepath.Join(s.dir, name)
}

// Drop takes a name away.
func (s *Server) Drop(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.files, s.names[name])
	delete(s.names, name)
}

// Abort lets every request fail from now on, so that whoever waits for one goes
// on.
func (s *Server) Abort() error { return unix.Unmount(s.dir, unix.MNT_FORCE|unix.MNT_DETACH) }

// Close unmounts, fails the requests under way and waits for their end.
func (s *Server) Close() error {
	err := s.Abort()
	s.wg.Wait()
	return errors.Join(err, unix.Close(s.dev))
}

const rootNode = 1

// Operations of the protocol.
const (
	opLookup    = 1
	opForget    = 2
	opGetattr   = 3
	opSetattr   = 4
	opOpen      = 14
	opRead      = 15
	opWrite     = 16
	opStatfs    = 17
	opRelease   = 18
	opFsync     = 20
	opFlush     = 25
	opInit      = 26
	opInterrupt = 36
	opDestroy   = 38
	opFallocate = 43
	opForgets   = 42
)

// Sizes of structures, in bytes.
const (
	inHeader  = 40
	outHeader = 16
	writeIn   = 40
	attrSize  = 88
)

var le = binary.LittleEndian

// serve answers requests until the file system is gone.
func (s *Server) serve() {
	buf := make([]byte, maxWrite+4096)
	for {
		n, err := unix.Read(s.dev, buf)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ENOENT), errors.Is(err, unix.EAGAIN):
			continue
		case err != nil || n < inHeader:
			return // ENODEV: unmounted
		}
		op, id, node := le.Uint32(buf[4:]), le.Uint64(buf[8:]), le.Uint64(buf[16:])
		if op == opForget || op == opForgets || op == opInterrupt {
			continue
		}
		out, err := s.answer(op, node, buf[inHeader:n])
		reply := make([]byte, outHeader, outHeader+len(out))
		if err != nil {
			out = nil
			errno := unix.EIO
			errors.As(err, &errno)
			le.PutUint32(reply[4:], uint32(-int32(errno)))
		}
		le.PutUint32(reply, uint32(outHeader+len(out)))
		le.PutUint64(reply[8:], id)
		// An error means that nobody waits for the answer any more.
		_, _ = unix.Write(s.dev, append(reply, out...))
		if op == opDestroy {
			return
		}
	}
}

func (s *Server) file(node uint64) (File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.files[node]
	if !ok {
		return nil, unix.ENOENT
	}
	return f, nil
}

func (s *Server) answer(op uint32, node uint64, in []byte) ([]byte, error) {
	switch op {
	case opInit:
		return initOut(), nil
	case opLookup:
		return s.lookup(unix.ByteSliceToString(in))
	case opGetattr, opSetattr:
		a, err := s.attr(node)
		return append(make([]byte, 16), a...), err
	case opStatfs:
		return make([]byte, 80), nil
	case opRelease, opDestroy:
		return nil, nil
	case opFlush:
		// Never again: a program that this process starts closes what it has
		// inherited, and would wait for us while we wait for its start.
		return nil, unix.ENOSYS
	case opOpen:
		out := make([]byte, 16)
		le.PutUint32(out[8:], 1) // FOPEN_DIRECT_IO: nothing between the loop device and us
		return out, nil
	}
	f, err := s.file(node)
	if err != nil {
		return nil, err
	}
	switch op {
	case opRead:
		return read(f, int64(le.Uint64(in[8:])), int(le.Uint32(in[16:])))
	case opWrite:
		n, err := f.WriteAt(in[writeIn:][:le.Uint32(in[16:])], int64(le.Uint64(in[8:])))
		return le.AppendUint64(nil, uint64(n)), err
	case opFsync:
		return nil, f.Sync()
	case opFallocate:
		const punch, zero = 0x02, 0x10
		if le.Uint32(in[24:])&(punch|zero) == 0 {
			return nil, unix.EOPNOTSUPP
		}
		return nil, f.Discard(int64(le.Uint64(in[8:])), int64(le.Uint64(in[16:])))
	}
	return nil, unix.ENOSYS
}

func initOut() []byte {
	b := make([]byte, 64)
	le.PutUint32(b, 7)
	le.PutUint32(b[4:], 31)
	le.PutUint32(b[8:], maxWrite)              // read-ahead
	le.PutUint32(b[12:], 1<<0|1<<5|1<<22)      // FUSE_ASYNC_READ, FUSE_BIG_WRITES, FUSE_MAX_PAGES
	le.PutUint16(b[16:], 16)                   // background requests
	le.PutUint16(b[18:], 12)                   // of them, before it is congested
	le.PutUint32(b[20:], maxWrite)             // bytes
	le.PutUint32(b[24:], 1)                    // nanoseconds of a time
	le.PutUint16(b[28:], uint16(maxWrite>>12)) // pages
	return b
}

func (s *Server) lookup(name string) ([]byte, error) {
	s.mu.Lock()
	node, ok := s.names[name]
	s.mu.Unlock()
	if !ok {
		return nil, unix.ENOENT
	}
	a, err := s.attr(node)
	if err != nil {
		return nil, err
	}
	b := make([]byte, 40)
	le.PutUint64(b, node)
	return append(b, a...), nil
}

func (s *Server) attr(node uint64) ([]byte, error) {
	b := make([]byte, attrSize)
	le.PutUint64(b, node)
	le.PutUint32(b[64:], 1) // links
	if node == rootNode {
		le.PutUint32(b[60:], unix.S_IFDIR|0o700)
		return b, nil
	}
	f, err := s.file(node)
	if err != nil {
		return nil, err
	}
	le.PutUint64(b[8:], uint64(f.Size()))
	le.PutUint64(b[16:], uint64(f.Size()/512))
	le.PutUint32(b[60:], unix.S_IFREG|0o600)
	le.PutUint32(b[80:], 4096)
	return b, nil
}

func read(f File, off int64, size int) ([]byte, error) {
	b := make([]byte, size)
	n, err := f.ReadAt(b, off)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return b[:n], err
}

// Loop makes a loop device of a file and returns its path. The device goes when
// release is called and nobody uses it any more.
func Loop(file string) (device string, release func() error, err error) {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return "", nil, err
	}
	defer control.Close()
	const tries = 50 // others take loop devices as well
	for range tries {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return "", nil, fmt.Errorf("finding a free loop device: %w", err)
		}
		device = fmt.Sprintf("/dev/loop%d", n)
		d, err := os.OpenFile(device, os.O_RDWR, 0)
		if err != nil {
			return "", nil, err
		}
		c := unix.LoopConfig{Fd: uint32(f.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}}
		if err = unix.IoctlLoopConfigure(int(d.Fd()), &c); err == nil {
			return device, d.Close, nil
		}
		if d.Close(); !errors.Is(err, unix.EBUSY) {
			return "", nil, fmt.Errorf("making %s of %s: %w", device, file, err)
		}
	}
	return "", nil, fmt.Errorf("no loop device is free for %s", file)
}
