package port

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

var reads = flag.Int("reads", 100_000, "checksummed reads of the stress test")

// files makes the files of a port as a supervisor does: one end may write the
// memory, the other the cursor.
func files(t testing.TB, l Layout) (writer, reader Ends) {
	t.Helper()
	size, err := l.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := func(name string, head []byte, size int) (rw, ro *os.File) {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, head, 0o600), os.Truncate(path, int64(size))); err != nil {
			t.Fatal(err)
		}
		for _, o := range []struct {
			f    **os.File
			mode int
		}{{&rw, os.O_RDWR}, {&ro, os.O_RDONLY}} {
			f, err := os.OpenFile(path, o.mode, 0)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
			*o.f = f
		}
		return rw, ro
	}
	writer.Memory, reader.Memory = file("memory", l.Header(), size)
	if l.Kind == Queueing {
		reader.Cursor, writer.Cursor = file("cursor", l.CursorHeader(), CursorBytes)
	}
	return writer, reader
}

func sampling(size int, validity time.Duration) Layout {
	return Layout{Message: Message{"level", size, 1}, Kind: Sampling, Validity: validity}
}

func queueing(size, depth int, p Policy) Layout {
	return Layout{Message: Message{"orders", size, 1}, Kind: Queueing, Depth: depth, Policy: p}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func samplingEnds(t testing.TB, l Layout) (*SamplingWriter, *SamplingReader, Ends) {
	we, re := files(t, l)
	w, r := must(NewSamplingWriter(we, l.Message))(t), must(NewSamplingReader(re, l.Message))(t)
	t.Cleanup(func() { w.Close(); r.Close() })
	return w, r, we
}

func queueEnds(t testing.TB, l Layout) (w *QueueWriter, r *QueueReader, we, re Ends) {
	we, re = files(t, l)
	w, r = must(NewQueueWriter(we, l.Message))(t), must(NewQueueReader(re, l.Message))(t)
	t.Cleanup(func() { w.Close(); r.Close() })
	return w, r, we, re
}

func TestSampling(t *testing.T) {
	w, r, _ := samplingEnds(t, sampling(21, 50*time.Millisecond))
	buf := make([]byte, 21)
	if _, err := r.Read(buf); !errors.Is(err, ErrEmpty) {
		t.Errorf("reading before the first value: %v", err)
	}
	for i, text := range []string{"", "a", "eight888", "twenty-one bytes long", "short"} {
		if err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		for range 2 { // reading does not take it away
			s, err := r.Read(buf)
			if err != nil || string(buf[:s.Length]) != text || s.Sequence != uint64(i+1) || !s.Valid || s.Age > time.Second {
				t.Errorf("value %d: %q, %+v, %v; want %q", i, buf[:s.Length], s, err, text)
			}
		}
	}
	time.Sleep(60 * time.Millisecond)
	if s, err := r.Read(buf); err != nil || s.Valid || s.Age < 60*time.Millisecond || s.Length != 5 {
		t.Errorf("an old value: %+v, %v; want it, not valid", s, err)
	}
	if err := w.Write(make([]byte, 22)); !errors.Is(err, ErrSize) {
		t.Errorf("a value too large: %v", err)
	}
	if _, err := r.Read(buf[:4]); !errors.Is(err, ErrSize) {
		t.Errorf("a buffer too small: %v", err)
	}
}

func TestQueue(t *testing.T) {
	for _, row := range []struct {
		policy Policy
		do     string // digits are written, r reads, ! expects a full queue at the next digit
		want   string // what the reads gave: digits, - for nothing, (n) for n lost before
	}{
		{Reject, "r1rr", "-1-"},
		{Reject, "123!4r5!6rrrr", "1235-"},
		{Drop, "123rrrr", "123-"},
		{Drop, "12345rrrr", "(2)345-"},
		{Drop, "12r3456rrrr", "1(2)456-"},
	} {
		w, r, _, _ := queueEnds(t, queueing(8, 3, row.policy))
		got, full := "", false
		for _, c := range row.do {
			switch c {
			case '!':
				full = true
			case 'r':
				buf := make([]byte, 8)
				s, err := r.Read(buf)
				if s.Lost > 0 {
					got += fmt.Sprintf("(%d)", s.Lost)
				}
				if errors.Is(err, ErrEmpty) {
					got += "-"
				} else if err != nil {
					t.Fatal(err)
				}
				got += string(buf[:s.Length])
			default:
				if err := w.Write([]byte(string(c))); errors.Is(err, ErrFull) != full || err != nil && !full {
					t.Errorf("%v %s at %c: %v", row.policy, row.do, c, err)
				}
				full = false
			}
		}
		if got != row.want {
			t.Errorf("policy %d, %s: read %s, want %s", row.policy, row.do, got, row.want)
		}
		if st := r.State(); st != w.State() || st.Rejected != uint64(strings.Count(row.do, "!")) || st.Queued != 0 {
			t.Errorf("policy %d, %s: state %+v of the reader, %+v of the writer", row.policy, row.do, st, w.State())
		}
	}
}

// TestRestart cuts writers at every step of a write, and readers between two
// reads; the next one goes on.
func TestRestart(t *testing.T) {
	l := queueing(16, 3, Reject)
	w, r, we, re := queueEnds(t, l)
	buf := make([]byte, 16)
	for n := uint64(1); n < 40; n++ {
		at := w.m.at(n)
		for step := range n % 4 { // what a cut write of message n has left
			switch step {
			case 0:
				store(w.m.mem, at, 2*n-1)
			case 1:
				copy(w.m.mem[at+slotLength:], "\xff\xff\xff\xff\xff\xff\xff\xffgarbagegarbage")
			case 2:
				store(w.m.mem, at, 2*n)
			}
		}
		if _, err := r.Read(buf); !errors.Is(err, ErrEmpty) {
			t.Fatalf("message %d was cut, and read: %v", n, err)
		}
		w.Close()
		w = must(NewQueueWriter(we, l.Message))(t)
		text := fmt.Sprint("message ", n)
		if err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		r.Close()
		r = must(NewQueueReader(re, l.Message))(t)
		s, err := r.Read(buf)
		if err != nil || string(buf[:s.Length]) != text || s.Sequence != n || s.Lost != 0 {
			t.Fatalf("after restarts: %q, %+v, %v; want %q", buf[:s.Length], s, err, text)
		}
	}
}

func TestMismatch(t *testing.T) {
	l := sampling(8, 0)
	we, re := files(t, l)
	for _, row := range []struct {
		name string
		open func() error
		want error
	}{
		{"size", func() error { _, err := NewSamplingReader(re, Message{"level", 16, 1}); return err }, ErrMismatch},
		{"version", func() error { _, err := NewSamplingReader(re, Message{"level", 8, 2}); return err }, ErrMismatch},
		{"name", func() error { _, err := NewSamplingReader(re, Message{"levels", 8, 1}); return err }, ErrMismatch},
		{"kind", func() error { _, err := NewQueueReader(re, l.Message); return err }, ErrMismatch},
		{"nothing", func() error { _, err := NewSamplingReader(Ends{}, l.Message); return err }, ErrNoLink},
		{"variable", func() error { _, err := OpenSamplingReader(l.Message); return err }, ErrNoLink},
		{"reader as writer", func() error { _, err := NewSamplingWriter(re, l.Message); return err }, os.ErrPermission},
	} {
		if err := row.open(); !errors.Is(err, row.want) {
			t.Errorf("%s: %v, want %v", row.name, err, row.want)
		}
	}
	if _, err := we.Memory.WriteAt([]byte{0xff}, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := NewSamplingReader(re, l.Message); !errors.Is(err, ErrCorrupt) {
		t.Errorf("without its magic: %v", err)
	}
}

func TestFind(t *testing.T) {
	l := sampling(8, 0)
	l.Link = "water-level"
	we, re := files(t, l)
	t.Setenv("INSTAR_LINK_WATER_LEVEL", fmt.Sprint(we.Memory.Fd()))
	w := must(OpenSamplingWriter(l.Message))(t)
	defer w.Close()
	t.Setenv("INSTAR_LINK_WATER_LEVEL", fmt.Sprint(re.Memory.Fd()))
	r := must(OpenSamplingReader(l.Message))(t)
	defer r.Close()
	if err := w.Write([]byte("12345678")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 8)
	if _, err := r.Read(buf); err != nil || string(buf) != "12345678" {
		t.Errorf("read %q, %v", buf, err)
	}
	if _, err := r.Wait(0); !errors.Is(err, ErrNoLink) {
		t.Errorf("waiting without a wake-up: %v", err)
	}
	t.Setenv("INSTAR_LINK_WATER_LEVEL", "three")
	if _, err := Find("water-level"); err == nil || !strings.Contains(err.Error(), `"three", not a file descriptor`) {
		t.Errorf("a variable that is no number: %v", err)
	}
}

// A liar spoils the cursor; the writer goes on.
func TestReaderCannotHarm(t *testing.T) {
	w, _, _, re := queueEnds(t, queueing(8, 2, Reject))
	liar := must(mapFile(re.Cursor, true))(t)
	for i, consumed := range []uint64{1 << 63, ^uint64(0), 0, 5} {
		store(liar, atConsumed, consumed)
		err := w.Write([]byte("x"))
		if err != nil && !errors.Is(err, ErrFull) {
			t.Errorf("lie %d: %v", i, err)
		}
		if q := w.State().Queued; q > 2 {
			t.Errorf("lie %d: %d messages queued of 2", i, q)
		}
	}
	if _, err := mapFile(re.Memory, true); !errors.Is(err, os.ErrPermission) {
		t.Errorf("mapping a port for writing as its reader: %v", err)
	}
}

func TestLayoutRefuses(t *testing.T) {
	for _, l := range []Layout{
		{Message: Message{"a", 8, 1}}, sampling(0, 0), sampling(MaxSize+1, 0), sampling(8, -1),
		queueing(8, 0, Reject), queueing(8, MaxDepth+1, Reject), queueing(8, 8, 3), queueing(MaxSize, 64, Drop),
	} {
		if n, err := l.Bytes(); err == nil {
			t.Errorf("%+v has %d bytes, want an error", l, n)
		}
	}
}

// fill makes a message that can be checked: every word follows from the first.
func fill(buf []byte, n uint64) {
	for i := 0; i < len(buf); i += 8 {
		binary.LittleEndian.PutUint64(buf[i:], n*0x9e3779b97f4a7c15+uint64(i)*n)
	}
}

func checkFill(buf []byte, n uint64) bool {
	for i := 0; i < len(buf); i += 8 {
		if binary.LittleEndian.Uint64(buf[i:]) != n*0x9e3779b97f4a7c15+uint64(i)*n {
			return false
		}
	}
	return true
}

// messages are made before, so that nothing is between two writes.
func messages(size int) [variants][]byte {
	var all [variants][]byte
	for i := range all {
		all[i] = make([]byte, size)
		fill(all[i], uint64(i))
	}
	return all
}

const variants = 64

// TestTorn reads as fast as it can beside a writer that does not rest. Values
// are whole and never go back. `go test -run Torn -reads 10000000` is the
// benchmark's number.
func TestTorn(t *testing.T) {
	for _, size := range []int{8, 64, 1024} {
		w, r, _ := samplingEnds(t, sampling(size, 0))
		var stop atomic.Bool
		done := make(chan struct{})
		data := messages(size)
		if err := w.Write(data[1]); err != nil {
			t.Fatal(err)
		}
		go func() {
			defer close(done)
			for n := uint64(2); !stop.Load(); n++ {
				if err := w.Write(data[n%variants]); err != nil {
					t.Error(err)
				}
			}
		}()
		buf, last, fresh := make([]byte, size), uint64(0), 0
		for range *reads {
			s, err := r.Read(buf)
			if err != nil {
				t.Error(err)
				break
			}
			if !checkFill(buf[:s.Length], s.Sequence%variants) || s.Sequence < last {
				t.Errorf("size %d: torn value at sequence %d after %d", size, s.Sequence, last)
				break
			}
			if s.Sequence != last {
				fresh++
			}
			last = s.Sequence
		}
		stop.Store(true)
		<-done
		t.Logf("size %d: %d reads, %d of them new values, of %d written", size, *reads, fresh, last)
	}
}

// TestTornQueue is TestTorn for both policies: nothing is torn, repeated or out
// of order, and what is missing is counted.
func TestTornQueue(t *testing.T) {
	for _, l := range []Layout{queueing(64, 8, Reject), queueing(1024, 1, Drop), queueing(64, 8, Drop)} {
		w, r, _, _ := queueEnds(t, l)
		var stop atomic.Bool
		done := make(chan struct{})
		go func() {
			defer close(done)
			data := messages(l.Size)
			for n := uint64(1); !stop.Load(); {
				err := w.Write(data[n%variants])
				if err == nil {
					n++
				} else if !errors.Is(err, ErrFull) {
					t.Error(err)
					return
				}
			}
		}()
		buf, last, lost := make([]byte, l.Size), uint64(0), uint64(0)
		for range *reads {
			s, err := r.Read(buf)
			lost += s.Lost
			if errors.Is(err, ErrEmpty) || errors.Is(err, ErrOverrun) {
				continue
			}
			if err != nil || !checkFill(buf, s.Sequence%variants) || s.Sequence <= last || l.Policy == Reject && s.Sequence != last+1 {
				t.Errorf("policy %d: message %d after %d, %d lost, %v", l.Policy, s.Sequence, last, s.Lost, err)
				break
			}
			last = s.Sequence
		}
		stop.Store(true)
		<-done
		if st := r.State(); st.Lost != lost || l.Policy == Reject && lost != 0 {
			t.Errorf("policy %d: %d lost, state %+v", l.Policy, lost, st)
		}
	}
}

func FuzzHeader(f *testing.F) {
	f.Add(sampling(8, time.Second).Header())
	f.Add(queueing(100, 4, Drop).Header())
	f.Fuzz(func(t *testing.T, b []byte) {
		mem := make([]byte, 4096)
		copy(mem, b)
		l, _, err := parse(mem)
		if err != nil {
			return
		}
		m := &memory{layout: l, mem: mem, cursor: make([]byte, CursorBytes), stride: stride(l.Size), slots: uint64(l.slots())}
		buf := make([]byte, l.Size)
		if l.Kind == Sampling {
			(&SamplingReader{m}).Read(buf)
		} else {
			(&QueueReader{m}).Read(buf)
			(&QueueReader{m}).State()
		}
	})
}

func BenchmarkSampling(b *testing.B) {
	for _, size := range []int{8, 64, 1024} {
		w, r, _ := samplingEnds(b, sampling(size, 0))
		data, buf := make([]byte, size), make([]byte, size)
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			for b.Loop() {
				w.Write(data)
				r.Read(buf)
			}
		})
	}
}

// TestOrigin hands on when data began, through two links.
func TestOrigin(t *testing.T) {
	w1, r1, _ := samplingEnds(t, sampling(8, 0))
	w2, r2, _ := samplingEnds(t, sampling(8, 0))
	buf := make([]byte, 8)
	if err := w1.Write([]byte("a")); err != nil {
		t.Fatal(err)
	}
	one, err := r1.Read(buf)
	if err != nil || one.DataAge != one.Age || one.Origin <= 0 {
		t.Fatalf("%+v %v", one, err)
	}
	time.Sleep(5 * time.Millisecond)
	if err := w2.WriteFrom([]byte("b"), one.Origin); err != nil {
		t.Fatal(err)
	}
	two, err := r2.Read(buf)
	if err != nil || two.Origin != one.Origin || two.DataAge < 5*time.Millisecond || two.DataAge < two.Age+5*time.Millisecond {
		t.Errorf("%+v %v", two, err)
	}
	// An origin after the writing is none, and the next message forgets the last's.
	for _, origin := range []time.Duration{0, one.Origin + time.Hour} {
		if err := w2.WriteFrom([]byte("c"), origin); err != nil {
			t.Fatal(err)
		}
		if s, err := r2.Read(buf); err != nil || s.DataAge != s.Age {
			t.Errorf("%+v %v", s, err)
		}
	}
}
