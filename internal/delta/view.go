package delta

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// maxBase is the largest base that is read into memory because it is no file.
const maxBase = MaxListing

// view gives all bytes of a base until done is called. A file is mapped: its
// bytes are the page cache's. It is read through before: what a disk does not
// give is an error of a system call then, and nobody waits for a disk in a page
// fault, in which a goroutine stops the collection of garbage, and so all others.
func view(old io.ReaderAt, size int64) (b []byte, done func(), err error) {
	if f, ok := old.(*os.File); ok && size > 0 {
		if err := readThrough(f, size); err != nil {
			return nil, nil, err
		}
		if b, err = unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED); err == nil {
			return b, func() { _ = unix.Munmap(b) }, nil
		}
	}
	if size > maxBase {
		return nil, nil, fmt.Errorf("%d bytes cannot be held in memory", size)
	}
	b = make([]byte, size)
	if _, err := io.ReadFull(io.NewSectionReader(old, 0, size), b); err != nil {
		return nil, nil, err
	}
	return b, func() {}, nil
}

// readThrough brings the first size bytes of f into the page cache.
func readThrough(f *os.File, size int64) error {
	buf := make([]byte, min(size, 256<<10))
	for at := int64(0); at < size; {
		n, err := f.ReadAt(buf[:min(int64(len(buf)), size-at)], at)
		if err != nil {
			return err
		}
		at += int64(n)
	}
	return nil
}
