package flight

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/instar-os/instar/internal/reason"
	"github.com/instar-os/instar/internal/wire"
)

// Limits of what is taken from a dying kernel, in bytes.
const (
	maxCrash      = 48 << 10
	maxCrashFile  = 32 << 10
	maxCrashFiles = 256
)

// Crash is what a dying kernel left in persistent storage
// (Documentation/ABI/testing/pstore): its last messages.
type Crash struct {
	Text  string
	Kind  string   // Panic, Oops, … of the first line
	files []string // that it is made of
}

// ReadCrash reads what is in a mounted pstore, nil when there is nothing.
func ReadCrash(dir string) (*Crash, error) {
	names, err := filepath.Glob(filepath.Join(dir, "dmesg-*"))
	if err != nil || len(names) == 0 {
		return nil, err
	}
	c := &Crash{files: names}
	parts := map[string][]byte{}
	for _, name := range names[:min(len(names), maxCrashFiles)] {
		b, err := readSome(name)
		if err != nil {
			return c, fmt.Errorf("reading what a dying kernel left: %w", err)
		}
		parts[name] = b
	}
	c.join(parts)
	return c, nil
}

func readSome(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxCrashFile))
}

// part is one file of a dump.
type part struct {
	kind         string
	number, part int
	text         string
}

// readPart reads the line that begins each file, "Panic#2 Part3": what happened,
// its number in that boot, and the number of the part, 1 being the end of the
// messages. A file without it is all text.
func readPart(file string) part {
	head, text, found := strings.Cut(file, "\n")
	kind, numbers, counted := strings.Cut(head, "#")
	first, second, both := strings.Cut(numbers, " Part")
	number, err := strconv.Atoi(first)
	n, err2 := strconv.Atoi(second)
	if !found || !counted || !both || kind == "" || err != nil || err2 != nil {
		return part{text: file}
	}
	return part{kind, number, n, text}
}

// join puts the parts of the dumps into their order: what happened first comes
// first, and of each the last part, which are its oldest messages.
func (c *Crash) join(files map[string][]byte) {
	var all []part
	for _, b := range files {
		all = append(all, readPart(string(b)))
	}
	slices.SortFunc(all, func(a, b part) int {
		return cmp.Or(cmp.Compare(a.number, b.number), cmp.Compare(b.part, a.part), cmp.Compare(a.text, b.text))
	})
	var text strings.Builder
	for i, p := range all {
		if i == 0 || p.kind != all[i-1].kind || p.number != all[i-1].number {
			fmt.Fprintf(&text, "%s\n", p.kind)
		}
		if p.kind == "Panic" || c.Kind == "" {
			c.Kind = p.kind
		}
		text.WriteString(p.text)
	}
	c.Text = strings.ToValidUTF8(text.String(), "\uFFFD")
	if n := len(c.Text); n > maxCrash {
		c.Text = strings.ToValidUTF8(c.Text[n-maxCrash:], "") // the end tells more
	}
}

func (c *Crash) panicked() bool { return c != nil && c.Kind == "Panic" }

// verdict says why the kernel died: by itself, or because init did.
func (c *Crash) verdict() (reason.Code, string) {
	_, after, found := strings.Cut(c.Text, "Kernel panic - not syncing: ")
	why, _, _ := strings.Cut(after, "\n")
	switch {
	case !found:
		return reason.Panic, "the kernel panicked"
	case strings.Contains(why, "Attempted to kill init"):
		return reason.InitCrash, why
	}
	return reason.Panic, why
}

// entries cut the text at ends of lines into entries.
func (c *Crash) entries() []wire.BootEntry {
	if c == nil {
		return nil
	}
	var all []wire.BootEntry
	for rest := c.Text; rest != ""; {
		n := min(len(rest), maxText)
		if n < len(rest) {
			if end := strings.LastIndexByte(rest[:n], '\n'); end > 0 {
				n = end + 1
			}
		}
		all = append(all, wire.BootEntry{Kind: wire.EntryCrash, Text: strings.ToValidUTF8(strings.TrimRight(rest[:n], "\n"), "\uFFFD")})
		rest = rest[n:]
	}
	return all
}

// clear removes the files, which frees the storage.
func (c *Crash) clear() error {
	if c == nil {
		return nil
	}
	var errs []error
	for _, name := range c.files {
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
