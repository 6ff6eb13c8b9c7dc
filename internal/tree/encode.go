package tree

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/instar-os/instar/internal/digest"
)

// MaxListing is the largest listing that Parse reads, in bytes.
const MaxListing = 256 << 20

// MarshalText returns the tree's listing: one line an entry, in the order of
// Paths, so that two listings can be compared line by line. The fields are
//
//	kind mode uid:gid mtime "path" …
//
// with mode in octal and, by kind: size and digest of a file ("-" for none),
// quoted target of a symlink or hardlink, major:minor of a device. Extended
// attributes follow, sorted, as "name"="value". Strings are quoted as in Go.
// Owners are left out, and so is what means nothing for an entry's kind.
func (t *Tree) MarshalText() ([]byte, error) { return t.AppendText(nil) }

// AppendText appends what MarshalText returns to b.
func (t *Tree) AppendText(b []byte) ([]byte, error) {
	for p, e := range t.All() {
		if _, ok := kindNames[e.Kind]; !ok {
			return b, fmt.Errorf("listing %s: unknown kind %d", p, e.Kind)
		}
		b = appendEntry(b, p, e)
	}
	return b, nil
}

func appendEntry(b []byte, p string, e Entry) []byte {
	b = fmt.Appendf(b, "%s %04o %d:%d %d ", e.Kind, e.Mode, e.UID, e.GID, e.MTime)
	b = strconv.AppendQuote(b, p)
	switch e.Kind {
	case File:
		b = fmt.Appendf(b, " %d %s", e.Size, cmp.Or(digestText(e.Digest), "-"))
	case Symlink, Hardlink:
		b = strconv.AppendQuote(append(b, ' '), e.Target)
	case CharDevice, BlockDevice:
		b = fmt.Appendf(b, " %d:%d", e.Major, e.Minor)
	}
	for _, k := range slices.Sorted(maps.Keys(e.Xattrs)) {
		b = strconv.AppendQuote(append(b, ' '), k)
		b = strconv.AppendQuote(append(b, '='), e.Xattrs[k])
	}
	return append(b, '\n')
}

func digestText(d digest.Digest) string {
	if d.IsZero() {
		return ""
	}
	return d.String()
}

// Parse reads a listing. It accepts only what MarshalText writes, and only a
// tree that Check finds in order.
func Parse(b []byte) (*Tree, error) {
	if len(b) > MaxListing {
		return nil, fmt.Errorf("parsing a listing: %d bytes, more than %d", len(b), MaxListing)
	}
	t, number, last := New(), 0, ""
	for line := range bytes.Lines(b) {
		number++
		p, e, err := parseLine(string(line))
		switch {
		case err != nil:
		case number == 1 && p != Root:
			err = errors.New("the first entry is not the root")
		case number > 1 && ComparePaths(last, p) >= 0:
			err = fmt.Errorf("%q does not come after %q", p, last)
		case number > 1 && t.entries[Parent(p)].Kind != Dir:
			err = fmt.Errorf("the parent of %q is no directory", p)
		default:
			err = t.Put(p, e)
		}
		if err != nil {
			return nil, fmt.Errorf("parsing a listing: line %d: %w", number, err)
		}
		last = p
	}
	if number == 0 {
		return nil, errors.New("parsing a listing: it is empty")
	}
	if err := t.Check(); err != nil {
		return nil, fmt.Errorf("parsing a listing: %w", err)
	}
	return t, nil
}

// parseLine reads one entry and holds it to its canonical form.
func parseLine(line string) (string, Entry, error) {
	var e Entry
	f := fields{rest: strings.TrimSuffix(line, "\n")}
	e.Kind = f.kind()
	e.Mode = uint16(f.number(8, 12, ' '))
	e.UID = uint32(f.number(10, 32, ':'))
	e.GID = uint32(f.number(10, 32, ' '))
	e.MTime = f.signed()
	p := f.quoted()
	switch e.Kind {
	case File:
		f.space()
		e.Size = int64(f.number(10, 63, ' '))
		e.Digest = f.digest()
	case Symlink, Hardlink:
		f.space()
		e.Target = f.quoted()
	case CharDevice, BlockDevice:
		f.space()
		e.Major = uint32(f.number(10, 32, ':'))
		e.Minor = uint32(f.parse(f.last(), 10, 32))
	}
	for f.err == nil && f.rest != "" {
		f.space()
		k := f.quoted()
		f.byte('=')
		if e.Xattrs == nil {
			e.Xattrs = map[string]string{}
		}
		e.Xattrs[k] = f.quoted()
	}
	if f.err == nil && string(appendEntry(nil, p, e)) != line {
		f.err = fmt.Errorf("the entry is not in canonical form: %q", line)
	}
	return p, e, f.err
}

// fields takes a line apart from the left; after an error it only keeps it.
type fields struct {
	rest string
	err  error
}

func (f *fields) fail(format string, args ...any) {
	if f.err == nil {
		f.err = fmt.Errorf(format, args...)
		f.rest = ""
	}
}

func (f *fields) byte(c byte) {
	if f.err == nil && (f.rest == "" || f.rest[0] != c) {
		f.fail("want %q at %q", c, f.rest)
		return
	}
	f.rest = f.rest[min(1, len(f.rest)):]
}

func (f *fields) space() { f.byte(' ') }

// word returns what stands before the separator, which is taken too; the end
// of the line separates as well.
func (f *fields) word(sep byte) string {
	i := strings.IndexByte(f.rest, sep)
	if i < 0 {
		w := f.rest
		f.rest = ""
		return w
	}
	w := f.rest[:i]
	f.rest = f.rest[i+1:]
	return w
}

func (f *fields) kind() Kind {
	w := f.word(' ')
	for k, name := range kindNames {
		if name == w {
			return k
		}
	}
	f.fail("unknown kind %q", w)
	return 0
}

// last returns what stands before the next space or the end, which stays.
func (f *fields) last() string {
	i := strings.IndexByte(f.rest, ' ')
	if i < 0 {
		i = len(f.rest)
	}
	w := f.rest[:i]
	f.rest = f.rest[i:]
	return w
}

func (f *fields) number(base, bits int, sep byte) uint64 { return f.parse(f.word(sep), base, bits) }

func (f *fields) parse(w string, base, bits int) uint64 {
	n, err := strconv.ParseUint(w, base, bits)
	if err != nil {
		f.fail("%q is no number of %d bits", w, bits)
	}
	return n
}

func (f *fields) signed() int64 {
	w := f.word(' ')
	n, err := strconv.ParseInt(w, 10, 64)
	if err != nil {
		f.fail("%q is no time in seconds", w)
	}
	return n
}

func (f *fields) quoted() string {
	q, err := strconv.QuotedPrefix(f.rest)
	if err != nil {
		f.fail("want a quoted string at %q", f.rest)
		return ""
	}
	s, err := strconv.Unquote(q)
	if err != nil {
		f.fail("want a quoted string at %q", f.rest)
		return ""
	}
	f.rest = f.rest[len(q):]
	return s
}

func (f *fields) digest() digest.Digest {
	w := f.last()
	if w == "-" || f.err != nil {
		return digest.Digest{}
	}
	d, err := digest.Parse(w)
	if err != nil {
		f.fail("%w", err)
	}
	return d
}
