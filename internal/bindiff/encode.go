package bindiff

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"

	"github.com/instar-os/instar/internal/bindiff/arith"
	"github.com/instar-os/instar/internal/bindiff/field"
	"github.com/instar-os/instar/internal/bindiff/suffix"
)

// Pair is a new file and the old one that it is made of. Old may be nil: the
// file is then sent whole, coded with what the files before it have taught.
// Both are called more than once and from several goroutines.
type Pair struct {
	Name     string // for errors and reports
	Old, New func() ([]byte, error)
}

// Options says how hard Encode works. The zero value works.
type Options struct {
	Workers int  // goroutines that look for matches; 0: one a CPU. The stream does not depend on it
	Trusted bool // the caller decodes what was written and compares

	bits int // of tables; 0: tableBits. Tests take fewer
}

// Report says where the bytes of a stream went, file by file.
type Report struct {
	Files []FileReport
	Bytes int64 // of the stream
}

// FileReport is one file of a Report.
type FileReport struct {
	Name     string
	From, To int64 // sizes of both files
	Bytes    int64 // of the stream, within 1 %: the sum of the following four
	Control  int64 // where spans and sections are
	Fixes    int64 // bytes of spans that differ, and where they are
	New      int64 // bytes that no span covers
	Missed   int64 // fields that were not foretold
	Spans    int
	Literals int64 // bytes that no span covers
	Wrong    int   // bytes of spans that differ
}

// Encode writes the difference of all pairs, in their order, to w. Each pair is
// decoded again and compared before Encode returns, unless the caller does it. Order the pairs so that
// files of a kind stand together: they help each other.
//
// Memory: six times the largest old file for each worker, and 100 MiB.
func Encode(ctx context.Context, w io.Writer, pairs []Pair, opt Options) (Report, error) {
	if opt.bits == 0 {
		opt.bits = tableBits
	}
	workers := opt.Workers
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var running sync.WaitGroup
	start := func(f func() error) {
		running.Go(func() {
			if err := f(); err != nil {
				stop(err)
			}
		})
	}
	plans := make([]chan plan, len(pairs))
	for i := range plans {
		plans[i] = make(chan plan, 1)
	}
	ahead := make(chan struct{}, 16*workers) // plans that nobody has coded yet
	next := make(chan int)
	start(func() error {
		defer close(next)
		return hand(ctx, len(pairs), next, ahead)
	})
	for range workers {
		start(func() error {
			for i := range next {
				p, err := pairs[i].plan()
				if err != nil {
					return err
				}
				plans[i] <- p
			}
			return nil
		})
	}
	back, forth := io.Pipe()
	var report Report
	start(func() error {
		both := io.MultiWriter(w, forth)
		if opt.Trusted {
			both = w
		}
		var err error
		report, err = write(ctx, both, pairs, plans, ahead, opt.bits)
		forth.CloseWithError(err)
		return err
	})
	if !opt.Trusted {
		start(func() error {
			err := verify(back, pairs, opt.bits)
			back.CloseWithError(err)
			return err
		})
	}
	running.Wait()
	return report, context.Cause(ctx)
}

// hand gives out the numbers below n, none before there is room for its plan.
func hand(ctx context.Context, n int, next chan<- int, room chan<- struct{}) error {
	for i := range n {
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		select {
		case next <- i:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

func (p Pair) open() (old, text []byte, err error) {
	if p.Old != nil {
		if old, err = p.Old(); err != nil {
			return nil, nil, err
		}
	}
	if text, err = p.New(); err != nil {
		return nil, nil, err
	}
	if len(old) > MaxSize || len(text) > MaxSize {
		return nil, nil, fmt.Errorf("compare %s: a file of %d bytes is larger than %d", p.Name, max(len(old), len(text)), MaxSize)
	}
	return old, text, nil
}

// plan finds out how to make the new file.
func (p Pair) plan() (plan, error) {
	old, text, err := p.open()
	if err != nil {
		return plan{}, err
	}
	pl := plan{class: Classify(text)}
	if len(old) > 0 && !bytes.Equal(old, text) {
		pl.compare(old, text)
	} else if len(old) >= minSpan {
		pl.spans = []span{{n: int32(len(old))}}
	}
	pl.spans = limit(pl.spans, len(text))
	pl.raw = dense(text, pl.spans)
	return pl, nil
}

// compare finds the spans. ELF files are compared twice: what the first
// comparison has found says where things have moved to, and with that the labels
// of fields are exact.
func (p *plan) compare(old, text []byte) {
	x, y := field.Find(old), field.Find(text)
	if x == nil || y == nil || (len(x.Sections) == 0) != (len(y.Sections) == 0) {
		p.spans = match(suffix.New(old), old, text)
		return
	}
	p.layout, p.sections, p.pair = x, y.Sections, pairSections(x.Sections, y.Sections)
	a, b := x.Canonical(nil), y.Canonical(nil)
	if bytes.Equal(a, b) { // only fields differ
		p.spans = []span{{n: int32(len(a))}}
		return
	}
	p.spans = match(suffix.New(a), a, b)
	if len(x.Sections) == 0 || len(y.Sections) == 0 {
		return
	}
	guess := newPredictor(x, y, p.pair, p.spans)
	a = x.Canonical(func(t uint64) uint64 { now, _ := guess.span(t); return now })
	p.spans = match(suffix.New(a), a, y.Canonical(func(t uint64) uint64 { return t }))
}

// limit drops the shortest spans of too many.
func limit(spans []span, size int) []span {
	for least := int32(minSpan); len(spans) > min(maxSpans, size/minSpan); least *= 2 {
		spans = slices.DeleteFunc(spans, func(s span) bool { return s.n < least })
	}
	return spans
}

// Classify tells by a file's bytes which others it resembles.
func Classify(text []byte) Class {
	switch {
	case bytes.HasPrefix(text, []byte("070701")):
		return ClassModule
	case bytes.HasPrefix(text, []byte("\x7fELF\x02\x01\x01")) && len(text) > 18 && text[16] == 1:
		return ClassModule
	case bytes.HasPrefix(text, []byte("\x7fELF")), len(text) > 64 && string(text[0x38:0x3c]) == "ARM\x64":
		return ClassCode
	}
	strange := 0
	head := text[:min(len(text), 4096)]
	for _, b := range head {
		if b < 9 || b > 13 && b < 32 {
			strange++
		}
	}
	if strange*50 > len(head) {
		return ClassData
	}
	return ClassText
}

// dense reports whether the literals of text look like random bytes: no model
// shortens those, and all take their time.
func dense(text []byte, spans []span) bool {
	var counts [256]int
	n, at := 0, 0
	tally := func(b []byte) {
		for _, c := range b {
			counts[c]++
		}
		n += len(b)
	}
	for _, s := range spans {
		tally(text[at:s.at])
		at = int(s.at + s.n)
	}
	tally(text[at:])
	if n < 16<<10 {
		return false
	}
	// Random bytes spread with a variance of n/256; real ones with far more.
	sum := 0.0
	for _, c := range counts {
		d := float64(c) - float64(n)/256
		sum += d * d
	}
	return sum < 1.6*float64(n)
}

// write codes all pairs.
func write(ctx context.Context, w io.Writer, pairs []Pair, plans []chan plan, ahead chan struct{}, bits int) (Report, error) {
	if _, err := w.Write([]byte{Version}); err != nil {
		return Report{}, fmt.Errorf("write the difference: %w", err)
	}
	k := codec{models: newModels(bits), c: arith.NewWriter(w)}
	var r Report
	for i, p := range pairs {
		var pl plan
		select {
		case pl = <-plans[i]:
			<-ahead
		case <-ctx.Done():
			return r, ctx.Err()
		}
		old, text, err := p.open()
		if err != nil {
			return r, err
		}
		if err := k.file(old, len(text), pl, text, nil); err != nil {
			return r, fmt.Errorf("write the difference of %s: %w", p.Name, err)
		}
		f := FileReport{Name: p.Name, From: int64(len(old)), To: int64(len(text)), Spans: len(pl.spans),
			Literals: int64(len(text)), Wrong: k.wrongs,
			Control: k.bytes(partControl), Fixes: k.bytes(partWrong), New: k.bytes(partLiteral), Missed: k.bytes(partField)}
		f.Bytes = f.Control + f.Fixes + f.New + f.Missed
		for _, s := range pl.spans {
			f.Literals -= int64(s.n)
		}
		r.Files = append(r.Files, f)
	}
	err := k.c.Close()
	r.Bytes = k.c.Written() + 1
	return r, err
}

// bytes returns what was spent on a part of the file at hand.
func (k *codec) bytes(p part) int64 { return int64(k.spent[p]+1<<14) >> 15 }

// verify makes every new file of the stream and compares it.
func verify(stream io.Reader, pairs []Pair, bits int) error {
	d, err := newDecoder(stream, bits)
	if err != nil {
		return err
	}
	for _, p := range pairs {
		old, text, err := p.open()
		if err != nil {
			return err
		}
		same := comparer{text}
		if err := d.Next(old, int64(len(text)), &same); err != nil {
			return fmt.Errorf("read back the difference of %s: %w", p.Name, err)
		}
		if len(same.rest) != 0 {
			return fmt.Errorf("read back the difference of %s: %d bytes are missing", p.Name, len(same.rest))
		}
	}
	_, err = io.Copy(io.Discard, stream)
	return err
}

// comparer is a writer that refuses anything but the bytes it expects.
type comparer struct{ rest []byte }

func (c *comparer) Write(p []byte) (int, error) {
	if !bytes.HasPrefix(c.rest, p) {
		return 0, fmt.Errorf("made other bytes than the new file has, %d before its end", len(c.rest))
	}
	c.rest = c.rest[len(p):]
	return len(p), nil
}
