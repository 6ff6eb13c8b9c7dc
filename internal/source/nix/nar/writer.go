package nar

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// Writer writes an archive as tar.Writer does: WriteHeader, then Write the
// content; Close ends the archive. It refuses what a Reader would refuse.
type Writer struct {
	out  io.Writer
	open []dir
	any  bool  // an entry was written
	left int64 // bytes of the content to come
	size int64
	file bool // the last entry is a file that is not closed
	err  error
	buf  []byte
}

// NewWriter writes to w, in many small pieces.
func NewWriter(w io.Writer) *Writer { return &Writer{out: w} }

func (w *Writer) tokens(all ...string) {
	w.buf = w.buf[:0]
	for _, s := range all {
		w.buf = binary.LittleEndian.AppendUint64(w.buf, uint64(len(s)))
		w.buf = append(w.buf, s...)
		w.buf = append(w.buf, make([]byte, padding(uint64(len(s))))...)
	}
	w.raw(w.buf)
}

func (w *Writer) raw(b []byte) {
	if w.err == nil && len(b) > 0 {
		_, w.err = w.out.Write(b)
	}
}

// WriteHeader begins an entry. A directory that is not a parent of it ends.
func (w *Writer) WriteHeader(h Header) error {
	if err := w.finish(); err != nil {
		return err
	}
	if err := w.place(h); err != nil {
		w.err = fmt.Errorf("nar: /%s: %w", h.Path, err)
		return w.err
	}
	switch h.Kind {
	case Dir:
		w.tokens("(", "type", "directory")
		w.open = append(w.open, dir{path: h.Path})
	case Symlink:
		w.tokens("(", "type", "symlink", "target", h.Target, ")")
		w.closeEntry()
	case File:
		w.tokens("(", "type", "regular")
		if h.Executable {
			w.tokens("executable", "")
		}
		w.tokens("contents")
		w.raw(binary.LittleEndian.AppendUint64(nil, uint64(h.Size)))
		w.left, w.size, w.file = h.Size, h.Size, true
	default:
		w.err = fmt.Errorf("nar: /%s: kind %d", h.Path, h.Kind)
	}
	return w.err
}

// place closes directories until the entry's parent is open, and begins it there.
func (w *Writer) place(h Header) error {
	if !w.any {
		w.any = true
		if h.Path != "" {
			return errors.New("the root comes first")
		}
		w.tokens(magic)
		return nil
	}
	parent, name := "", h.Path
	if i := strings.LastIndexByte(h.Path, '/'); i >= 0 {
		parent, name = h.Path[:i], h.Path[i+1:]
	}
	for len(w.open) > 0 && w.open[len(w.open)-1].path != parent {
		w.closeDir()
	}
	if len(w.open) == 0 || name == "" {
		return errors.New("is in no directory that is open")
	}
	in := &w.open[len(w.open)-1]
	if in.last >= name {
		return fmt.Errorf("does not stand behind %q", in.last)
	}
	in.last = name
	w.tokens("entry", "(", "name", name, "node")
	return nil
}

func (w *Writer) closeDir() {
	w.open = w.open[:len(w.open)-1]
	w.tokens(")")
	w.closeEntry()
}

func (w *Writer) closeEntry() {
	if len(w.open) > 0 {
		w.tokens(")")
	}
}

// Write writes the content of the file whose header was written.
func (w *Writer) Write(b []byte) (int, error) {
	if w.err == nil && int64(len(b)) > w.left {
		w.err = errors.New("nar: a content is longer than its header says")
	}
	if w.err != nil {
		return 0, w.err
	}
	w.left -= int64(len(b))
	w.raw(b)
	return len(b), w.err
}

func (w *Writer) finish() error {
	if w.err == nil && w.left > 0 {
		w.err = errors.New("nar: a content is shorter than its header says")
	}
	if w.err == nil && w.file {
		w.file = false
		w.raw(make([]byte, padding(uint64(w.size))))
		w.tokens(")")
		w.closeEntry()
	}
	return w.err
}

// Close ends the archive; the writer below stays open.
func (w *Writer) Close() error {
	if err := w.finish(); err != nil {
		return err
	}
	for len(w.open) > 0 {
		w.closeDir()
	}
	if !w.any && w.err == nil {
		w.err = errors.New("nar: nothing was written")
	}
	return w.err
}

// WriteFS writes the archive of what is at root in a file system, as Nix sees
// it: of modes only whether the owner may execute a file.
func WriteFS(to io.Writer, fsys fs.FS, root string) error {
	w := NewWriter(to)
	// WalkDir would follow a root that is a symlink.
	info, err := fs.Lstat(fsys, root)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		if err := w.add(fsys, root, "", info.Mode().Type()); err != nil {
			return err
		}
		return w.Close()
	}
	err = fs.WalkDir(fsys, root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := ""
		if name != root {
			rel = strings.TrimPrefix(name, root+"/")
		}
		return w.add(fsys, name, rel, d.Type())
	})
	if err != nil {
		return err
	}
	return w.Close()
}

func (w *Writer) add(fsys fs.FS, name, rel string, kind fs.FileMode) error {
	h := Header{Path: rel}
	switch kind {
	case fs.ModeDir:
		h.Kind = Dir
		return w.WriteHeader(h)
	case fs.ModeSymlink:
		target, err := fs.ReadLink(fsys, name)
		if err != nil {
			return err
		}
		h.Kind, h.Target = Symlink, target
		return w.WriteHeader(h)
	case 0:
		return w.addFile(fsys, name, h)
	}
	return fmt.Errorf("%s: only files, directories and symlinks can be in a Nix archive", path.Clean(name))
}

func (w *Writer) addFile(fsys fs.FS, name string, h Header) error {
	f, err := fsys.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	h.Kind, h.Size, h.Executable = File, fi.Size(), fi.Mode()&0o100 != 0
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.Copy(w, f)
	if err == nil && n != h.Size {
		err = fmt.Errorf("%s changed while it was read", name)
	}
	return err
}
