package effects

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/tree"
)

// Objects is the part of a store that effects need: they read files of
// packages and put those they make.
type Objects interface {
	PutBytes(b []byte) (digest.Digest, error)
	Bytes(d digest.Digest, limit int64) ([]byte, error)
}

// maxFile is the size in bytes up to which effects read a configuration file.
const maxFile = 16 << 20

// world is the tree that effects change, with what they need to know of it.
type world struct {
	tree     *tree.Tree
	objects  Objects
	accounts *accounts
	epoch    int64 // of everything made here, in seconds since 1970
	owner    string
	report   *Report
	sonames  sonames
}

func (w *world) warn(format string, args ...any) {
	w.report.Warnings = append(w.report.Warnings, fmt.Sprintf(format, args...))
}

// place returns where in the tree a path names an entry: symlinks of its
// directories are followed, its own is not.
func (w *world) place(p string) (string, bool) {
	p = path.Clean("/" + p)
	if p == "/" {
		return tree.Root, true
	}
	dir, ok := w.tree.Resolve(path.Dir(p))
	return path.Join(dir, path.Base(p)), ok
}

// read returns the content of a file, symlinks followed.
func (w *world) read(p string) ([]byte, error) {
	e, ok := w.tree.Stat(p)
	switch {
	case !ok:
		return nil, fmt.Errorf("%s is not in the tree", p)
	case e.Kind != tree.File:
		return nil, fmt.Errorf("%s is a %v", p, e.Kind)
	case e.Size == 0:
		return nil, nil
	}
	return w.objects.Bytes(e.Digest, maxFile)
}

func (w *world) has(p string) bool {
	_, ok := w.tree.Stat(p)
	return ok
}

// write makes a file, or replaces the content of one and keeps its attributes.
func (w *world) write(p string, content []byte, mode uint16) error {
	at, _ := w.place(p)
	if to, ok := w.tree.Resolve(at); ok {
		at = to
	}
	e := tree.Entry{Kind: tree.File, Mode: mode}
	if old, ok := w.tree.Inode(at); ok && old.Kind == tree.File {
		e = old
	}
	e.MTime, e.Owner, e.Size, e.Digest = w.epoch, w.owner, int64(len(content)), digest.Digest{}
	if len(content) > 0 {
		d, err := w.objects.PutBytes(content)
		if err != nil {
			return err
		}
		e.Digest = d
	}
	return w.put(at, e)
}

// put sets an entry, in place of whatever stood there but a full directory.
func (w *world) put(at string, e tree.Entry) error {
	e.Owner, e.MTime = w.owner, w.epoch
	if old, ok := w.tree.Get(at); ok && old.Kind == tree.Dir && e.Kind != tree.Dir {
		if len(w.tree.Children(at)) > 0 {
			return fmt.Errorf("/%s is a directory that is not empty", at)
		}
	}
	if old, ok := w.tree.Get(at); ok && old.Kind != tree.Dir {
		w.tree.Remove(at)
	}
	return w.tree.Put(at, e)
}

// mkdir makes a directory with its parents; one that is there stays as it is.
func (w *world) mkdir(p string, mode uint16) error {
	at, _ := w.place(p)
	if e, ok := w.tree.Stat(at); ok {
		if e.Kind != tree.Dir {
			return fmt.Errorf("/%s is a %v", at, e.Kind)
		}
		return nil
	}
	if dir := path.Dir("/" + at); dir != "/" {
		if err := w.mkdir(dir, 0o755); err != nil {
			return err
		}
		at, _ = w.place(p)
	}
	return w.put(at, tree.Entry{Kind: tree.Dir, Mode: mode})
}

func (w *world) symlink(target, p string) error {
	at, ok := w.place(p)
	if !ok {
		if err := w.mkdir(path.Dir("/"+p), 0o755); err != nil {
			return err
		}
		at, _ = w.place(p)
	}
	return w.put(at, tree.Entry{Kind: tree.Symlink, Mode: 0o777, Target: target})
}

// change edits the inode at the end of p, symlinks followed.
func (w *world) change(p string, f func(e *tree.Entry)) error {
	at, ok := w.tree.Resolve(p)
	if !ok {
		return fmt.Errorf("%s is not in the tree", p)
	}
	e, _ := w.tree.Get(at)
	if e.Kind == tree.Hardlink {
		at = e.Target
		e, _ = w.tree.Get(at)
	}
	f(&e)
	return w.tree.Put(at, e)
}

// chmod takes octal modes; symbolic ones are an error.
func (w *world) chmod(p, mode string) error {
	n, err := strconv.ParseUint(mode, 8, 12)
	if err != nil {
		return fmt.Errorf("mode %q is not octal", mode)
	}
	return w.change(p, func(e *tree.Entry) { e.Mode = uint16(n) })
}

// chown takes "user", "user:group", ":group", names or numbers.
func (w *world) chown(p, spec string) error {
	user, group, _ := strings.Cut(strings.Replace(spec, ".", ":", 1), ":")
	uid, gid := int64(-1), int64(-1)
	if user != "" {
		n, ok := w.accounts.uid(user)
		if !ok {
			return fmt.Errorf("there is no user %q", user)
		}
		uid = int64(n)
	}
	if group != "" {
		n, ok := w.accounts.gid(group)
		if !ok {
			return fmt.Errorf("there is no group %q", group)
		}
		gid = int64(n)
	}
	return w.change(p, func(e *tree.Entry) {
		if uid >= 0 {
			e.UID = uint32(uid)
		}
		if gid >= 0 {
			e.GID = uint32(gid)
		}
	})
}

// copy gives a file's content and, when asked, its attributes to another path.
func (w *world) copy(from, to string, attributes bool) error {
	e, ok := w.tree.Stat(from)
	if !ok || e.Kind != tree.File {
		return fmt.Errorf("%s is no file of the tree", from)
	}
	if d, ok := w.tree.Stat(to); ok && d.Kind == tree.Dir {
		to = path.Join(to, path.Base(from))
	}
	at, ok := w.place(to)
	if !ok {
		return fmt.Errorf("the directory of %s is not in the tree", to)
	}
	n := tree.Entry{Kind: tree.File, Mode: e.Mode, Size: e.Size, Digest: e.Digest}
	if attributes {
		n.UID, n.GID, n.Xattrs = e.UID, e.GID, e.Xattrs
	}
	return w.put(at, n)
}

// move renames a file or symlink.
func (w *world) move(from, to string) error {
	src, _ := w.place(from)
	dst, ok := w.place(to)
	e, there := w.tree.Get(src)
	if !ok || !there || e.Kind == tree.Dir || e.Kind == tree.Hardlink {
		return fmt.Errorf("cannot move %s", from)
	}
	w.tree.Remove(src)
	return w.put(dst, e)
}

var errNotEmpty = errors.New("the directory is not empty")

func (w *world) remove(p string, recursive, dirs bool) error {
	at, _ := w.place(p)
	e, ok := w.tree.Get(at)
	if !ok {
		return nil
	}
	if e.Kind == tree.Dir && !recursive && (!dirs || len(w.tree.Children(at)) > 0) {
		return errNotEmpty
	}
	if at == tree.Root {
		return errors.New("the root stays")
	}
	w.tree.Remove(at)
	return nil
}

func (w *world) readlink(c *call) value {
	p := c.words[len(c.words)-1].s
	if c.arg(1) == "-f" {
		at, _ := w.tree.Resolve(p)
		return literal("/" + strings.TrimPrefix(at, tree.Root))
	}
	at, _ := w.place(p)
	e, _ := w.tree.Get(at)
	return literal(e.Target)
}

// statFormat is stat -L -c with %a, %u or %g.
func (w *world) statFormat(format, p string) value {
	e, ok := w.tree.Stat(p)
	switch {
	case !ok:
	case format == "%a":
		return literal(strconv.FormatUint(uint64(e.Mode), 8))
	case format == "%u":
		return literal(strconv.FormatUint(uint64(e.UID), 10))
	case format == "%g":
		return literal(strconv.FormatUint(uint64(e.GID), 10))
	}
	return open("$(stat)")
}
