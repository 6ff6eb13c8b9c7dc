// Package untar reads tar archives into trees and puts contents into a store.
//
// It understands what archive/tar does: ustar, PAX with extended attributes
// (SCHILY.xattr.*), GNU long names and sparse files.
package untar

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/tree"
)

// Objects takes the contents of files. It must not keep b after PutBytes.
type Objects interface {
	Put(r io.Reader) (digest.Digest, int64, error)
	PutBytes(b []byte) (digest.Digest, error)
}

// Limits bound what one archive may cost. Zero fields mean the defaults.
type Limits struct {
	Entries int   // names; default 1,000,000
	Bytes   int64 // of contents in all; default 16 GiB
	File    int64 // of one content; default 8 GiB
	Xattrs  int   // bytes of names and values of one entry; default 64 KiB
}

func (l Limits) defaults() Limits {
	if l.Entries == 0 {
		l.Entries = 1_000_000
	}
	if l.Bytes == 0 {
		l.Bytes = 16 << 30
	}
	if l.File == 0 {
		l.File = 8 << 30
	}
	if l.Xattrs == 0 {
		l.Xattrs = 64 << 10
	}
	return l
}

// Options of Read.
type Options struct {
	Owner   string // label of every entry (tree.Entry.Owner)
	Strip   int    // leading components to drop; shorter paths are left out
	Devices bool   // accept character and block devices
	Replace bool   // let a later entry of the same path win, instead of an error
	Limits  Limits
}

// smallFile is the size in bytes up to which a content is read at once into a
// buffer that all files of an archive share.
const smallFile = 256 << 10

// xattrPrefix marks extended attributes among PAX records.
const xattrPrefix = "SCHILY.xattr."

// Read reads the archive to its end. Errors name the entry; the contents put
// until then stay in objects, where nothing refers to them.
//
// Refused are paths with "..", names below something that is no directory,
// hard links to what has not come before, and, unless the options say
// otherwise, devices and second entries of a path (a directory may come twice).
func Read(r io.Reader, objects Objects, opts Options) (*tree.Tree, error) {
	u := &reader{tar: tar.NewReader(r), objects: objects, opts: opts, limits: opts.Limits.defaults(),
		tree: tree.New()}
	for {
		h, err := u.tar.Next()
		if err == io.EOF {
			return u.tree, nil
		}
		if err != nil {
			return nil, fmt.Errorf("tar: after entry %d: %w", u.entries, noEOF(err))
		}
		if err := u.entry(h); err != nil {
			return nil, fmt.Errorf("tar: %q: %w", h.Name, err)
		}
	}
}

type reader struct {
	tar     *tar.Reader
	objects Objects
	opts    Options
	limits  Limits
	tree    *tree.Tree
	entries int
	bytes   int64
	buf     []byte
}

func (u *reader) entry(h *tar.Header) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	if u.entries++; u.entries > u.limits.Entries {
		return fmt.Errorf("more than %d entries", u.limits.Entries)
	}
	p, ok, err := u.path(h.Name)
	if err != nil || !ok {
		return err
	}
	e, err := Attributes(h, u.opts)
	if err != nil {
		return err
	}
	if err := u.fresh(p, e); err != nil {
		return err
	}
	switch e.Kind {
	case tree.File:
		err = u.content(h, &e)
	case tree.Hardlink:
		e, err = u.link(h, e)
	}
	if err != nil {
		return err
	}
	return u.put(p, e)
}

// path returns the entry's place in the tree, or false when strip removes it.
func (u *reader) path(name string) (string, bool, error) {
	p, err := tree.Clean(name)
	if err != nil || u.opts.Strip == 0 {
		return p, err == nil, err
	}
	parts := strings.Split(p, "/")
	if len(parts) <= u.opts.Strip {
		return "", false, nil
	}
	return path.Join(parts[u.opts.Strip:]...), true, nil
}

var kinds = map[byte]tree.Kind{
	tar.TypeReg: tree.File, '\x00': tree.File, tar.TypeGNUSparse: tree.File, tar.TypeCont: tree.File,
	tar.TypeDir: tree.Dir, tar.TypeSymlink: tree.Symlink, tar.TypeLink: tree.Hardlink,
	tar.TypeChar: tree.CharDevice, tar.TypeBlock: tree.BlockDevice, tar.TypeFifo: tree.Fifo,
}

// Attributes turns a header into an entry without its content. Headers that
// no tree can hold, or that exceed the options' limits, are errors.
func Attributes(h *tar.Header, opts Options) (tree.Entry, error) {
	e := tree.Entry{Kind: kinds[h.Typeflag], Mode: uint16(h.Mode & 0o7777), MTime: h.ModTime.Unix(), Owner: opts.Owner}
	limits := opts.Limits.defaults()
	const maxID = 1<<32 - 2 // (uid_t)-1 means "no change" to the kernel
	switch {
	case e.Kind == 0:
		return e, fmt.Errorf("entries of type %q are not supported", h.Typeflag)
	case h.Uid < 0 || h.Uid > maxID || h.Gid < 0 || h.Gid > maxID:
		return e, fmt.Errorf("owner %d:%d is out of range", h.Uid, h.Gid)
	case h.Size < 0 || h.Size > limits.File:
		return e, fmt.Errorf("%d bytes, more than the limit of %d", h.Size, limits.File)
	}
	e.UID, e.GID = uint32(h.Uid), uint32(h.Gid)
	switch e.Kind {
	case tree.Symlink:
		e.Mode, e.Target = 0o777, h.Linkname
		if h.Linkname == "" || len(h.Linkname) > tree.MaxPath || strings.IndexByte(h.Linkname, 0) >= 0 {
			return e, fmt.Errorf("symlink target of %d bytes is not valid", len(h.Linkname))
		}
	case tree.CharDevice, tree.BlockDevice:
		if !opts.Devices {
			return e, fmt.Errorf("device node %d:%d", h.Devmajor, h.Devminor)
		}
		if h.Devmajor < 0 || h.Devmajor >= 1<<12 || h.Devminor < 0 || h.Devminor >= 1<<20 {
			return e, fmt.Errorf("device number %d:%d is out of range", h.Devmajor, h.Devminor)
		}
		e.Major, e.Minor = uint32(h.Devmajor), uint32(h.Devminor)
	}
	return e, xattrs(h, &e, limits.Xattrs)
}

func xattrs(h *tar.Header, e *tree.Entry, limit int) error {
	total := 0
	for k, v := range h.PAXRecords {
		name, ok := strings.CutPrefix(k, xattrPrefix)
		if !ok {
			continue
		}
		if total += len(name) + len(v); name == "" || len(name) > tree.MaxName || total > limit {
			return errors.New("its extended attributes are too large or have no name")
		}
		if e.Xattrs == nil {
			e.Xattrs = map[string]string{}
		}
		e.Xattrs[name] = v
	}
	return nil
}

// fresh refuses a second entry of a path, unless both are directories.
func (u *reader) fresh(p string, e tree.Entry) error {
	old, ok := u.tree.Get(p)
	if !ok || u.opts.Replace || old.Kind == tree.Dir && e.Kind == tree.Dir {
		return nil
	}
	return fmt.Errorf("a %v comes after a %v of the same path", e.Kind, old.Kind)
}

// content puts what the file holds into the store.
func (u *reader) content(h *tar.Header, e *tree.Entry) error {
	if u.bytes += h.Size; u.bytes > u.limits.Bytes {
		return fmt.Errorf("contents exceed %d bytes", u.limits.Bytes)
	}
	e.Size = h.Size
	if h.Size == 0 {
		return nil
	}
	var err error
	if h.Size > smallFile {
		var n int64
		e.Digest, n, err = u.objects.Put(u.tar)
		if err == nil && n != h.Size {
			err = fmt.Errorf("%d of %d bytes: %w", n, h.Size, io.ErrUnexpectedEOF)
		}
		return noEOF(err)
	}
	if int64(len(u.buf)) < h.Size {
		u.buf = make([]byte, smallFile)
	}
	b := u.buf[:h.Size]
	if _, err := io.ReadFull(u.tar, b); err != nil {
		return noEOF(err)
	}
	e.Digest, err = u.objects.PutBytes(b)
	return err
}

// link resolves a hard link to the file that carries the inode; chains cannot
// grow, because each link names the file itself. A hard link to a symlink or
// another special file becomes a copy of it.
func (u *reader) link(h *tar.Header, e tree.Entry) (tree.Entry, error) {
	target, ok, err := u.path(h.Linkname)
	if err != nil {
		return e, fmt.Errorf("hard link: %w", err)
	}
	old, found := u.tree.Get(target)
	if !ok || !found || old.Kind == tree.Dir {
		return e, fmt.Errorf("hard link to %q, which is no earlier file of the archive", h.Linkname)
	}
	switch old.Kind {
	case tree.Hardlink:
		return old, nil
	case tree.File:
		return tree.Entry{Kind: tree.Hardlink, Target: target, Owner: e.Owner}, nil
	}
	return old, nil
}

// put sets the entry; what it replaces hands its inode on first.
func (u *reader) put(p string, e tree.Entry) error {
	if old, ok := u.tree.Get(p); ok && (old.Kind != tree.Dir || e.Kind != tree.Dir) {
		u.tree.Remove(p)
		if _, ok := u.tree.Get(e.Target); e.Kind == tree.Hardlink && !ok {
			return fmt.Errorf("hard link to %q, which it replaces", e.Target)
		}
	}
	return u.tree.Put(p, e)
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
