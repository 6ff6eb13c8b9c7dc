package flight

import (
	"fmt"
	"sync"
	"time"

	"github.com/instar-os/instar/internal/durable"
	"github.com/instar-os/instar/internal/reason"
	"github.com/instar-os/instar/internal/wire"
)

// When entries are written, so that flash lasts. What is urgent is on the disk
// within promptly, while there is budget: urgentBurst times at once, and once
// each lazily from then on. Everything else waits up to lazily. In between, and
// while all is quiet, a machine says each alive that it runs. A day of quiet
// costs 24 flushes, one of the worst 164 and dayBytes of entries; a flush costs
// a file system with a journal about 20 KiB.
const (
	promptly    = time.Second
	lazily      = 10 * time.Minute
	alive       = time.Hour
	urgentBurst = 20
	burstBytes  = 128 << 10
	dayBytes    = 1 << 20
	maxPending  = 1024 // entries that wait for a slow disk
)

// A Recorder takes the entries of the boot that runs. Its methods may be called
// concurrently, and none but Flush and Release waits for a disk. The zero value
// is not ready; see New.
type Recorder struct {
	now   func() time.Time
	since func() time.Duration
	log   func(format string, args ...any)
	fs    durable.FS
	words *Words // nil: nowhere to write them

	kick    chan struct{}
	quit    chan struct{}
	running sync.WaitGroup

	disk sync.Mutex // held around uses of ring; taken before mu
	ring *Ring

	mu      sync.Mutex
	begin   wire.BootEntry
	told    bool // the reason of the boot was given by Because
	memory  memory
	kept    bool // a disk takes the entries
	pending []wire.BootEntry
	dropped int
	noted   uint64 // entries that went to pending
	written uint64 // of them, on the disk
	changed chan struct{}
	force   bool
	first   time.Duration // of pending
	urgent  time.Duration // since when something is urgent; 0: nothing is
	flushes bucket
	bytes   bucket
}

// Options of a Recorder.
type Options struct {
	Now   func() time.Time
	Since func() time.Duration             // the kernel's start
	Log   func(format string, args ...any) // takes what the recorder cannot do
	FS    durable.FS
}

// New returns a recorder that keeps entries in memory.
func New(o Options) *Recorder {
	return &Recorder{
		now: o.Now, since: o.Since, log: o.Log, fs: o.FS, kick: make(chan struct{}, 1), changed: make(chan struct{}),
		begin:   wire.BootEntry{Kind: wire.EntryBegin, Reason: reason.Unknown, Boot: &wire.BootIdentity{}},
		flushes: bucket{size: urgentBurst, left: urgentBurst, each: lazily},
		bytes:   bucket{size: burstBytes, left: burstBytes, each: 24 * time.Hour / dayBytes},
	}
}

// bucket lets something happen size times at once, and then once each.
type bucket struct {
	size, left float64
	each       time.Duration
	last       time.Duration
}

func (b *bucket) take(now time.Duration, n float64) bool {
	b.left = min(b.size, b.left+float64(now-b.last)/float64(b.each))
	b.last = now
	if b.left < n {
		return false
	}
	b.left -= n
	return true
}

// Identify says what boots. Fields that are "" leave what was said before.
func (r *Recorder) Identify(id wire.BootIdentity) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := *r.begin.Boot
	for _, f := range []struct{ to, from *string }{
		{&b.ID, &id.ID}, {&b.System, &id.System}, {&b.Configuration, &id.Configuration}, {&b.Kernel, &id.Kernel},
	} {
		if *f.from != "" {
			*f.to = *f.from
		}
	}
	r.begin.Boot = &b
}

// Because says how the boot began, over what the recorder finds out itself.
func (r *Recorder) Because(code reason.Code, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begin.Reason, r.begin.Text, r.told = code, text, true
}

// Note takes an entry. At is set when it is 0, and Time when the clock is.
func (r *Recorder) Note(e wire.BootEntry) {
	since := r.since()
	if e.At == 0 && e.Kind != wire.EntryStage {
		e.At = since
	}
	if now := r.now(); e.Time.IsZero() && now.Year() >= firstYear && marks(e.Kind) {
		e.Time = now.Add(e.At - since).UTC().Round(time.Millisecond)
	}
	e.Text = clip(e.Text, maxText)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.memory.add(e)
	if r.kept {
		r.queue(e, since)
	}
}

// firstYear is the first that a clock which was set can show.
const firstYear = 2024

// marks says which entries carry the time of day: those that one looks for by
// it. The others are told by At.
func marks(k wire.EntryKind) bool {
	return k == wire.EntryBegin || k == wire.EntryEnd || k == wire.EntryWrong || k == wire.EntryAlive
}

// queue lets an entry wait for the disk, under mu.
func (r *Recorder) queue(e wire.BootEntry, since time.Duration) {
	if len(r.pending) >= maxPending || !must(e) && !r.bytes.take(since, float64(cost(e))) {
		r.dropped++
		return
	}
	if len(r.pending) == 0 {
		r.first = since
	}
	r.pending = append(r.pending, e)
	r.noted++
	if vital(e) && r.urgent == 0 {
		r.urgent = since
		r.wake()
	}
	if len(r.pending) == 1 || len(r.pending) == maxPending/2 {
		r.wake()
	}
}

// must says what is few, and recorded whatever was recorded before.
func must(e wire.BootEntry) bool {
	return e.Kind == wire.EntryWrong || e.Kind == wire.EntryEnd || e.Kind == wire.EntryAlive
}

// vital says what is urgent: what may be the last words.
func vital(e wire.BootEntry) bool {
	switch e.Kind {
	case wire.EntryKernel:
		return e.Level < kernelWarning
	case wire.EntryContainer:
		return e.State == wire.Failed || e.State == wire.Unhealthy
	}
	return must(e)
}

func (r *Recorder) wake() {
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// Wrong notes that something failed. Where no disk takes it, it is left in the
// firmware's variable for the next boot that has one.
func (r *Recorder) Wrong(code reason.Code, step, text string) {
	r.Note(wire.BootEntry{Kind: wire.EntryWrong, Reason: code, Name: step, Text: text})
	r.mu.Lock()
	kept, b := r.kept, *r.begin.Boot
	r.mu.Unlock()
	if kept || r.words == nil {
		return
	}
	if err := r.words.write(lastWords{BootIdentity: b, At: r.since(), Reason: code, Step: step, Text: text}); err != nil {
		r.log("leaving the last words in the firmware: %v", err)
	}
}

// Healthy notes that all containers were healthy for the first time.
func (r *Recorder) Healthy() {
	r.Note(wire.BootEntry{Kind: wire.EntryAlive, Name: healthyMark})
}

// SetWords says where last words go without a disk.
func (r *Recorder) SetWords(w *Words) { r.words = w }

// Keep lets a directory take the entries, from a goroutine that waits for the
// disk; "" only looks for how the boot began. What cannot be done is logged, and
// the entries stay in memory. Release ends it.
func (r *Recorder) Keep(dir string, find func() Evidence) {
	quit := make(chan struct{})
	r.quit = quit
	r.running.Go(func() {
		ev := find()
		if dir == "" {
			r.explain(ev.start(reason.Unknown))
			return
		}
		if err := r.open(dir, ev); err != nil {
			r.log("%v", err)
			return
		}
		r.run(quit)
	})
}

func (r *Recorder) explain(code reason.Code) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.told {
		r.begin.Reason = code
	}
}

// open puts what is known into the ring.
func (r *Recorder) open(dir string, ev Evidence) error {
	r.disk.Lock()
	defer r.disk.Unlock()
	ring, err := OpenRing(r.fs, dir)
	if err != nil {
		return err
	}
	r.ring = ring // what was recorded can be read, whatever becomes of this boot
	r.mu.Lock()
	id := r.begin.Boot.ID
	r.mu.Unlock()
	if entries, ok := ring.Resume(id); ok {
		return r.resume(ring, entries)
	}
	before, err := ev.settle(ring)
	if err != nil {
		return err
	}
	r.explain(ev.start(before))
	r.mu.Lock()
	first := r.begin
	first.At = 1 // the kernel's start
	if now := r.now(); now.Year() >= firstYear {
		first.Time = now.Add(-r.since()).UTC().Round(time.Millisecond)
	}
	entries := append([]wire.BootEntry{first}, r.memory.all()...)
	r.kept = true
	r.mu.Unlock()
	number, err := ring.Begin(entries)
	r.mu.Lock()
	if r.kept = err == nil; r.kept {
		b := *r.begin.Boot
		b.Number = number
		r.begin.Boot = &b
	}
	r.mu.Unlock()
	if err != nil {
		return err
	}
	return ev.clear()
}

// resume goes on with what another process has recorded of this boot.
func (r *Recorder) resume(ring *Ring, before []wire.BootEntry) error {
	r.mu.Lock()
	mine := r.memory.all()
	r.begin, r.memory = before[0], memory{}
	for _, e := range append(before[1:], mine...) {
		r.memory.add(e)
	}
	r.kept = true
	r.mu.Unlock()
	return ring.Append(mine)
}

// run writes entries until Release.
func (r *Recorder) run(quit <-chan struct{}) {
	said := r.since()
	for {
		r.mu.Lock()
		now := r.since()
		wait := said + alive - now
		if n := len(r.pending); n > 0 {
			wait = min(wait, r.first+lazily-now)
			switch {
			case r.force || n >= maxPending/2:
				wait = 0
			case r.urgent != 0 && now < r.urgent+promptly:
				wait = min(wait, r.urgent+promptly-now)
			case r.urgent != 0 && r.flushes.take(now, 1):
				wait = 0
			}
		}
		r.mu.Unlock()
		if wait <= 0 {
			if now >= said+alive {
				r.Note(wire.BootEntry{Kind: wire.EntryAlive})
				said = now
			}
			if err := r.flush(); err != nil {
				r.log("%v", err)
				return
			}
			continue
		}
		t := time.NewTimer(wait)
		select {
		case <-r.kick:
		case <-t.C:
		case <-quit:
			t.Stop()
			if err := r.flush(); err != nil {
				r.log("%v", err)
			}
			return
		}
		t.Stop()
	}
}

// flush writes what waits.
func (r *Recorder) flush() error {
	r.disk.Lock()
	defer r.disk.Unlock()
	r.mu.Lock()
	batch := r.pending
	if r.dropped > 0 {
		batch = append(batch, wire.BootEntry{At: r.since(), Kind: wire.EntryDropped, Count: r.dropped})
	}
	r.pending, r.dropped, r.force, r.urgent = nil, 0, false, 0
	upTo := r.noted
	r.mu.Unlock()
	err := r.ring.Append(batch)
	if err == nil {
		err = r.ring.Sync()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.kept = false
	} else {
		r.written = upTo
	}
	close(r.changed)
	r.changed = make(chan struct{})
	return err
}

// Flush waits until what was noted is on the disk, at most for a time; false
// when it is not. Call it before a risk.
func (r *Recorder) Flush(within time.Duration) bool {
	timeout := time.After(within)
	r.mu.Lock()
	defer r.mu.Unlock()
	target := r.noted
	for r.kept && r.written < target {
		r.force = true
		r.wake()
		changed := r.changed
		r.mu.Unlock()
		select {
		case <-changed:
		case <-timeout:
			r.mu.Lock()
			return false
		}
		r.mu.Lock()
	}
	return r.kept
}

// Hurry lets what was noted, and is noted at once, be written soon, whatever the
// budget. It does not wait.
func (r *Recorder) Hurry() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.force = r.kept
	r.wake()
}

// Release writes what waits and closes the files, so that their file system can
// be unmounted; it gives up after a time. Entries go on to memory only.
func (r *Recorder) Release(within time.Duration) error {
	if r.quit == nil {
		return nil
	}
	close(r.quit)
	r.quit = nil
	done := make(chan struct{})
	go func() {
		r.running.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(within):
		return fmt.Errorf("the record of the boot was not written within %s", within)
	}
	r.disk.Lock()
	defer r.disk.Unlock()
	r.mu.Lock()
	r.kept = false
	r.mu.Unlock()
	if r.ring == nil {
		return nil
	}
	err := r.ring.Close()
	r.ring = nil
	return err
}
