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
// bytes are the page cache's.
func view(old io.ReaderAt, size int64) (b []byte, done func(), err error) {
	if f, ok := old.(*os.File); ok && size > 0 {
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
