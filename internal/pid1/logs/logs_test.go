package logs

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/wire"
)

var began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// open returns a book whose clock goes one millisecond a line.
func open(t *testing.T, out *bytes.Buffer) *Book {
	t.Helper()
	now := began
	return New(out, func() time.Time { now = now.Add(time.Millisecond); return now }, began)
}

func texts(r wire.LogsReply) string {
	var all []string
	for _, l := range r.Lines {
		all = append(all, fmt.Sprintf("%d %s/%s %s", l.Seq, l.Container, l.Stream, l.Text))
	}
	return strings.Join(all, "\n")
}

func TestBook(t *testing.T) {
	var out bytes.Buffer
	b := open(t, &out)
	w, e := b.Output("a", "stdout"), b.Output("b", "stderr")
	fmt.Fprint(w, "one\ntw")
	fmt.Fprint(e, "bad \x1b[31m\xff\r\n")
	fmt.Fprint(w, "o\n\n")
	b.Printf("%d containers", 2)
	fmt.Fprint(w, "rest")
	w.Close()
	e.Close()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	all := "1 a/stdout one\n2 b/stderr bad \x1b[31m\uFFFD\n3 a/stdout two\n4 a/stdout \n5 init/init 2 containers\n6 a/stdout rest"
	for _, row := range []struct {
		req  wire.LogsRequest
		want string
	}{
		{wire.LogsRequest{}, all},
		{wire.LogsRequest{Container: "a", After: 1}, "3 a/stdout two\n4 a/stdout \n6 a/stdout rest"},
		{wire.LogsRequest{Container: "a", Tail: 1}, "6 a/stdout rest"},
		{wire.LogsRequest{After: 3, Tail: 2}, "5 init/init 2 containers\n6 a/stdout rest"},
		{wire.LogsRequest{After: 6}, ""},
		{wire.LogsRequest{Container: "nobody"}, ""},
	} {
		if got := texts(b.Page(row.req)); got != row.want {
			t.Errorf("%+v: got\n%s\nwant\n%s", row.req, got, row.want)
		}
	}
	want := "[    0.001000] a: one\n[    0.002000] b: bad ?[31m\uFFFD\n[    0.003000] a: two\n[    0.004000] a: \n[    0.005000] init: 2 containers\n[    0.006000] a: rest\n"
	if out.String() != want {
		t.Errorf("console:\n%swant:\n%s", out.String(), want)
	}
}

func TestLongLines(t *testing.T) {
	b := open(t, new(bytes.Buffer))
	w := b.Output("a", "stdout")
	fmt.Fprint(w, strings.Repeat("x", MaxLine)+"\n"+strings.Repeat("y", 2*MaxLine+1)+"\nend\n")
	var sizes []int
	for _, l := range b.Page(wire.LogsRequest{}).Lines {
		sizes = append(sizes, len(l.Text))
	}
	if got, want := fmt.Sprint(sizes), fmt.Sprint([]int{MaxLine, MaxLine, MaxLine, 1, 3}); got != want {
		t.Errorf("lines of %s bytes, want %s", got, want)
	}
	b.Close()
}

func TestMemoryIsLimitedPerContainer(t *testing.T) {
	b := open(t, new(bytes.Buffer))
	b.Printf("first")
	w := b.Output("loud", "stdout")
	for i := range 5000 {
		fmt.Fprintf(w, "%0100d\n", i)
	}
	r := b.Page(wire.LogsRequest{})
	if r.Lines[0].Text != "first" || len(r.Lines) != 1+MaxMemory/(100+overhead) || r.Lines[len(r.Lines)-1].Seq != 5001 {
		t.Errorf("%d lines from %q", len(r.Lines), r.Lines[0].Text)
	}
	b.Close()
}

func TestPagesAreLimited(t *testing.T) {
	b := open(t, new(bytes.Buffer))
	for c := range 20 {
		w := b.Output(fmt.Sprint("c", c), "stdout")
		for range 100 {
			fmt.Fprintln(w, strings.Repeat("<", 1500)) // six bytes each in JSON
		}
	}
	seen, pages := uint64(0), 0
	for more := true; more; pages++ {
		r := b.Page(wire.LogsRequest{After: seen})
		size := 0
		for _, l := range r.Lines {
			if l.Seq != seen+1 {
				t.Fatalf("line %d after %d", l.Seq, seen)
			}
			seen = l.Seq
			size += len(encode(l))
		}
		if size > maxPage {
			t.Fatalf("a page of %d bytes", size)
		}
		more = r.More
	}
	if seen != 2000 || pages < 15 {
		t.Errorf("%d lines in %d pages", seen, pages)
	}
	b.Close()
}

func TestFilesSurvive(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	b := open(t, new(bytes.Buffer))
	b.Printf("boot 1, before the data partition")
	if err := b.Keep(dir); err != nil {
		t.Fatal(err)
	}
	b.Printf("boot 1, after")
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b.Printf("too late")
	// A power cut while a line was written.
	name := filepath.Join(dir, currentName)
	h, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(h, "\x00\x00{\"seq\":9")
	h.Close()

	for boot := 2; boot < 4; boot++ {
		b = open(t, new(bytes.Buffer))
		b.Printf("boot %d, before", boot)
		if err := b.Keep(dir); err != nil {
			t.Fatal(err)
		}
		b.Printf("boot %d, after", boot)
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	want := `1 init/init boot 1, before the data partition
2 init/init boot 1, after
3 init/init boot 2, before
4 init/init boot 2, after
5 init/init boot 3, before
6 init/init boot 3, after`
	if got := texts(b.Page(wire.LogsRequest{})); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestFilesRotate(t *testing.T) {
	dir := t.TempDir()
	b := open(t, new(bytes.Buffer))
	if err := b.Keep(dir); err != nil {
		t.Fatal(err)
	}
	w := b.Output("a", "stdout")
	for range 3 * MaxFile / 4000 {
		fmt.Fprintln(w, strings.Repeat("x", 4000))
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{currentName, previousName} {
		st, err := os.Stat(filepath.Join(dir, name))
		if err != nil || st.Size() > MaxFile || st.Size() == 0 {
			t.Errorf("%s: %v, %v", name, st, err)
		}
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("%d files, want 2", len(entries))
	}
}

// slow blocks its first write until it is released.
type slow struct {
	once    sync.Once
	release chan struct{}
	got     bytes.Buffer
}

func (s *slow) Write(b []byte) (int, error) {
	s.once.Do(func() { <-s.release })
	return s.got.Write(b)
}

func TestSlowConsoleLosesLines(t *testing.T) {
	out := &slow{release: make(chan struct{})}
	b := New(out, time.Now, time.Now())
	for i := range 3 * consoleQueue {
		b.Printf("line %d", i)
	}
	close(out.release)
	b.Close()
	if got := out.got.String(); !strings.Contains(got, "lines not shown: the console is too slow") {
		t.Errorf("%d bytes shown, and no word of what was not", len(got))
	}
	if n := len(b.Page(wire.LogsRequest{Tail: 2 * consoleQueue}).Lines); n != 2*consoleQueue {
		t.Errorf("%d lines in memory", n)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("{\"seq\":1,\"text\":\"x\"}\n{\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, l := range decode(b) {
			encode(l)
		}
	})
}

func FuzzSplit(f *testing.F) {
	f.Add([]byte("a\r\n\nb"), 2)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		var got []string
		s := &splitter{line: func(l string) { got = append(got, l) }}
		cut = max(0, min(cut, len(b)))
		s.Write(b[:cut])
		s.Write(b[cut:])
		s.Close()
		for _, l := range got {
			if len(l) > MaxLine || strings.Contains(l, "\n") {
				t.Errorf("line %q", l)
			}
		}
	})
}
