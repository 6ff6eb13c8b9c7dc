package ext4

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// Extent is a run of blocks of a file.
type Extent struct {
	Logical uint32 // first block in the file
	Block   uint64 // first block in the file system
	Count   uint32
	Hole    bool // allocated, but never written: reads as zeros
}

const (
	extentMagic = 0xf30a
	maxDepth    = 5
	maxExtents  = 1 << 20
)

// extents returns the extents of an inode in order.
func (f *FS) extents(i *inode) ([]Extent, error) {
	if i.flags&flagExtents == 0 {
		return nil, errors.New("a file without extents is not read here")
	}
	var all []Extent
	var walk func(b []byte, depth int) error
	walk = func(b []byte, depth int) error {
		n, d := int(le.Uint16(b[2:])), int(le.Uint16(b[6:]))
		if le.Uint16(b) != extentMagic || 12+12*n > len(b) || d > maxDepth || depth >= 0 && d != depth {
			return errors.New("damaged extents")
		}
		for e := b[12 : 12+12*n]; len(e) > 0; e = e[12:] {
			if d == 0 {
				x := Extent{Logical: le.Uint32(e), Count: uint32(le.Uint16(e[4:])), Block: uint64(le.Uint16(e[6:]))<<32 | uint64(le.Uint32(e[8:]))}
				if x.Count > 1<<15 {
					x.Count, x.Hole = x.Count-1<<15, true
				}
				if len(all) >= maxExtents || x.Block+uint64(x.Count) > f.blocks {
					return errors.New("extents outside of the file system")
				}
				all = append(all, x)
				continue
			}
			child, err := f.block(uint64(le.Uint16(e[8:]))<<32 | uint64(le.Uint32(e[4:])))
			if err != nil {
				return err
			}
			if err := walk(child, d-1); err != nil {
				return err
			}
		}
		return nil
	}
	return all, walk(i.data[:], -1)
}

// File is a regular file's content.
type File struct {
	f         *FS
	Size      int64
	Extents   []Extent
	BlockSize int64
}

// ReadAt implements io.ReaderAt.
func (x *File) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= x.Size {
		return 0, io.EOF
	}
	var end error
	if rest := x.Size - off; int64(len(p)) > rest {
		p, end = p[:rest], io.EOF
	}
	clear(p)
	size := x.f.blockSize
	for _, e := range x.Extents {
		from, to := max(int64(e.Logical)*size, off), min((int64(e.Logical)+int64(e.Count))*size, off+int64(len(p)))
		if from >= to || e.Hole {
			continue
		}
		for at := from; at < to; {
			n := e.Block + uint64(at/size) - uint64(e.Logical)
			stop := min(to, (at/size+1)*size)
			if b, ok := x.f.replayed[n]; ok {
				copy(p[at-off:stop-off], b[at%size:])
			} else {
				for stop < to && x.f.replayed[e.Block+uint64(stop/size)-uint64(e.Logical)] == nil {
					stop = min(to, stop+size)
				}
				if _, err := x.f.r.ReadAt(p[at-off:stop-off], int64(n)*size+at%size); err != nil {
					return 0, err
				}
			}
			at = stop
		}
	}
	return len(p), end
}

// Entry is a name in a directory.
type Entry struct {
	Name  string
	Inode uint32
	Mode  fs.FileMode
	Size  int64
}

// ReadDir returns the entries of a directory, without . and .., in the order
// in which they stand.
func (f *FS) ReadDir(name string) ([]Entry, error) {
	n, err := f.lookup(name)
	if err == nil {
		var all []Entry
		if all, err = f.list(n); err == nil {
			return all, nil
		}
	}
	return nil, &fs.PathError{Op: "readdir", Path: name, Err: err}
}

func (f *FS) list(n uint32) ([]Entry, error) {
	var all []Entry
	err := f.each(n, func(name string, child uint32) error {
		i, err := f.inode(child)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, Entry{Name: name, Inode: child, Mode: i.fileMode(), Size: i.size})
		return nil
	})
	return all, err
}

// each calls yield for the names of a directory.
func (f *FS) each(n uint32, yield func(name string, child uint32) error) error {
	i, err := f.inode(n)
	if err != nil {
		return err
	}
	if !i.fileMode().IsDir() {
		return errors.New("not a directory")
	}
	if i.size > maxDirSize {
		return errors.New("directory too large")
	}
	b, err := f.content(i)
	if err != nil {
		return err
	}
	for at := 0; at+8 <= len(b); {
		length, nameLen := int(le.Uint16(b[at+4:])), int(b[at+6])
		if length < 8 || length%4 != 0 || 8+nameLen > length || at+length > len(b) {
			return fmt.Errorf("damaged entry at %d", at)
		}
		name := string(b[at+8 : at+8+nameLen])
		if child := le.Uint32(b[at:]); child != 0 && name != "." && name != ".." {
			if err := yield(name, child); err != nil {
				return err
			}
		}
		at += length
	}
	return nil
}

func (f *FS) content(i *inode) ([]byte, error) {
	x, err := f.extents(i)
	if err != nil {
		return nil, err
	}
	b := make([]byte, i.size)
	if len(b) == 0 {
		return b, nil
	}
	_, err = (&File{f: f, Size: i.size, Extents: x}).ReadAt(b, 0)
	return b, err
}

// lookup returns the inode of a slash-separated path below the root, "." for
// the root itself. Symbolic links are not followed.
func (f *FS) lookup(name string) (uint32, error) {
	n := uint32(rootInode)
	if name = path.Clean(name); name == "." || name == "/" {
		return n, nil
	}
	errFound := errors.New("found")
	for part := range strings.SplitSeq(strings.Trim(name, "/"), "/") {
		var found uint32
		err := f.each(n, func(name string, child uint32) error {
			if name == part {
				found = child
				return errFound
			}
			return nil
		})
		if err != nil && err != errFound {
			return 0, err
		}
		if found == 0 {
			return 0, fs.ErrNotExist
		}
		n = found
	}
	return n, nil
}

// Open returns a regular file.
func (f *FS) Open(name string) (*File, error) {
	x, err := f.open(name)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return x, nil
}

func (f *FS) open(name string) (*File, error) {
	n, err := f.lookup(name)
	if err != nil {
		return nil, err
	}
	i, err := f.inode(n)
	if err != nil {
		return nil, err
	}
	if !i.fileMode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	x, err := f.extents(i)
	return &File{f: f, Size: i.size, Extents: x, BlockSize: f.blockSize}, err
}

// ReadFile returns the content of a regular file of at most limit bytes.
func (f *FS) ReadFile(name string, limit int64) ([]byte, error) {
	x, err := f.Open(name)
	if err != nil {
		return nil, err
	}
	if x.Size > limit {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("%d bytes; at most %d are read", x.Size, limit)}
	}
	b := make([]byte, x.Size)
	if len(b) == 0 {
		return b, nil
	}
	if _, err := x.ReadAt(b, 0); err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	return b, nil
}

// Link returns where a symbolic link leads.
func (f *FS) Link(name string) (string, error) {
	n, err := f.lookup(name)
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: err}
	}
	i, err := f.inode(n)
	if err == nil && (i.fileMode().Type() != fs.ModeSymlink || i.size > maxLink) {
		err = errors.New("not a symbolic link")
	}
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: err}
	}
	if i.size < int64(len(i.data)) {
		return string(i.data[:i.size]), nil
	}
	b, err := f.content(i)
	return string(b), err
}
