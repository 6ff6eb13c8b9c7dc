// Package files makes trees of local inputs: directories, tarballs and single
// files. What a tree is like follows from names, contents and the owner's
// execute permission alone, because that is what version control keeps: umask,
// owner and times of the files as they lie on a build host change nothing.
package files

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/instar-os/instar/internal/source/untar"
	"github.com/instar-os/instar/internal/tree"
)

// Options say where in the tree the content goes and what it is like. The zero
// value puts it at the root, owned by 0:0, at the beginning of 1970.
type Options struct {
	To     string // directory, or of File the path, within the tree; "" is "/"
	Strip  int    // leading components to drop, of Tarball
	Mode   uint32 // of File; 0 is 0755 for what its owner may execute, else 0644
	Owner  string // UID or UID:GID of everything, of Dir and File; "" is 0:0
	Epoch  int64  // time of everything that has none of its own, seconds since 1970
	Label  string // who brings it, for messages: tree.Entry.Owner
	Limits untar.Limits
}

// limits returns the limits with every default filled in.
func (o Options) limits() untar.Limits {
	l := o.Limits
	if l.Entries == 0 {
		l.Entries = 1_000_000
	}
	if l.Bytes == 0 {
		l.Bytes = 16 << 30
	}
	if l.File == 0 {
		l.File = 8 << 30
	}
	return l
}

// smallFile is the size in bytes up to which a content is read at once into a
// buffer that all files share.
const smallFile = 256 << 10

// Dir reads the directory at a path of the host. Files get mode 0755 when their
// owner may execute them and 0644 otherwise, directories 0755; symlinks are kept
// as they are written, wherever they lead. Sockets, pipes and devices are errors.
func Dir(ctx context.Context, objects untar.Objects, dir string, o Options) (*tree.Tree, error) {
	fi, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("reading a directory: %w", err)
	}
	if !fi.IsDir() {
		return nil, fmt.Errorf("%s is not a directory", dir)
	}
	t, err := FS(ctx, objects, os.DirFS(dir), o)
	if err != nil {
		return nil, fmt.Errorf("directory %s: %w", dir, err)
	}
	return t, nil
}

// FS is Dir for a file system that is no path of the host.
func FS(ctx context.Context, objects untar.Objects, fsys fs.FS, o Options) (*tree.Tree, error) {
	r, err := newReader(objects, o)
	if err != nil {
		return nil, err
	}
	r.fsys = fsys
	err = fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = r.entry(name, d)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return r.tree, nil
}

// reader builds the tree of a directory or a file.
type reader struct {
	fsys     fs.FS
	objects  untar.Objects
	opts     Options
	limits   untar.Limits
	to       string // clean
	uid, gid uint32
	tree     *tree.Tree
	entries  int
	bytes    int64
	buf      []byte
}

func newReader(objects untar.Objects, o Options) (*reader, error) {
	to, err := tree.Clean(o.To)
	if err != nil {
		return nil, err
	}
	uid, gid, err := parseOwner(o.Owner)
	if err != nil {
		return nil, err
	}
	return &reader{objects: objects, opts: o, limits: o.limits(), to: to, uid: uid, gid: gid, tree: newTree(o)}, nil
}

// newTree returns an empty tree whose root has the options' time. The root has
// no owner to name, so that any tree may be merged over it.
func newTree(o Options) *tree.Tree {
	t := tree.New()
	root, _ := t.Get(tree.Root)
	root.MTime = o.Epoch
	if err := t.Put(tree.Root, root); err != nil {
		panic("a tree refuses its own root: " + err.Error())
	}
	return t
}

// parseOwner reads UID or UID:GID; the group is the user's number by default.
func parseOwner(s string) (uid, gid uint32, err error) {
	if s == "" {
		return 0, 0, nil
	}
	user, group, ok := strings.Cut(s, ":")
	if !ok {
		group = user
	}
	u, uerr := strconv.ParseUint(user, 10, 32)
	g, gerr := strconv.ParseUint(group, 10, 32)
	const none = 1<<32 - 1 // (uid_t)-1 means "no change" to the kernel
	if uerr != nil || gerr != nil || u == none || g == none {
		return 0, 0, fmt.Errorf("owner %q is not UID or UID:GID", s)
	}
	return uint32(u), uint32(g), nil
}

func (r *reader) entry(name string, d fs.DirEntry) error {
	if r.entries++; r.entries > r.limits.Entries {
		return fmt.Errorf("more than %d entries", r.limits.Entries)
	}
	at := path.Join(r.to, name)
	e := tree.Entry{UID: r.uid, GID: r.gid, MTime: r.opts.Epoch, Owner: r.opts.Label}
	switch d.Type() {
	case fs.ModeDir:
		if at == tree.Root {
			return nil
		}
		e.Kind, e.Mode = tree.Dir, 0o755
		return r.tree.Put(at, e)
	case fs.ModeSymlink:
		return r.symlink(name, at, e)
	case 0:
		return r.file(name, at, e)
	}
	return fmt.Errorf("is a %s; only files, directories and symlinks can be in a tree", kind(d.Type()))
}

func kind(m fs.FileMode) string {
	switch {
	case m&fs.ModeSocket != 0:
		return "socket"
	case m&fs.ModeNamedPipe != 0:
		return "named pipe"
	case m&fs.ModeDevice != 0:
		return "device"
	}
	return "special file"
}

func (r *reader) symlink(name, at string, e tree.Entry) error {
	target, err := fs.ReadLink(r.fsys, name)
	if err != nil {
		return err
	}
	e.Kind, e.Mode, e.Target = tree.Symlink, 0o777, target
	return r.tree.Put(at, e)
}

func (r *reader) file(name, at string, e tree.Entry) error {
	f, err := r.fsys.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() {
		return fmt.Errorf("is a %s, not a file", kind(fi.Mode()))
	}
	e.Kind, e.Mode = tree.File, 0o644
	if fi.Mode()&0o100 != 0 {
		e.Mode = 0o755
	}
	if err := r.content(f, fi.Size(), &e); err != nil {
		return err
	}
	if r.bytes += e.Size; r.bytes > r.limits.Bytes {
		return fmt.Errorf("contents exceed %d bytes", r.limits.Bytes)
	}
	return r.tree.Put(at, e)
}

// content puts what the file holds when it is read, whatever size it had before.
func (r *reader) content(f io.Reader, size int64, e *tree.Entry) error {
	if r.buf == nil {
		r.buf = make([]byte, smallFile)
	}
	limited := &io.LimitedReader{R: f, N: r.limits.File + 1}
	n, err := io.ReadFull(limited, r.buf)
	switch {
	case err == io.EOF:
		return nil
	case err == io.ErrUnexpectedEOF:
		e.Size = int64(n)
		e.Digest, err = r.objects.PutBytes(r.buf[:n])
	case err == nil && size <= r.limits.File:
		e.Digest, e.Size, err = r.objects.Put(io.MultiReader(bytes.NewReader(r.buf), limited))
	}
	if err == nil && (size > r.limits.File || e.Size > r.limits.File) {
		return fmt.Errorf("more than the limit of %d bytes", r.limits.File)
	}
	return err
}

// File makes a tree of one file of the host. Without To it lies at the root
// under its own name. A symlink is followed.
func File(ctx context.Context, objects untar.Objects, name string, o Options) (*tree.Tree, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if o.To == "" || o.To == "/" {
		o.To = filepath.Base(name)
	}
	r, err := newReader(objects, o)
	if err != nil {
		return nil, fmt.Errorf("file %s: %w", name, err)
	}
	if o.Mode > 0o7777 {
		return nil, fmt.Errorf("file %s: mode %o is none", name, o.Mode)
	}
	r.fsys = os.DirFS(filepath.Dir(name))
	e := tree.Entry{UID: r.uid, GID: r.gid, MTime: o.Epoch, Owner: o.Label}
	if err := r.file(filepath.Base(name), r.to, e); err != nil {
		return nil, fmt.Errorf("file %s: %w", name, err)
	}
	if o.Mode != 0 {
		e, _ := r.tree.Get(r.to)
		e.Mode = uint16(o.Mode)
		if err := r.tree.Put(r.to, e); err != nil {
			return nil, fmt.Errorf("file %s: %w", name, err)
		}
	}
	return r.tree, nil
}
