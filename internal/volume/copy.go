package volume

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"syscall"
	"time"

	"github.com/instar-os/instar/internal/linux"
	"golang.org/x/sys/unix"
)

// measure counts the files below a directory and the bytes they occupy, hard
// links once.
func measure(dir string) (files, bytes int64, err error) {
	seen := map[uint64]bool{}
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it went away meanwhile
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		st := info.Sys().(*syscall.Stat_t)
		if !seen[st.Ino] {
			seen[st.Ino] = true
			files, bytes = files+1, bytes+st.Blocks*512
		}
		return nil
	})
	return files, bytes, err
}

// copier copies a tree of files with owners, modes, times, extended attributes
// and hard links. Nothing of it follows a link out of either tree.
type copier struct {
	from, to *os.Root
	linked   map[uint64]string // inode of from: first path
}

// copyTree makes a copy of a directory. project is the quota project of the
// copy, 0 for none.
func copyTree(from, to string, project uint32) error {
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	if err := inProject(to, project); err != nil {
		return err
	}
	src, err := os.OpenRoot(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenRoot(to)
	if err != nil {
		return err
	}
	defer dst.Close()
	c := &copier{src, dst, map[uint64]string{}}
	return c.dir(".")
}

// dir copies what is in a directory, and then its own attributes, so that the
// times stay.
func (c *copier) dir(name string) error {
	f, err := c.from.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := c.entry(path.Join(name, e.Name())); err != nil {
			return err
		}
	}
	out, err := c.to.Open(name)
	if err != nil {
		return err
	}
	defer out.Close()
	return c.attributes(f, out)
}

func (c *copier) entry(name string) error {
	info, err := c.from.Lstat(name)
	if err != nil {
		return err
	}
	st := info.Sys().(*syscall.Stat_t)
	if first, ok := c.linked[st.Ino]; ok && !info.IsDir() {
		return c.to.Link(first, name)
	}
	if st.Nlink > 1 && !info.IsDir() {
		c.linked[st.Ino] = name
	}
	switch info.Mode().Type() {
	case 0:
		return c.file(name)
	case fs.ModeDir:
		if err := c.to.Mkdir(name, 0o700); err != nil {
			return err
		}
		return c.dir(name)
	case fs.ModeSymlink:
		target, err := c.from.Readlink(name)
		if err != nil {
			return err
		}
		if err := c.to.Symlink(target, name); err != nil {
			return err
		}
		return owned(c.to, name, int(st.Uid), int(st.Gid), time.Unix(st.Mtim.Unix()))
	case fs.ModeNamedPipe:
		return pipe(c.to, name, st.Mode, int(st.Uid), int(st.Gid), time.Unix(st.Mtim.Unix()))
	}
	delete(c.linked, st.Ino)
	return nil // sockets belong to whoever listens; devices cannot be used there
}

// pipe makes a named pipe.
func pipe(root *os.Root, name string, mode uint32, uid, gid int, t time.Time) error {
	dir, err := root.Open(path.Dir(name))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Mkfifoat(int(dir.Fd()), path.Base(name), mode&0o777); err != nil {
		return &fs.PathError{Op: "mkfifo", Path: name, Err: err}
	}
	return owned(root, name, uid, gid, t)
}

// owned sets owner and time of what cannot be opened for it: links and pipes.
func owned(root *os.Root, name string, uid, gid int, t time.Time) error {
	if err := root.Lchown(name, uid, gid); err != nil {
		return err
	}
	ts, err := unix.TimeToTimespec(t)
	if err != nil {
		return err
	}
	dir, err := root.Open(path.Dir(name))
	if err != nil {
		return err
	}
	defer dir.Close()
	return unix.UtimesNanoAt(int(dir.Fd()), path.Base(name), []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}

func (c *copier) file(name string) error {
	in, err := c.from.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := c.to.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := content(in, out); err != nil {
		return fmt.Errorf("copying %s: %w", name, err)
	}
	return c.attributes(in, out)
}

// content shares the blocks of a file where the file system can (ioctl_ficlone(2)),
// and else copies what is not a hole.
func content(in, out *os.File) error {
	if unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) == nil {
		return nil
	}
	info, err := in.Stat()
	if err != nil {
		return err
	}
	size := info.Size()
	for at := int64(0); at < size; {
		data, err := unix.Seek(int(in.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // a hole up to the end
		}
		hole := size
		if err == nil {
			hole, err = unix.Seek(int(in.Fd()), data, unix.SEEK_HOLE)
		}
		if err != nil {
			return err
		}
		if _, err := out.Seek(data, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.Copy(out, io.NewSectionReader(in, data, hole-data)); err != nil {
			return err
		}
		at = hole
	}
	return out.Truncate(size)
}

// canClone reports whether the file system of a directory shares blocks.
func canClone(dir string) bool {
	var files [2]*os.File
	for i := range files {
		f, err := os.CreateTemp(dir, ".clone-*")
		if err != nil {
			return false
		}
		defer os.Remove(f.Name())
		defer f.Close()
		files[i] = f
	}
	return unix.IoctlFileClone(int(files[1].Fd()), int(files[0].Fd())) == nil
}

// attributes copies owner, mode, extended attributes and times.
func (c *copier) attributes(in, out *os.File) error {
	info, err := in.Stat()
	if err != nil {
		return err
	}
	st := info.Sys().(*syscall.Stat_t)
	if err := out.Chown(int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := unix.Fchmod(int(out.Fd()), st.Mode&0o7777); err != nil {
		return err
	}
	attrs, err := xattrs(in)
	if err != nil {
		return err
	}
	for name, value := range attrs {
		if err := unix.Fsetxattr(int(out.Fd()), name, value, 0); err != nil {
			return fmt.Errorf("setting %s: %w", name, err)
		}
	}
	return setTimes(out, time.Unix(st.Mtim.Unix()))
}

func setTimes(f *os.File, t time.Time) error {
	ts, err := unix.TimeToTimespec(t)
	if err != nil {
		return err
	}
	// futimens(3): an empty path stands for the descriptor itself.
	return unix.UtimesNanoAt(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), []unix.Timespec{ts, ts}, 0)
}

// maxXattr is XATTR_SIZE_MAX and XATTR_LIST_MAX of linux/limits.h, in bytes.
const maxXattr = 64 << 10

// xattrs returns the extended attributes of a file.
func xattrs(f *os.File) (map[string][]byte, error) {
	names := make([]byte, maxXattr)
	n, err := unix.Flistxattr(int(f.Fd()), names)
	if errors.Is(err, unix.EOPNOTSUPP) || n == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	value := make([]byte, maxXattr)
	for _, name := range splitNames(names[:n]) {
		n, err := unix.Fgetxattr(int(f.Fd()), name, value)
		if errors.Is(err, unix.ENODATA) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
		out[name] = append([]byte(nil), value[:n]...)
	}
	return out, nil
}

func splitNames(b []byte) []string {
	var out []string
	for len(b) > 0 {
		name := unix.ByteSliceToString(b)
		out = append(out, name)
		b = b[min(len(b), len(name)+1):]
	}
	return out
}

// inProject puts a new directory, and all that will be made in it, into a
// quota project.
func inProject(dir string, project uint32) error {
	if project == 0 {
		return nil
	}
	return linux.SetProject(dir, project)
}

// assign puts a directory with all that is in it into a quota project.
func assign(dir string, project uint32) error {
	return filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() && !d.Type().IsRegular() {
			return nil
		}
		return linux.SetProject(name, project)
	})
}
