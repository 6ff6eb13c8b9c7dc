// Package control reads Debian's control data: paragraphs of fields, version
// numbers and relationships between packages.
//
// Source of the formats: Debian Policy 4.7, chapters 5 (control files and their
// fields) and 7 (relationships), deb822(5), deb-version(7).
package control

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxParagraph is the largest paragraph in bytes. The largest known is the
// Release file of a suite, about 2 MB.
const maxParagraph = 16 << 20

// maxFields is the largest number of fields of a paragraph.
const maxFields = 1000

// Field is a field of a paragraph. Value holds its lines as they stand, without
// the first blank and the last newline.
type Field struct {
	Name, Value []byte
}

// Paragraph is a paragraph's fields in their order.
type Paragraph []Field

// Get returns the value of a field, whatever the case of its name, or "".
func (p Paragraph) Get(name string) string {
	for _, f := range p {
		if len(f.Name) == len(name) && strings.EqualFold(string(f.Name), name) {
			return string(f.Value)
		}
	}
	return ""
}

// Reader reads paragraph after paragraph, holding one at a time.
type Reader struct {
	r      io.Reader
	buf    []byte
	start  int // of what was not yet read from buf
	end    int // of what is in buf
	eof    bool
	line   int // lines before start
	fields Paragraph
}

// NewReader returns a Reader of r.
func NewReader(r io.Reader) *Reader {
	return &Reader{r: r, buf: make([]byte, 256<<10)}
}

// Next returns the next paragraph, which is valid until the call after, or
// io.EOF. An error names the line.
func (r *Reader) Next() (Paragraph, error) {
	for {
		text, err := r.paragraph()
		if err != nil {
			return nil, err
		}
		first := r.line
		r.line += bytes.Count(text, []byte{'\n'})
		if err := r.split(text, first); err != nil {
			return nil, err
		}
		if len(r.fields) > 0 {
			return r.fields, nil
		}
	}
}

// paragraph returns the bytes up to and with the next empty line.
func (r *Reader) paragraph() ([]byte, error) {
	from := 0 // within the window: no end of a paragraph before it
	for {
		window := r.buf[r.start:r.end]
		if i := bytes.Index(window[from:], []byte("\n\n")); i >= 0 {
			i += from + 2
			r.start += i
			return window[:i], nil
		}
		if r.eof {
			r.start = r.end
			if len(window) == 0 {
				return nil, io.EOF
			}
			return window, nil
		}
		from = max(0, len(window)-1)
		if err := r.fill(); err != nil {
			return nil, err
		}
	}
}

// fill reads more behind the window, moving or growing the buffer when it is
// full.
func (r *Reader) fill() error {
	if r.end == len(r.buf) && r.start > 0 {
		copy(r.buf, r.buf[r.start:r.end])
		r.start, r.end = 0, r.end-r.start
	}
	if r.end == len(r.buf) {
		if len(r.buf) >= maxParagraph {
			return fmt.Errorf("line %d: a paragraph of more than %d bytes", r.line+1, maxParagraph)
		}
		r.buf = append(r.buf, make([]byte, len(r.buf))...)
	}
	n, err := r.r.Read(r.buf[r.end:])
	r.end += n
	if errors.Is(err, io.EOF) {
		r.eof = true
		return nil
	}
	return err
}

// split sets r.fields to the fields of text.
func (r *Reader) split(text []byte, line int) error {
	r.fields = r.fields[:0]
	if bytes.HasPrefix(text, []byte{'#'}) || bytes.Contains(text, []byte("\n#")) {
		text = dropComments(text)
	}
	for len(text) > 0 {
		line++
		var l []byte
		if i := bytes.IndexByte(text, '\n'); i >= 0 {
			l, text = text[:i], text[i+1:]
		} else {
			l, text = text, nil
		}
		switch {
		case len(l) == 0:
		case l[0] == ' ' || l[0] == '\t':
			if len(r.fields) == 0 {
				if len(bytes.TrimSpace(l)) == 0 {
					continue
				}
				return fmt.Errorf("line %d: a continuation of no field", line)
			}
			f := &r.fields[len(r.fields)-1]
			// l stands right behind the value and its newline.
			f.Value = f.Value[:len(f.Value)+1+len(l)]
		default:
			if err := r.field(l, line); err != nil {
				return err
			}
		}
	}
	for i := range r.fields {
		r.fields[i].Value = bytes.TrimSpace(r.fields[i].Value)
	}
	return nil
}

func (r *Reader) field(l []byte, line int) error {
	i := bytes.IndexByte(l, ':')
	if i <= 0 || bytes.IndexByte(l[:i], ' ') >= 0 {
		return fmt.Errorf("line %d: %q is no field", line, cut(l))
	}
	if len(r.fields) == maxFields {
		return fmt.Errorf("line %d: more than %d fields in a paragraph", line, maxFields)
	}
	r.fields = append(r.fields, Field{Name: l[:i], Value: l[i+1:]})
	return nil
}

// dropComments returns text without the lines that begin with "#".
func dropComments(text []byte) []byte {
	var out []byte
	for l := range bytes.Lines(text) {
		if l[0] != '#' {
			out = append(out, l...)
		}
	}
	return out
}

func cut(l []byte) []byte { return l[:min(len(l), 60)] }
