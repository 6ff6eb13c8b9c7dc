package volume

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// xattrPrefix begins the PAX records of extended attributes, as tar programs
// have agreed on (star, GNU tar, libarchive).
const xattrPrefix = "SCHILY.xattr."

// Export writes a generation of a volume as a tar archive, in order of paths;
// generation 0 is the current one. A container that runs may write meanwhile:
// a file that becomes shorter while it is read is an error.
func (s *Store) Export(n Name, generation int, w io.Writer) error {
	p := s.place(n)
	r, err := p.read()
	switch {
	case err != nil:
		return fmt.Errorf("data %v: %w", n, err)
	case r == nil:
		return fmt.Errorf("there is no data %v", n)
	case generation == 0:
		generation = r.Current
	case !slices.ContainsFunc(r.Snapshots, func(o Snapshot) bool { return o.Generation == generation }):
		return fmt.Errorf("data %v: there is no snapshot %d", n, generation)
	}
	if err := pack(p.generation(generation), w); err != nil {
		return fmt.Errorf("data %v: %w", n, err)
	}
	return nil
}

// pack writes a directory as a tar archive.
func pack(dir string, w io.Writer) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	tw := tar.NewWriter(w)
	linked := map[uint64]string{}
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return packEntry(root, tw, name, linked)
	})
	return errors.Join(err, tw.Close())
}

func packEntry(root *os.Root, tw *tar.Writer, name string, linked map[uint64]string) error {
	info, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	st := info.Sys().(*syscall.Stat_t)
	h := &tar.Header{Name: name, Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid), Gid: int(st.Gid),
		ModTime: time.Unix(st.Mtim.Unix()), Format: tar.FormatPAX, PAXRecords: map[string]string{}}
	if first, ok := linked[st.Ino]; ok && !info.IsDir() {
		h.Typeflag, h.Linkname = tar.TypeLink, first
		return tw.WriteHeader(h)
	}
	if st.Nlink > 1 && !info.IsDir() {
		linked[st.Ino] = name
	}
	switch info.Mode().Type() {
	case 0, fs.ModeDir:
		return packOpen(root, tw, name, h)
	case fs.ModeSymlink:
		h.Typeflag = tar.TypeSymlink
		if h.Linkname, err = root.Readlink(name); err != nil {
			return err
		}
	case fs.ModeNamedPipe:
		h.Typeflag = tar.TypeFifo
	default:
		delete(linked, st.Ino)
		return nil // sockets and devices are not data
	}
	return tw.WriteHeader(h)
}

// packOpen writes what has to be opened: a file with its content, a directory.
func packOpen(root *os.Root, tw *tar.Writer, name string, h *tar.Header) error {
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	attrs, err := xattrs(f)
	if err != nil {
		return err
	}
	for k, v := range attrs {
		h.PAXRecords[xattrPrefix+k] = string(v)
	}
	h.Typeflag = tar.TypeDir
	if info.IsDir() {
		h.Name += "/"
		return tw.WriteHeader(h)
	}
	h.Typeflag, h.Size = tar.TypeReg, info.Size()
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.CopyN(tw, f, h.Size)
	if err != nil {
		return fmt.Errorf("%s became shorter while it was read, after %d of %d bytes: %w", name, n, h.Size, err)
	}
	return nil
}

// unpack makes a directory with the content of a tar archive. Its owner and
// mode are those of like, unless the archive has an entry for "./". limit bounds
// the bytes of all files, 0 for no limit. Only regular files, directories, links
// and named pipes below the directory are accepted.
func unpack(r io.Reader, like, dir string, limit int64, project uint32) error {
	info, err := os.Stat(like)
	if err != nil {
		return err
	}
	st := info.Sys().(*syscall.Stat_t)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if err := inProject(dir, project); err != nil {
		return err
	}
	if err := os.Chown(dir, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := os.Chmod(dir, info.Mode()); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	u := &unpacker{root: root, limit: limit}
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return u.finish(r)
		}
		if err != nil {
			return fmt.Errorf("reading the archive: %w", err)
		}
		if err := u.entry(h, tr); err != nil {
			return fmt.Errorf("entry %q of the archive: %w", h.Name, err)
		}
	}
}

// maxEntries bounds the files of an archive.
const maxEntries = 4 << 20

type unpacker struct {
	root           *os.Root
	limit          int64
	bytes, entries int64
	dirs           []*tar.Header // their times are set last
}

func (u *unpacker) entry(h *tar.Header, content io.Reader) error {
	name := path.Clean(strings.TrimPrefix(h.Name, "/"))
	if !filepath.IsLocal(name) {
		return errors.New("it lies outside of the data")
	}
	if u.entries++; u.entries > maxEntries {
		return fmt.Errorf("more than %d entries", maxEntries)
	}
	h.Name = name
	if parent := path.Dir(name); parent != "." {
		if err := u.root.MkdirAll(parent, 0o755); err != nil {
			return err
		}
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if err := u.root.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		u.dirs = append(u.dirs, h)
		return nil
	case tar.TypeReg:
		return u.file(h, content)
	case tar.TypeSymlink:
		if err := u.root.Symlink(h.Linkname, name); err != nil {
			return err
		}
		return owned(u.root, name, h.Uid, h.Gid, h.ModTime)
	case tar.TypeLink:
		target := path.Clean(strings.TrimPrefix(h.Linkname, "/"))
		if !filepath.IsLocal(target) {
			return errors.New("it links outside of the data")
		}
		return u.root.Link(target, name)
	case tar.TypeFifo:
		return pipe(u.root, name, uint32(h.Mode), h.Uid, h.Gid, h.ModTime)
	}
	return fmt.Errorf("it is of type %q; regular files, directories, links and named pipes are taken", h.Typeflag)
}

func (u *unpacker) file(h *tar.Header, content io.Reader) error {
	if u.bytes += h.Size; u.limit > 0 && u.bytes > u.limit {
		return fmt.Errorf("the archive holds more than the data's limit of %d bytes", u.limit)
	}
	f, err := u.root.OpenFile(h.Name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.Copy(f, content); err != nil {
		return err
	}
	if err := attributes(f, h); err != nil {
		return err
	}
	return f.Close()
}

func attributes(f *os.File, h *tar.Header) error {
	if err := f.Chown(h.Uid, h.Gid); err != nil {
		return err
	}
	if err := unix.Fchmod(int(f.Fd()), uint32(h.Mode)&0o7777); err != nil {
		return err
	}
	for k, v := range h.PAXRecords {
		if name, ok := strings.CutPrefix(k, xattrPrefix); ok {
			if err := unix.Fsetxattr(int(f.Fd()), name, []byte(v), 0); err != nil {
				return fmt.Errorf("setting %s: %w", name, err)
			}
		}
	}
	return setTimes(f, h.ModTime)
}

// finish sets what directories have, the innermost first, and takes the
// archive's padding, so that whoever writes it can end.
func (u *unpacker) finish(r io.Reader) error {
	for _, h := range slices.Backward(u.dirs) {
		f, err := u.root.Open(h.Name)
		if err != nil {
			return err
		}
		err = attributes(f, h)
		f.Close()
		if err != nil {
			return fmt.Errorf("entry %q of the archive: %w", h.Name, err)
		}
	}
	_, err := io.Copy(io.Discard, r)
	return err
}
