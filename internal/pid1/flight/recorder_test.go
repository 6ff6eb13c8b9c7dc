package flight

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/instar-os/instar/internal/durable"
	"github.com/instar-os/instar/internal/reason"
	"github.com/instar-os/instar/internal/wire"
)

// patience is how long a test waits for a disk.
const patience = time.Minute

// recorder returns one in a bubble or outside, whose kernel starts now.
func recorder(t *testing.T, k durable.FS) *Recorder {
	began := time.Now()
	r := New(Options{Now: time.Now, Since: func() time.Duration { return time.Since(began) + 1 }, Log: t.Logf, FS: k})
	r.Identify(wire.BootIdentity{ID: t.Name(), System: "s", Configuration: "day"})
	return r
}

func nothing() Evidence { return Evidence{} }

func TestRecorder(t *testing.T) {
	dir := t.TempDir()
	r := recorder(t, durable.FS{})
	r.Note(wire.BootEntry{Kind: wire.EntryStep, Name: "before", Took: 5})
	r.Keep(dir, nothing)
	r.Note(line(0, "while it opens"))
	for !r.Flush(patience) {
		time.Sleep(time.Millisecond) // not open yet
	}
	r.Healthy()
	r.Wrong(reason.ConfigFailed, "a step", "why")
	list, err := r.Boots()
	if err != nil || !list.Kept || len(list.Boots) != 1 || !list.Boots[0].Current || list.Boots[0].Start != reason.PowerOn ||
		list.Boots[0].Wrong != reason.ConfigFailed || list.Boots[0].Healthy == 0 {
		t.Errorf("boots %+v, %v", list, err)
	}
	r.Note(wire.BootEntry{Kind: wire.EntryEnd, Reason: reason.Reboot})
	if err := r.Release(patience); err != nil {
		t.Fatal(err)
	}
	r.Note(line(0, "after the end"))

	again := recorder(t, durable.FS{})
	again.Identify(wire.BootIdentity{ID: "another"})
	again.Keep(dir, nothing)
	defer again.Release(patience)
	for !again.Flush(patience) {
		time.Sleep(time.Millisecond)
	}
	old, err := again.Boot(wire.BootRequest{Number: -1})
	if err != nil || old.Number != 1 || old.End != reason.Reboot || old.System != "s" || len(old.Entries) != 6 {
		t.Errorf("boot 1: %+v, %v", old, err)
	}
	now, err := again.Boot(wire.BootRequest{})
	if err != nil || now.Number != 2 || now.Start != reason.Reboot || !now.Current {
		t.Errorf("boot 2: %+v, %v", now, err)
	}
	for _, n := range []int64{7, -5} {
		if _, err := again.Boot(wire.BootRequest{Number: n}); err == nil {
			t.Errorf("boot %d is known", n)
		}
	}
}

// stuck is a disk that answers when it is told to.
type stuck struct {
	mu   sync.Mutex
	free chan struct{}
}

func (s *stuck) Call(c durable.Call, do func() error) error {
	s.mu.Lock()
	free := s.free
	s.mu.Unlock()
	if c.Op == durable.WriteOp && free != nil {
		<-free
	}
	return do()
}

// Nobody waits for a disk that hangs; what does not fit is counted.
func TestStuckDisk(t *testing.T) {
	s := &stuck{free: make(chan struct{})}
	r := recorder(t, durable.FS{Hook: s})
	dir := t.TempDir()
	r.Keep(dir, nothing)
	for r.Flush(time.Millisecond); ; time.Sleep(time.Millisecond) {
		r.mu.Lock()
		kept := r.kept
		r.mu.Unlock()
		if kept {
			break
		}
	}
	const n = 3 * maxPending
	for i := range n {
		r.Note(wire.BootEntry{Kind: wire.EntryWrong, Reason: reason.Unknown, Name: fmt.Sprint(i)})
	}
	if r.Flush(10 * time.Millisecond) {
		t.Error("a stuck disk has flushed")
	}
	close(s.free)
	if err := r.Release(patience); err != nil {
		t.Fatal(err)
	}
	entries, err := openRing(t, durable.FS{}, dir).Read(1)
	there, missing := 0, 0
	for _, e := range entries {
		there += map[bool]int{true: 1}[e.Kind == wire.EntryWrong]
		missing += e.Count
	}
	if err != nil || there != maxPending || missing != n-maxPending {
		t.Errorf("%d entries and %d missing of %d, %v", there, missing, n, err)
	}
}

// counter counts syncs and bytes.
type counter struct {
	mu    sync.Mutex
	syncs int
}

func (c *counter) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.syncs
}

func (c *counter) Call(call durable.Call, do func() error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if call.Op == durable.SyncOp {
		c.syncs++
	}
	return do()
}

// TestWear proves the promise about flash: a quiet day and the worst one.
func TestWear(t *testing.T) {
	for _, row := range []struct {
		name  string
		every time.Duration // between urgent entries of 300 bytes; 0: none
		flush int
		size  int64
	}{
		{"quiet", 0, 30, 16 << 10},
		{"crashing", 2 * time.Second, 240, 1300 << 10},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := t.TempDir()
			c := &counter{}
			synctest.Test(t, func(t *testing.T) {
				r := recorder(t, durable.FS{Hook: c})
				r.Keep(dir, nothing)
				synctest.Wait()
				begin, day := c.count(), time.After(24*time.Hour)
				for over := false; !over; {
					pause := 24 * time.Hour
					if row.every > 0 {
						pause = row.every
						r.Note(wire.BootEntry{Kind: wire.EntryContainer, Name: "x", State: wire.Failed, Text: strings.Repeat("y", 300)})
						r.Note(line(0, strings.Repeat("z", 300)))
					}
					select {
					case <-time.After(pause):
					case <-day:
						over = true
					}
				}
				if n := c.count() - begin; n > row.flush || n < 20 {
					t.Errorf("%d flushes, want at most %d", n, row.flush)
				}
				if err := r.Release(patience); err != nil {
					t.Error(err)
				}
			})
			var size int64
			files, _ := os.ReadDir(dir)
			for _, f := range files {
				if st, err := f.Info(); err == nil {
					size += st.Size()
				}
			}
			if size > row.size {
				t.Errorf("%d bytes, want at most %d", size, row.size)
			}
		})
	}
}

// words is a variable of the firmware.
type variable struct {
	text   string
	writes int
}

func (v *variable) words() *Words {
	return &Words{
		Read:   func() (string, error) { return v.text, nil },
		Write:  func(s string) error { v.text, v.writes = s, v.writes+1; return nil },
		Delete: func() error { v.text = ""; return nil },
	}
}

func TestWords(t *testing.T) {
	v := &variable{}
	for range 3 { // three boots fail in the same way
		r := recorder(t, durable.FS{})
		r.Identify(wire.BootIdentity{ID: "without-disk", System: strings.Repeat("a", 64), Configuration: "day"})
		r.SetWords(v.words())
		r.Wrong(reason.CannotRun, "find the store", strings.Repeat("ä", 4000))
	}
	if v.writes != 1 || 2*len([]rune(v.text)) >= 1000 {
		t.Errorf("%d writes, %d characters", v.writes, len([]rune(v.text)))
	}
	dir := t.TempDir()
	for boot := range 2 {
		r := recorder(t, durable.FS{})
		r.Keep(dir, func() Evidence { return Evidence{Words: v.words()} })
		for !r.Flush(patience) {
			time.Sleep(time.Millisecond)
		}
		list, err := r.Boots()
		if err != nil || len(list.Boots) != 2 {
			t.Fatalf("%+v, %v", list, err)
		}
		b := list.Boots[0]
		if b.ID != "without-disk" || b.Wrong != reason.CannotRun || b.End != reason.CannotRun || !strings.HasPrefix(b.Detail, "äää") {
			t.Errorf("the boot without a disk: %+v", b)
		}
		if v.text != "" {
			t.Errorf("boot %d: the variable is still there", boot)
		}
		if err := r.Release(patience); err != nil {
			t.Fatal(err)
		}
	}
}

func TestHowBootsBeginAndEnd(t *testing.T) {
	panicked := &Crash{Kind: "Panic", Text: "a\nKernel panic - not syncing: sysrq triggered crash\n"}
	killed := &Crash{Kind: "Panic", Text: "Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000200\n"}
	oops := &Crash{Kind: "Oops", Text: "BUG: unable to handle page fault\n"}
	for _, row := range []struct {
		name       string
		end        reason.Code // written by the boot before
		ev         Evidence
		ended, now reason.Code
	}{
		{"powered off", reason.PowerOff, Evidence{}, reason.PowerOff, reason.PowerOn},
		{"rebooted", reason.Reboot, Evidence{}, reason.Reboot, reason.Reboot},
		{"kexec", reason.Kexec, Evidence{Kexec: true}, reason.Kexec, reason.Kexec},
		{"kexec that firmware did", reason.Kexec, Evidence{}, reason.Kexec, reason.Reboot},
		{"power cut", "", Evidence{}, reason.Reset, reason.Reset},
		{"watchdog", "", Evidence{Watchdog: true}, reason.Watchdog, reason.Watchdog},
		{"panic", "", Evidence{Crash: panicked, Watchdog: true}, reason.Panic, reason.Panic},
		{"init died", "", Evidence{Crash: killed}, reason.InitCrash, reason.Panic},
		{"oops, then power cut", "", Evidence{Crash: oops}, reason.Reset, reason.Reset},
		{"could not run", reason.CannotRun, Evidence{}, reason.CannotRun, reason.Reboot},
		{"elsewhere", reason.Stopped, Evidence{Starts: reason.Started}, reason.Stopped, reason.Started},
	} {
		dir := t.TempDir()
		ring := openRing(t, durable.FS{}, dir)
		entries := []wire.BootEntry{first("before")}
		if row.end != "" {
			entries = append(entries, wire.BootEntry{At: 9, Kind: wire.EntryEnd, Reason: row.end})
		}
		if _, err := ring.Begin(entries); err != nil {
			t.Fatal(err)
		}
		ring.Close()
		r := recorder(t, durable.FS{})
		r.Keep(dir, func() Evidence { return row.ev })
		for !r.Flush(patience) {
			time.Sleep(time.Millisecond)
		}
		list, err := r.Boots()
		if err != nil || len(list.Boots) != 2 || list.Boots[0].End != row.ended || list.Boots[1].Start != row.now {
			t.Errorf("%s: %+v, %v", row.name, list, err)
		}
		if err := r.Release(patience); err != nil {
			t.Error(err)
		}
	}
}

// A second process, as the service of a host, goes on with the record.
func TestResume(t *testing.T) {
	dir := t.TempDir()
	for i := range 2 {
		r := recorder(t, durable.FS{})
		r.Keep(dir, nothing)
		for !r.Flush(patience) {
			time.Sleep(time.Millisecond)
		}
		r.Note(line(i, fmt.Sprint("process ", i)))
		if list, err := r.Boots(); err != nil || len(list.Boots) != 1 || list.Boots[0].End != "" {
			t.Errorf("process %d: %+v, %v", i, list, err)
		}
		r.Note(wire.BootEntry{Kind: wire.EntryEnd, Reason: []reason.Code{reason.HandedOver, reason.Stopped}[i]})
		if err := r.Release(patience); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := openRing(t, durable.FS{}, dir).Read(1)
	if info := Describe(1, entries); err != nil || info.End != reason.Stopped || len(entries) != 5 {
		t.Errorf("%+v: %+v, %v", info, entries, err)
	}
}

func TestCrash(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"dmesg-efi_pstore-1": "Panic#2 Part2\n<4>[ 1.0] older\n",
		"dmesg-efi_pstore-2": "Panic#2 Part1\n<0>[ 2.0] Kernel panic - not syncing: sysrq triggered crash\n",
		"dmesg-efi_pstore-3": "Oops#1 Part1\n<4>[ 0.5] oops\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := ReadCrash(dir)
	const want = "Oops\n<4>[ 0.5] oops\nPanic\n<4>[ 1.0] older\n<0>[ 2.0] Kernel panic - not syncing: sysrq triggered crash\n"
	if err != nil || c.Text != want || c.Kind != "Panic" {
		t.Fatalf("%+v, %v", c, err)
	}
	if code, text := c.verdict(); code != reason.Panic || text != "sysrq triggered crash" {
		t.Errorf("%s: %s", code, text)
	}
	if err := c.clear(); err != nil {
		t.Fatal(err)
	}
	if c, err := ReadCrash(dir); c != nil || err != nil {
		t.Errorf("after clear: %+v, %v", c, err)
	}
	long := &Crash{}
	long.join(map[string][]byte{"a": []byte("Panic#1 Part1\n" + strings.Repeat("0123456789\n", maxCrash))})
	total := 0
	for _, e := range long.entries() {
		if len(e.Text) > maxText {
			t.Fatalf("an entry of %d bytes", len(e.Text))
		}
		total += len(e.Text)
	}
	if len(long.Text) > maxCrash || total < maxCrash*9/10 {
		t.Errorf("%d bytes in entries of %d", len(long.Text), total)
	}
}

// kmsg gives one message a read.
type kmsg struct{ messages []any }

func (k *kmsg) Read(p []byte) (int, error) {
	if len(k.messages) == 0 {
		return 0, io.EOF
	}
	m := k.messages[0]
	k.messages = k.messages[1:]
	if err, ok := m.(error); ok {
		return 0, err
	}
	return copy(p, m.(string)), nil
}

func TestKernel(t *testing.T) {
	r := recorder(t, durable.FS{})
	if err := r.FollowKernel(&kmsg{[]any{
		"6,1,100,-;information\n", "4,2,200,-;a warning\n SUBSYSTEM=x\n", "12,3,300,-;of a user\n", errors.New("x"),
	}}); err == nil {
		t.Error("a broken source is no error")
	}
	var all []any
	for i := range 3 * kernelBurst {
		all = append(all, fmt.Sprintf("3,%d,400,-;error %d\n", i, i))
	}
	if err := r.FollowKernel(&kmsg{all}); err != nil {
		t.Fatal(err)
	}
	b, _ := r.Boot(wire.BootRequest{})
	if e := b.Entries[1]; e.Text != "a warning" || e.At != 200*time.Microsecond || e.Level != 4 {
		t.Errorf("%+v", e)
	}
	if n := len(b.Entries); n < kernelBurst || n > kernelBurst+10 {
		t.Errorf("%d entries", n)
	}
}

func FuzzForeign(f *testing.F) {
	f.Add([]byte("4,2,200,-;a warning\n SUBSYSTEM=x\n"))
	f.Add([]byte("Panic#2 Part1\n<0>[ 2.0] Kernel panic - not syncing: x\n"))
	f.Add([]byte(`{"id":"x","at":5,"reason":"panic"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, ok := parseKernel(b); ok && (e.Level > kernelWarning || e.At <= 0) {
			t.Errorf("%+v", e)
		}
		c := &Crash{}
		c.join(map[string][]byte{"a": b, "b": bytes.ToUpper(b)})
		c.verdict()
		for _, e := range c.entries() {
			if len(e.Text) > 3*maxText {
				t.Errorf("%d bytes", len(e.Text))
			}
		}
		if w, err := parseWords(string(b)); err == nil {
			if text, err := w.encode(); err == nil && len([]rune(text)) > maxWords {
				t.Errorf("%d characters", len([]rune(text)))
			}
		}
	})
}

func BenchmarkNote(b *testing.B) {
	began := time.Now()
	r := New(Options{Now: time.Now, Since: func() time.Duration { return time.Since(began) }, Log: b.Logf})
	e := wire.BootEntry{Kind: wire.EntryStep, Name: "mount /proc", Took: 5, At: 1}
	for b.Loop() {
		r.Note(e)
	}
}
