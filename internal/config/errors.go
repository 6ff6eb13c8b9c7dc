package config

import (
	"fmt"
	"sort"
	"strings"
	"unicode/utf8"
)

// Position is a place in a definition file. Line and Column count from 1,
// columns in characters.
type Position struct {
	File   string
	Line   int
	Column int
}

// String returns "file:line:column".
func (p Position) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) }

// Short returns "file:line".
func (p Position) Short() string { return fmt.Sprintf("%s:%d", p.File, p.Line) }

// Error is one thing wrong with a definition.
type Error struct {
	At     Position
	Path   string // of the key, as containers.broker.health.within; "" for the file
	Reason string
	Hint   string // what to do about it; may be ""
	Line   string // the line of the file that At names

	beyond bool // the schema cannot see it
}

// Error returns the first line of Format: "file:line:column: path: reason".
func (e *Error) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("%s: %s", e.At, e.Reason)
	}
	return fmt.Sprintf("%s: %s: %s", e.At, e.Path, e.Reason)
}

// Format returns the error with its line, a caret below the column, and the hint.
func (e *Error) Format() string {
	var b strings.Builder
	b.WriteString(e.Error())
	number := fmt.Sprint(e.At.Line)
	line, caret := frame(e.Line, e.At.Column)
	fmt.Fprintf(&b, "\n  %s | %s", number, line)
	fmt.Fprintf(&b, "\n  %s | %s^", strings.Repeat(" ", len(number)), strings.Repeat(" ", caret))
	if e.Hint != "" {
		fmt.Fprintf(&b, "\n  hint: %s", e.Hint)
	}
	return b.String()
}

// frame cuts a long line around the column and returns the number of
// characters before the caret. Tabs become single spaces and what no terminal
// should see a sign, so that the caret stands where it should.
func frame(line string, column int) (string, int) {
	const width, before = 100, 60
	r := []rune(line)
	for i, c := range r {
		if c == '\t' {
			r[i] = ' '
		} else if !printable(c) || c == '\r' {
			r[i] = utf8.RuneError
		}
	}
	caret := min(max(column-1, 0), len(r))
	if len(r) <= width {
		return string(r), caret
	}
	from := max(0, caret-before)
	to := min(len(r), from+width)
	head, tail := "", ""
	if from > 0 {
		head = "…"
	}
	if to < len(r) {
		tail = "…"
	}
	return head + string(r[from:to]) + tail, caret - from + utf8.RuneCountInString(head)
}

// maxErrors is how many errors one reading reports; a file with more is not a
// definition with mistakes but something else.
const maxErrors = 200

// Errors is everything wrong with a definition, in the order of files, lines
// and columns. Read returns it as *Errors.
type Errors struct {
	List []*Error
	More int // further errors that were not kept
}

// Error returns all errors as Format does, one after the other.
func (e *Errors) Error() string {
	var b strings.Builder
	for i, one := range e.List {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(one.Format())
	}
	if e.More > 0 {
		fmt.Fprintf(&b, "\nand %d more", e.More)
	}
	return b.String()
}

// Unwrap returns the single errors.
func (e *Errors) Unwrap() []error {
	all := make([]error, len(e.List))
	for i, one := range e.List {
		all[i] = one
	}
	return all
}

// A collector gathers the errors of one reading and knows the files' lines.
type collector struct {
	files []string            // in the order in which they were read
	lines map[string][]string // by file
	errs  Errors
	bad   map[string]bool // paths that have an error
	nodes int             // values read so far
}

func newCollector() *collector {
	return &collector{lines: map[string][]string{}, bad: map[string]bool{}}
}

// open makes the text of a file known, for frames.
func (c *collector) open(name, text string) {
	c.files = append(c.files, name)
	c.lines[name] = strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
}

// add records an error. The position is moved into the file if it is outside.
func (c *collector) add(at Position, path, reason, hint string) {
	if path != "" {
		c.bad[path] = true
	}
	if len(c.errs.List) == maxErrors {
		c.errs.More++
		return
	}
	lines := c.lines[at.File]
	line := ""
	at.Line = max(1, min(at.Line, len(lines)))
	if len(lines) > 0 {
		line = lines[at.Line-1]
	}
	at.Column = max(1, min(at.Column, utf8.RuneCountInString(line)+1))
	c.errs.List = append(c.errs.List, &Error{At: at, Path: path, Reason: reason, Hint: hint, Line: line})
}

// beyond is add for what is right in its structure, so that the schema takes it.
func (c *collector) beyond(at Position, path, reason, hint string) {
	if c.add(at, path, reason, hint); c.errs.More == 0 {
		c.errs.List[len(c.errs.List)-1].beyond = true
	}
}

// isBad reports whether path or something that contains it has an error.
func (c *collector) isBad(path string) bool {
	for {
		if c.bad[path] {
			return true
		}
		i := strings.LastIndexAny(path, ".[")
		if i < 0 {
			return false
		}
		path = path[:i]
	}
}

// result returns the errors in order, or nil.
func (c *collector) result() error {
	if len(c.errs.List) == 0 {
		return nil
	}
	rank := map[string]int{}
	for i, f := range c.files {
		rank[f] = i
	}
	sort.SliceStable(c.errs.List, func(i, j int) bool {
		a, b := c.errs.List[i].At, c.errs.List[j].At
		if a.File != b.File {
			return rank[a.File] < rank[b.File]
		}
		if a.Line != b.Line {
			return a.Line < b.Line
		}
		return a.Column < b.Column
	})
	return &c.errs
}
