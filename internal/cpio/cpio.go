// Package cpio writes and reads cpio archives in the "newc" format that Linux
// unpacks as initial RAM file system.
//
// Source: Documentation/driver-api/early-userspace/buffer-format.rst.
package cpio

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
)

// The file type bits of a mode, as in struct stat.
const (
	TypeMask    = 0o170000
	TypeFile    = 0o100000
	TypeDir     = 0o040000
	TypeSymlink = 0o120000
	TypeChar    = 0o020000
	TypeBlock   = 0o060000
	TypeFifo    = 0o010000
	TypeSocket  = 0o140000
)

const (
	magic      = "070701"
	headerSize = 110 // magic and 13 fields of 8 hexadecimal digits
	trailer    = "TRAILER!!!"

	// MaxName is the longest path in bytes, Linux' PATH_MAX without its NUL.
	MaxName = 4095
)

// File is one member of an archive.
type File struct {
	Path string // relative, as "modules/000-virtio_blk.ko"
	Mode uint32 // type and permission bits; without type bits it is a regular file
	Size int64  // bytes of Data
	Data io.Reader
	// Major and Minor number the device of a device node.
	Major, Minor uint32
}

// Write writes an archive of the files in the order given, owned by 0:0, with
// time 0 and inode numbers counting from 1. The kernel makes no parent
// directories, so that each must stand before what it contains. The output
// depends on nothing but files. It fails when a Data gives more or fewer bytes
// than Size says.
func Write(w io.Writer, files []File) error {
	cw := &counter{w: w}
	for i, f := range files {
		if err := writeFile(cw, uint32(i+1), f); err != nil {
			return fmt.Errorf("cpio member %q: %w", f.Path, err)
		}
	}
	return writeHeader(cw, 0, File{Path: trailer}, 1)
}

func writeFile(w *counter, ino uint32, f File) error {
	if err := checkFile(&f); err != nil {
		return err
	}
	links := uint32(1)
	if f.Mode&TypeMask == TypeDir {
		links = 2
	}
	if err := writeHeader(w, ino, f, links); err != nil {
		return err
	}
	if f.Size == 0 {
		return nil
	}
	n, err := io.Copy(w, io.LimitReader(f.Data, f.Size))
	if err != nil {
		return err
	}
	if n != f.Size {
		return fmt.Errorf("%d bytes of data, not %d", n, f.Size)
	}
	if n, _ := io.ReadFull(f.Data, make([]byte, 1)); n != 0 {
		return fmt.Errorf("more than %d bytes of data", f.Size)
	}
	return w.align()
}

// checkFile refuses what the format cannot hold and completes the mode.
func checkFile(f *File) error {
	switch {
	case f.Path == "" || f.Path == trailer || strings.HasPrefix(f.Path, "/"):
		return errors.New("not a relative path")
	case len(f.Path) > MaxName || strings.IndexByte(f.Path, 0) >= 0:
		return fmt.Errorf("path is longer than %d bytes or contains NUL", MaxName)
	case f.Size < 0 || f.Size > math.MaxUint32:
		return fmt.Errorf("%d bytes do not fit the format's 32 bits", f.Size)
	case f.Size > 0 && f.Data == nil:
		return errors.New("no data")
	}
	if f.Mode&TypeMask == 0 {
		f.Mode |= TypeFile
	}
	if t := f.Mode & TypeMask; f.Size > 0 && t != TypeFile && t != TypeSymlink {
		return fmt.Errorf("mode %o cannot have data", f.Mode)
	}
	return nil
}

func writeHeader(w *counter, ino uint32, f File, links uint32) error {
	_, err := fmt.Fprintf(w, "%s%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		magic, ino, f.Mode, 0, 0, links, 0, uint32(f.Size),
		0, 0, f.Major, f.Minor, len(f.Path)+1, 0, f.Path)
	if err != nil {
		return err
	}
	return w.align()
}

// counter knows the offset in the archive, which everything is aligned by.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// align pads with zeros to a multiple of 4 bytes.
func (c *counter) align() error {
	_, err := c.Write(make([]byte, -c.n&3))
	return err
}
