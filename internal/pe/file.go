package pe

import (
	"errors"
	"io"
	"sort"
)

// Content is what can be read anywhere and has an end, such as a bytes.Reader,
// a strings.Reader or an io.SectionReader.
type Content interface {
	io.ReaderAt
	Size() int64
}

// File is an image that is put together while it is read.
type File struct {
	parts []Content
	ends  []int64 // of the parts
	size  int64
}

func (f *File) add(c Content) {
	if c.Size() == 0 {
		return
	}
	f.size += c.Size()
	f.parts, f.ends = append(f.parts, c), append(f.ends, f.size)
}

// Size returns the image's length in bytes.
func (f *File) Size() int64 { return f.size }

// ReadAt implements io.ReaderAt.
func (f *File) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("a negative offset")
	}
	done := 0
	for i := sort.Search(len(f.ends), func(i int) bool { return f.ends[i] > off }); i < len(f.parts) && done < len(b); i++ {
		begin := f.ends[i] - f.parts[i].Size()
		want := min(int64(len(b)-done), f.ends[i]-off)
		n, err := f.parts[i].ReadAt(b[done:done+int(want)], off-begin)
		done, off = done+n, off+int64(n)
		if int64(n) < want {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return done, err
		}
	}
	if done < len(b) {
		return done, io.EOF
	}
	return done, nil
}
