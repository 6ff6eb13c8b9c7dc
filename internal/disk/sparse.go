package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// Granule is the size in bytes of the runs of zeros that stay holes.
const Granule = 4096

var zeros [Granule]byte

// Sparse writes to W what is not zero. W must read as zeros where it was not
// written, as a new file does.
type Sparse struct{ W io.WriterAt }

// WriteAt implements io.WriterAt. It leaves out granules of zeros.
func (s Sparse) WriteAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		start := done
		for done < len(p) && isZero(p[done:granuleEnd(p, off, done)]) {
			done = granuleEnd(p, off, done)
		}
		start = done
		for done < len(p) && !isZero(p[done:granuleEnd(p, off, done)]) {
			done = granuleEnd(p, off, done)
		}
		if start == done {
			continue
		}
		if n, err := s.W.WriteAt(p[start:done], off+int64(start)); err != nil {
			return start + n, err
		}
	}
	return len(p), nil
}

// granuleEnd returns the index in p where the granule that holds p[i] ends.
func granuleEnd(p []byte, off int64, i int) int {
	return min(len(p), i+Granule-int((off+int64(i))%Granule))
}

func isZero(p []byte) bool {
	for len(p) > Granule {
		if !bytes.Equal(p[:Granule], zeros[:]) {
			return false
		}
		p = p[Granule:]
	}
	return bytes.Equal(p, zeros[:len(p)])
}

// Copy copies size bytes of r to w at offset off, leaving out granules of
// zeros and holes of r; what is left out in w must read as zeros already.
func Copy(w io.WriterAt, off int64, r io.ReaderAt, size int64) error {
	buf := make([]byte, 256<<10)
	return eachData(r, size, func(at, end int64) error {
		for at < end {
			p := buf[:min(int64(len(buf)), end-at)]
			if err := readFull(r, p, at); err != nil {
				return err
			}
			if _, err := (Sparse{w}).WriteAt(p, off+at); err != nil {
				return fmt.Errorf("writing at %d: %w", off+at, err)
			}
			at += int64(len(p))
		}
		return nil
	})
}

// The whence values of lseek(2) for sparse files.
const (
	seekData = 3
	seekHole = 4
)

// eachData calls f for every range of r that may hold something else than
// zeros: the data of a sparse *os.File, else everything.
func eachData(r io.ReaderAt, size int64, f func(at, end int64) error) error {
	file, ok := r.(*os.File)
	if !ok {
		return f(0, size)
	}
	for at := int64(0); at < size; {
		start, err := file.Seek(at, seekData)
		if errors.Is(err, syscall.ENXIO) {
			return nil // only a hole follows
		}
		if err != nil {
			return f(at, size) // a file system that knows no holes
		}
		end, err := file.Seek(start, seekHole)
		if err != nil {
			return fmt.Errorf("%s: finding holes: %w", file.Name(), err)
		}
		if start >= size {
			return nil
		}
		if err := f(start, min(end, size)); err != nil {
			return err
		}
		at = end
	}
	return nil
}

// Allocated returns how many bytes a file takes on its file system, holes not
// counted.
func Allocated(info fs.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512
	}
	return info.Size()
}
