package logs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/instar-os/instar/internal/wire"
)

// The files of a directory: one JSON object a line, as wire.LogLine. When
// "current" has reached MaxFile it becomes "previous".
const (
	currentName  = "current.jsonl"
	previousName = "previous.jsonl"
)

// file appends lines. Lines are written at once and reach the disk when the
// kernel thinks fit: a power cut may lose the newest.
type file struct {
	dir  string
	f    *os.File
	size int64
	err  error // of the first write that failed; none is tried after it
}

// openFile opens a directory's files and returns the lines in them.
func openFile(dir string) (*file, []wire.LogLine, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("keeping logs: %w", err)
	}
	var old []wire.LogLine
	for _, name := range []string{previousName, currentName} {
		b, err := readFile(filepath.Join(dir, name))
		if err != nil {
			return nil, nil, fmt.Errorf("reading former logs: %w", err)
		}
		old = append(old, decode(b)...)
	}
	f := &file{dir: dir}
	if err := f.open(); err != nil {
		return nil, nil, err
	}
	// A cut may have left half a line.
	if f.size > 0 {
		f.put([]byte("\n"))
	}
	return f, old, nil
}

// readFile returns at most MaxFile bytes of a file, nothing when it is missing.
func readFile(name string) ([]byte, error) {
	h, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer h.Close()
	return io.ReadAll(io.LimitReader(h, MaxFile))
}

func (f *file) open() error {
	h, err := os.OpenFile(filepath.Join(f.dir, currentName), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("keeping logs: %w", err)
	}
	st, err := h.Stat()
	if err != nil {
		h.Close()
		return fmt.Errorf("keeping logs: %w", err)
	}
	f.f, f.size = h, st.Size()
	return nil
}

func (f *file) write(l wire.LogLine) {
	b := encode(l)
	if f.err == nil && f.size+int64(len(b)) > MaxFile {
		f.err = f.rotate()
	}
	f.put(b)
}

func (f *file) put(b []byte) {
	if f.err != nil {
		return
	}
	n, err := f.f.Write(b)
	f.size += int64(n)
	f.err = err
}

func (f *file) rotate() error {
	if err := f.f.Close(); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(f.dir, currentName), filepath.Join(f.dir, previousName)); err != nil {
		return err
	}
	return f.open()
}

func (f *file) close() error {
	err := f.err
	if err == nil {
		err = f.f.Sync()
	}
	if err = errors.Join(err, f.f.Close()); err != nil {
		return fmt.Errorf("keeping logs: %w", err)
	}
	return nil
}

func encode(l wire.LogLine) []byte {
	b, err := json.Marshal(l)
	if err != nil {
		// Only a year beyond 9999 cannot be encoded.
		l.Time = l.Time.AddDate(-l.Time.Year(), 0, 0)
		b, _ = json.Marshal(l)
	}
	return append(b, '\n')
}

// maxEncoded is the longest line that decode takes, in bytes: JSON writes a
// byte as at most six.
const maxEncoded = 8 * MaxLine

// decode reads lines, skipping damaged ones.
func decode(b []byte) []wire.LogLine {
	var all []wire.LogLine
	for line := range bytes.SplitSeq(b, []byte("\n")) {
		var l wire.LogLine
		if len(line) <= maxEncoded && json.Unmarshal(line, &l) == nil && l.Seq > 0 {
			all = append(all, l)
		}
	}
	return all
}
