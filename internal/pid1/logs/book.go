// Package logs keeps what init and the containers say: the newest lines of
// each in memory, all of them in a pair of files that survives a reboot, and
// on the console.
package logs

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/instar-os/instar/internal/wire"
)

// Limits of what is kept, in bytes.
const (
	MaxLine   = 8 << 10   // a longer line becomes several
	MaxMemory = 256 << 10 // per container, text and overhead
	MaxFile   = 4 << 20   // each of the two files
	maxPage   = 1 << 20   // of a reply, encoded
)

// overhead is what a line costs in memory beside its text, about.
const overhead = 100

// Init is the name under which the supervisor's own lines stand.
const Init = "init"

// Book holds the lines. Its methods may be called concurrently.
type Book struct {
	now     func() time.Time
	console *console

	mu     sync.Mutex
	seq    uint64
	rings  map[string]*ring
	meters map[string]*meter
	file   *file
	ended  bool
	tee    func(wire.LogLine)
}

// A ring holds the newest lines of one container.
type ring struct {
	lines []wire.LogLine
	size  int
}

// New returns an empty book. Lines are shown on the console with the time
// since began; a slow console loses lines rather than stop who writes them.
func New(out io.Writer, now func() time.Time, began time.Time) *Book {
	return &Book{now: now, rings: map[string]*ring{}, console: newConsole(out, began)}
}

// Printf notes a line of the supervisor.
func (b *Book) Printf(format string, args ...any) {
	b.add(Init, Init, fmt.Sprintf(format, args...))
}

// Tee gives the supervisor's own lines to a function as well, from now on. It
// must not wait, nor call the book.
func (b *Book) Tee(f func(wire.LogLine)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tee = f
}

// Output returns where a stream of a container is written to. Closing it ends
// a last line without an end.
func (b *Book) Output(container, stream string) io.WriteCloser {
	return &splitter{line: func(text string) { b.add(container, stream, text) }}
}

func (b *Book) add(container, stream, text string) {
	if !utf8.ValidString(text) {
		text = strings.ToValidUTF8(text, "\uFFFD")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.admit(container, text) {
		b.note(container, stream, text)
	}
}

func (b *Book) keep(line wire.LogLine) {
	r := b.rings[line.Container]
	if r == nil {
		r = &ring{}
		b.rings[line.Container] = r
	}
	r.lines = append(r.lines, line)
	r.size += len(line.Text) + overhead
	drop := 0
	for room := b.room(line.Container); r.size > room; {
		r.size -= len(r.lines[drop].Text) + overhead
		drop++
	}
	r.lines = r.lines[drop:]
}

// Keep reads the files of former boots in a directory, which is made when
// there is none, numbers the lines of this boot after theirs, and writes
// everything there from now on. Damaged lines, as a power cut leaves, are
// skipped.
func (b *Book) Keep(dir string) error {
	f, old, err := openFile(dir)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	fresh := b.sorted("")
	b.rings = map[string]*ring{}
	first := uint64(0)
	for _, line := range old {
		if line.Seq > first { // damaged files may repeat
			first = line.Seq
			b.keep(line)
		}
	}
	b.file = f
	for _, line := range fresh {
		line.Seq += first
		b.keep(line)
		f.write(line)
	}
	b.seq += first
	return nil
}

// sorted returns a container's lines, or all, in order of their numbers.
func (b *Book) sorted(container string) []wire.LogLine {
	if container != "" {
		if r := b.rings[container]; r != nil {
			return r.lines
		}
		return nil
	}
	var all []wire.LogLine
	for _, r := range b.rings {
		all = append(all, r.lines...)
	}
	slices.SortFunc(all, func(a, b wire.LogLine) int {
		if a.Seq < b.Seq {
			return -1
		}
		return 1
	})
	return all
}

// Page answers a request from what is in memory.
func (b *Book) Page(req wire.LogsRequest) wire.LogsReply {
	b.mu.Lock()
	defer b.mu.Unlock()
	lines := b.sorted(req.Container)
	after, _ := slices.BinarySearchFunc(lines, req.After, func(l wire.LogLine, seq uint64) int {
		if l.Seq <= seq {
			return -1
		}
		return 1
	})
	lines = lines[after:]
	if !req.Since.IsZero() { // clocks may be set, so that times need not ascend
		lines = slices.DeleteFunc(slices.Clone(lines), func(l wire.LogLine) bool { return l.Time.Before(req.Since) })
	}
	if req.Tail > 0 && len(lines) > req.Tail {
		lines = lines[len(lines)-req.Tail:]
	}
	reply := wire.LogsReply{Lines: []wire.LogLine{}}
	size := 0
	for _, l := range lines {
		if size += len(encode(l)); size > maxPage {
			reply.More = true
			break
		}
		reply.Lines = append(reply.Lines, l)
	}
	return reply
}

// Release writes out and closes the files, so that their file system can be
// unmounted. Lines go on to memory and console.
func (b *Book) Release() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.file == nil {
		return nil
	}
	err := b.file.close()
	b.file = nil
	return err
}

// Close shows what the console has not taken yet, waiting for it a little,
// and ends the console's goroutine. Lines go on to memory only. Call it once.
func (b *Book) Close() error {
	err := b.Release()
	b.mu.Lock()
	b.ended = true
	b.mu.Unlock()
	b.console.close()
	return err
}
