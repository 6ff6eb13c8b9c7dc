// Package recording holds what was seen of a container's use of its files: a
// text that stands beside the definition and is kept with it.
package recording

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/instar-os/instar/internal/tree"
)

// Recording is what a container has used of its trees.
type Recording struct {
	Container string
	Arch      string // GOARCH
	Tree      string // SHA-256, in hexadecimal, of the tree that was recorded
	Entries   []Entry
}

// Entry is a path that was opened.
type Entry struct {
	Kind Kind
	Path string // in the tree's form: relative and clean
}

// Kind says how a path was used.
type Kind string

// A file was read or mapped, a program was executed, a directory was listed.
const (
	File    Kind = "file"
	Program Kind = "exec"
	Dir     Kind = "dir"
)

// Limits of a recording.
const (
	MaxBytes   = 16 << 20
	MaxEntries = 1 << 17
)

const first = "instar recording 1"

// Text writes the recording: sorted, a line each entry. Equal recordings give
// equal bytes.
func (r *Recording) Text() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\ncontainer %s\narch %s\ntree %s\n", first, r.Container, r.Arch, r.Tree)
	entries := slices.Clone(r.Entries)
	slices.SortFunc(entries, func(x, y Entry) int {
		return cmp.Or(tree.ComparePaths(x.Path, y.Path), cmp.Compare(x.Kind, y.Kind))
	})
	for _, e := range slices.Compact(entries) {
		fmt.Fprintf(&b, "%s %s\n", e.Kind, quote("/"+e.Path))
	}
	return b.Bytes()
}

// quote leaves plain paths as they are, so that they can be read and searched.
func quote(s string) string {
	if q := strconv.Quote(s); q != `"`+s+`"` {
		return q
	}
	return s
}

// Parse reads a recording. What it names is clean and below the root.
func Parse(text []byte) (*Recording, error) {
	if len(text) > MaxBytes {
		return nil, fmt.Errorf("a recording of %d bytes, more than the limit of %d", len(text), MaxBytes)
	}
	r := &Recording{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 5*tree.MaxPath)
	n := 0
	for lines.Scan() {
		n++
		if err := r.line(n, lines.Text()); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if n < 4 {
		return nil, errors.New("it ends before its head does")
	}
	return r, nil
}

func (r *Recording) line(n int, line string) error {
	key, value, _ := strings.Cut(line, " ")
	head := func(want string, to *string) error {
		if key != want || value == "" || strings.ContainsAny(value, " \t") {
			return fmt.Errorf("want %q and a word, not %q", want, line)
		}
		*to = value
		return nil
	}
	switch n {
	case 1:
		if line != first {
			return fmt.Errorf("this is no recording, which begins with %q", first)
		}
		return nil
	case 2:
		return head("container", &r.Container)
	case 3:
		return head("arch", &r.Arch)
	case 4:
		if err := head("tree", &r.Tree); err != nil {
			return err
		}
		if b, err := hex.DecodeString(value); err != nil || len(b) != 32 {
			return fmt.Errorf("%q is no SHA-256", value)
		}
		return nil
	}
	return r.entry(Kind(key), value)
}

func (r *Recording) entry(kind Kind, name string) error {
	if kind != File && kind != Program && kind != Dir {
		return fmt.Errorf("unknown kind %q", kind)
	}
	if strings.HasPrefix(name, `"`) {
		s, err := strconv.Unquote(name)
		if err != nil {
			return fmt.Errorf("path %s: %w", name, err)
		}
		name = s
	}
	p, err := tree.Clean(name)
	if err != nil {
		return err
	}
	if "/"+p != name || p == tree.Root {
		return fmt.Errorf("path %q is not absolute and clean", name)
	}
	if len(r.Entries) == MaxEntries {
		return fmt.Errorf("more than %d entries", MaxEntries)
	}
	r.Entries = append(r.Entries, Entry{kind, p})
	return nil
}

// triplets are the parts of paths that only one architecture has.
var triplets = map[string][]string{
	"amd64": {"x86_64-linux-gnu", "ld-linux-x86-64.so.2"},
	"arm64": {"aarch64-linux-gnu", "ld-linux-aarch64.so.1"},
}

// For returns the entries as another architecture has them: libraries are in
// directories that are named after it. Exact is false then.
func (r *Recording) For(arch string) (entries []Entry, exact bool) {
	from, to := triplets[r.Arch], triplets[arch]
	if r.Arch == arch || from == nil || to == nil {
		return r.Entries, r.Arch == arch
	}
	var pairs []string
	for i := range from {
		pairs = append(pairs, from[i], to[i])
	}
	replacer := strings.NewReplacer(pairs...)
	for _, e := range r.Entries {
		entries = append(entries, Entry{e.Kind, replacer.Replace(e.Path)})
	}
	return entries, false
}
