package nar

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Reader reads an archive as tar.Reader does: Next, then Read the content.
type Reader struct {
	in     *bufio.Reader
	limits Limits
	begun  bool
	open   []dir // directories that are being read, the root first
	seen   int   // entries
	left   int64 // bytes of the content not read yet
	pad    int   // zero bytes that follow the content
	inFile bool  // the entry's closing parenthesis is still to come
	err    error
	word   [8]byte
}

type dir struct {
	path string
	last string // name of the entry before
}

// NewReader reads the archive in r, which must end where the archive does.
func NewReader(r io.Reader, l Limits) *Reader {
	return &Reader{in: bufio.NewReaderSize(r, 64<<10), limits: l.defaults()}
}

// Next goes to the next entry; what is left of a content is skipped. It returns
// io.EOF after the last, when nothing follows the archive.
func (r *Reader) Next() (Header, error) {
	if r.err != nil {
		return Header{}, r.err
	}
	h, err := r.next()
	switch {
	case err == errEnd:
		err = io.EOF
	case err != nil:
		err = fmt.Errorf("nar: after entry %d: %w", r.seen, early(err))
	}
	r.err = err
	return h, err
}

func (r *Reader) next() (Header, error) {
	if err := r.finish(); err != nil {
		return Header{}, err
	}
	if !r.begun {
		r.begun = true
		if err := r.expect(magic); err != nil {
			return Header{}, err
		}
		return r.node("")
	}
	for len(r.open) > 0 {
		tok, err := r.token(16)
		if err != nil {
			return Header{}, err
		}
		switch tok {
		case "entry":
			return r.entry()
		case ")":
			r.open = r.open[:len(r.open)-1]
			if err := r.closeEntry(); err != nil {
				return Header{}, err
			}
		default:
			return Header{}, fmt.Errorf("%q where an entry or the end of a directory is", tok)
		}
	}
	return Header{}, r.end()
}

// errEnd is the proper end, which io.EOF within the archive is not.
var errEnd = errors.New("end of archive")

// end makes sure that nothing follows.
func (r *Reader) end() error {
	if _, err := r.in.ReadByte(); err != io.EOF {
		if err != nil {
			return err
		}
		return errors.New("something follows the archive")
	}
	return errEnd
}

// finish reads the rest of a content and what closes its entry.
func (r *Reader) finish() error {
	if !r.inFile {
		return nil
	}
	if _, err := io.CopyN(io.Discard, r.in, r.left); err != nil {
		return early(err)
	}
	if r.left = 0; r.pad > 0 {
		if err := r.zeros(r.pad); err != nil {
			return err
		}
		r.pad = 0
	}
	r.inFile = false
	if err := r.expect(")"); err != nil {
		return err
	}
	return r.closeEntry()
}

// closeEntry reads the parenthesis of a directory's entry around a node.
func (r *Reader) closeEntry() error {
	if len(r.open) == 0 {
		return nil
	}
	return r.expect(")")
}

func (r *Reader) entry() (Header, error) {
	if err := r.expect("(", "name"); err != nil {
		return Header{}, err
	}
	name, err := r.token(maxName)
	if err != nil {
		return Header{}, err
	}
	in := &r.open[len(r.open)-1]
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return Header{}, fmt.Errorf("%q is no name", name)
	}
	if in.last != "" && in.last >= name {
		return Header{}, fmt.Errorf("%q does not stand behind %q", name, in.last)
	}
	in.last = name
	if err := r.expect("node"); err != nil {
		return Header{}, err
	}
	if in.path != "" {
		name = in.path + "/" + name
	}
	return r.node(name)
}

// node reads a node up to the content of a file or the entries of a directory.
func (r *Reader) node(path string) (Header, error) {
	if r.seen++; r.seen > r.limits.Entries {
		return Header{}, fmt.Errorf("more than %d entries", r.limits.Entries)
	}
	if err := r.expect("(", "type"); err != nil {
		return Header{}, err
	}
	kind, err := r.token(16)
	if err != nil {
		return Header{}, err
	}
	h := Header{Path: path}
	switch kind {
	case "regular":
		h.Kind = File
		return h, r.regular(&h)
	case "symlink":
		h.Kind = Symlink
		return h, r.symlink(&h)
	case "directory":
		h.Kind = Dir
		if len(r.open) == r.limits.Depth {
			return h, fmt.Errorf("%.200q…: more than %d directories in each other", path, r.limits.Depth)
		}
		r.open = append(r.open, dir{path: path})
		return h, nil
	}
	return h, fmt.Errorf("%q is no type of a file", kind)
}

func (r *Reader) regular(h *Header) error {
	tok, err := r.token(16)
	if err != nil {
		return err
	}
	if tok == "executable" {
		h.Executable = true
		if err := r.expect(""); err != nil {
			return err
		}
		if tok, err = r.token(16); err != nil {
			return err
		}
	}
	switch tok {
	case "contents":
	case ")": // a file without content may have no such token
		return r.closeEntry()
	default:
		return fmt.Errorf("%q in a regular file", tok)
	}
	n, err := r.length()
	if err != nil {
		return err
	}
	if n > uint64(r.limits.File) {
		return fmt.Errorf("/%s: %d bytes, more than %d", h.Path, n, r.limits.File)
	}
	h.Size, r.left, r.pad, r.inFile = int64(n), int64(n), padding(n), true
	return nil
}

func (r *Reader) symlink(h *Header) (err error) {
	if err = r.expect("target"); err != nil {
		return err
	}
	if h.Target, err = r.token(maxTarget); err != nil {
		return err
	}
	if h.Target == "" || strings.IndexByte(h.Target, 0) >= 0 {
		return fmt.Errorf("/%s: %q is no target of a symlink", h.Path, h.Target)
	}
	if err = r.expect(")"); err != nil {
		return err
	}
	return r.closeEntry()
}

// Read reads the content of the file that Next returned.
func (r *Reader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if r.left == 0 {
		return 0, io.EOF
	}
	n, err := r.in.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func padding(n uint64) int { return int(-n & 7) }

func (r *Reader) length() (uint64, error) {
	if _, err := io.ReadFull(r.in, r.word[:]); err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(r.word[:]), nil
}

// token reads a string of at most limit bytes.
func (r *Reader) token(limit uint64) (string, error) {
	n, err := r.length()
	if err != nil {
		return "", err
	}
	if n > limit {
		return "", fmt.Errorf("a string of %d bytes where at most %d are", n, limit)
	}
	var small [64]byte
	b := small[:]
	if n > uint64(len(small)) {
		b = make([]byte, n)
	}
	if _, err := io.ReadFull(r.in, b[:n]); err != nil {
		return "", err
	}
	return string(b[:n]), r.zeros(padding(n))
}

func (r *Reader) zeros(n int) error {
	if _, err := io.ReadFull(r.in, r.word[:n]); err != nil {
		return err
	}
	for _, b := range r.word[:n] {
		if b != 0 {
			return errors.New("padding that is not zero")
		}
	}
	return nil
}

// expect reads tokens that must be there, most of them without a copy.
func (r *Reader) expect(want ...string) error {
	for _, w := range want {
		n := 8 + len(w) + padding(uint64(len(w)))
		b, err := r.in.Peek(n)
		if err == nil && binary.LittleEndian.Uint64(b) == uint64(len(w)) && string(b[8:8+len(w)]) == w && string(b[8+len(w):]) == "\x00\x00\x00\x00\x00\x00\x00"[:n-8-len(w)] {
			if _, err := r.in.Discard(n); err != nil {
				return err
			}
			continue
		}
		got, err := r.token(16)
		if err != nil {
			return err
		}
		if got != w {
			return fmt.Errorf("%q where %q is", got, w)
		}
	}
	return nil
}

// early names the end of the data within an archive.
func early(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
