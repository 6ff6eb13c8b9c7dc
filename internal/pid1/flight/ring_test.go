package flight

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/durable"
	"github.com/instar-os/instar/internal/reason"
	"github.com/instar-os/instar/internal/wire"
)

func line(n int, text string) wire.BootEntry {
	return wire.BootEntry{At: time.Duration(n) * time.Millisecond, Kind: wire.EntryLine, Text: text}
}

func first(id string) wire.BootEntry {
	return wire.BootEntry{At: 1, Kind: wire.EntryBegin, Reason: reason.PowerOn, Boot: &wire.BootIdentity{ID: id}}
}

func openRing(t *testing.T, k durable.FS, dir string) *Ring {
	t.Helper()
	r, err := OpenRing(k, dir)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRing(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "somebody's"), nil, 0o600)
	for n := int64(1); n <= 3; n++ {
		r := openRing(t, durable.FS{}, dir)
		got, err := r.Begin([]wire.BootEntry{first(fmt.Sprint("id", n)), line(1, "one")})
		if err != nil || got != n {
			t.Fatalf("boot %d is number %d, %v", n, got, err)
		}
		if err := errors.Join(r.Append([]wire.BootEntry{line(2, "two")}), r.Sync(), r.Close()); err != nil {
			t.Fatal(err)
		}
	}
	r := openRing(t, durable.FS{}, dir)
	if err := r.Amend(2, []wire.BootEntry{{Kind: wire.EntryEnd, At: 5e6, Reason: reason.Watchdog}}); err != nil {
		t.Fatal(err)
	}
	if before, ok := r.Resume("id2"); ok {
		t.Errorf("resumed boot 2: %v", before)
	}
	if before, ok := r.Resume("id3"); !ok || len(before) != 3 {
		t.Fatalf("boot 3 is not resumed: %v", before)
	}
	if err := errors.Join(r.Append([]wire.BootEntry{line(3, "three")}), r.Close()); err != nil {
		t.Fatal(err)
	}
	r = openRing(t, durable.FS{}, dir)
	for n, want := range map[int64]string{1: "one two", 2: "one two ", 3: "one two three"} {
		entries, err := r.Read(n)
		var texts []string
		for _, e := range entries[1:] {
			texts = append(texts, e.Text)
		}
		if got := strings.Join(texts, " "); got != want || err != nil {
			t.Errorf("boot %d: %q, %v; want %q", n, got, err, want)
		}
		info := Describe(n, entries)
		if info.ID != fmt.Sprint("id", n) || info.Number != n || (info.End == reason.Watchdog) != (n == 2) {
			t.Errorf("boot %d: %+v", n, info)
		}
	}
	if _, err := r.Read(4); err == nil {
		t.Error("boot 4 can be read")
	}
}

// A ring is bounded, in boots and in bytes, and a long boot keeps its beginning
// and its end.
// full is a disk with room for so many files' writes.
type full struct{ free int }

func (f *full) Call(c durable.Call, do func() error) error {
	switch c.Op {
	case durable.WriteOp:
		if f.free == 0 {
			return &os.PathError{Op: "write", Path: c.Path, Err: syscall.ENOSPC}
		}
		f.free--
	case durable.UnlinkOp:
		f.free++
	}
	return do()
}

// On a full disk the newest boots are recorded in the place of the oldest, and
// where there is no place what was recorded can be read.
func TestFullDisk(t *testing.T) {
	dir, disk := t.TempDir(), &full{free: 4}
	boot := func(n int) error {
		r := openRing(t, durable.FS{Hook: disk}, dir)
		defer r.Close()
		_, err := r.Begin([]wire.BootEntry{first(fmt.Sprint(n)), line(n, "words")})
		return err
	}
	for n := 1; n <= 7; n++ {
		if err := boot(n); err != nil {
			t.Fatalf("boot %d: %v", n, err)
		}
	}
	r := openRing(t, durable.FS{}, dir)
	if got := r.Numbers(); !slices.Equal(got, []int64{4, 5, 6, 7}) {
		t.Errorf("boots %v are kept", got)
	}
	for _, n := range r.Numbers() {
		if entries, err := r.Read(n); err != nil || len(entries) != 2 {
			t.Errorf("boot %d: %v, %v", n, entries, err)
		}
	}
	for range 3 { // somebody else takes what is freed
		if err := r.forget(); err != nil {
			t.Fatal(err)
		}
	}
	if err := boot(8); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("without any room: %v", err)
	}
	if got := openRing(t, durable.FS{}, dir).Numbers(); !slices.Equal(got, []int64{7}) {
		t.Errorf("then boots %v are kept", got)
	}
}

func TestRingIsBounded(t *testing.T) {
	dir := t.TempDir()
	long := strings.Repeat("x", 1000)
	for n := range MaxBoots + 8 {
		r := openRing(t, durable.FS{}, dir)
		if _, err := r.Begin([]wire.BootEntry{first(fmt.Sprint(n)), line(0, "the beginning")}); err != nil {
			t.Fatal(err)
		}
		var lines []wire.BootEntry
		for i := range 300 {
			lines = append(lines, line(i, long))
		}
		if err := errors.Join(r.Append(lines), r.Append([]wire.BootEntry{line(9e5, "the end")}), r.Close()); err != nil {
			t.Fatal(err)
		}
		var size int64
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if st, err := e.Info(); err == nil {
				size += st.Size()
			}
		}
		if size > MaxBytes {
			t.Fatalf("after %d boots: %d bytes", n+1, size)
		}
	}
	r := openRing(t, durable.FS{}, dir)
	numbers := r.Numbers()
	if n := len(numbers); n > MaxBoots || n < MaxBytes/(1+keptTails)/maxSegment/2 || numbers[n-1] != MaxBoots+8 {
		t.Errorf("%d boots are kept: %v", n, numbers)
	}
	for _, n := range numbers {
		got, err := r.Read(n)
		if err != nil || len(got) < 100 || got[1].Text != "the beginning" || got[len(got)-1].Text != "the end" {
			t.Fatalf("boot %d: %d entries, %v", n, len(got), err)
		}
		gap := false
		for _, e := range got {
			gap = gap || e.Kind == wire.EntryDropped
		}
		if !gap {
			t.Errorf("boot %d does not say that entries are missing", n)
		}
	}
}

var errCut = errors.New("power cut")

// power is a durable.Hook that cuts the power at a call. Afterwards the disk has
// what was synced, and of the rest as much as chance leaves.
type power struct {
	dir    string
	left   int // calls until the cut
	synced map[string]int64
	named  map[string]bool
	gone   map[string][]byte // unlinked, and the directory not synced yet
}

func (p *power) Call(c durable.Call, do func() error) error {
	if p.left <= 0 {
		return errCut
	}
	p.left--
	name := filepath.Base(c.Path)
	switch c.Op {
	case durable.UnlinkOp:
		b, _ := os.ReadFile(c.Path)
		p.gone[name] = b
	}
	if err := do(); err != nil {
		return err
	}
	switch c.Op {
	case durable.SyncOp:
		if st, err := os.Stat(c.Path); err == nil {
			p.synced[name] = st.Size()
		}
	case durable.SyncDirOp:
		p.gone = map[string][]byte{}
		names, _ := os.ReadDir(p.dir)
		for _, e := range names {
			p.named[e.Name()] = true
		}
	}
	return nil
}

// crash makes of the directory what a cut leaves.
func (p *power) crash(t *testing.T, chance *rand.Rand) {
	t.Helper()
	for name, b := range p.gone {
		if chance.IntN(2) == 0 {
			os.WriteFile(filepath.Join(p.dir, name), b, 0o600)
		}
	}
	names, err := os.ReadDir(p.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range names {
		path := filepath.Join(p.dir, e.Name())
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, gone := p.gone[e.Name()]; gone {
			continue
		}
		if !p.named[e.Name()] && chance.IntN(2) == 0 {
			os.Remove(path)
			continue
		}
		keep := int(p.synced[e.Name()])
		if extra := len(b) - keep; extra > 0 {
			n := chance.IntN(extra + 1)
			b = b[:keep+n]
			if n > 0 && chance.IntN(2) == 0 { // the size came first, the content did not
				clear(b[keep+chance.IntN(n):])
			}
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCuts cuts the power at every call of three boots, the last of which
// amends the one before and makes room. What was acknowledged is there
// afterwards, in order; what was not is there up to some entry, or not.
func TestCuts(t *testing.T) {
	text := strings.Repeat("abcdefgh", 64)
	for seed := range uint64(3) {
		for cut := 0; ; cut++ {
			chance := rand.New(rand.NewPCG(seed, uint64(cut)))
			dir := t.TempDir()
			p := &power{dir: dir, left: cut, synced: map[string]int64{}, named: map[string]bool{}, gone: map[string][]byte{}}
			wrote, acked, over := map[int64][]wire.BootEntry{}, map[int64]int{}, false
			for boot := int64(1); boot <= 3 && !over; boot++ {
				over = scenario(p, boot, text, wrote, acked) != nil
			}
			p.crash(t, chance)
			r := openRing(t, durable.FS{}, dir)
			for n, all := range wrote {
				got, err := r.Read(n)
				if err != nil && acked[n] > 0 {
					t.Fatalf("seed %d, cut %d: boot %d: %v", seed, cut, n, err)
				}
				if len(got) < acked[n] || len(got) > len(all) || len(got) > 0 && !reflect.DeepEqual(got, all[:len(got)]) {
					t.Fatalf("seed %d, cut %d: boot %d has %d entries, %d were acknowledged, %d written", seed, cut, n, len(got), acked[n], len(all))
				}
			}
			if n, err := r.Begin([]wire.BootEntry{first("after")}); err != nil || n < int64(len(acked)) {
				t.Fatalf("seed %d, cut %d: the boot after is number %d, %v", seed, cut, n, err)
			}
			r.Close()
			if !over {
				if cut < 20 {
					t.Fatalf("only %d calls", cut)
				}
				break
			}
		}
	}
}

func scenario(p *power, boot int64, text string, wrote map[int64][]wire.BootEntry, acked map[int64]int) error {
	r, err := OpenRing(durable.FS{Hook: p}, p.dir)
	if err != nil {
		return err
	}
	defer r.release()
	if boot == 3 {
		end := wire.BootEntry{Kind: wire.EntryEnd, Reason: reason.Reset}
		wrote[2] = append(wrote[2], end)
		if err := r.Amend(2, []wire.BootEntry{end}); err != nil {
			return err
		}
		acked[2]++
	}
	begin := first(fmt.Sprint(boot))
	begin.Boot.Number = boot
	wrote[boot] = []wire.BootEntry{begin}
	if _, err := r.Begin([]wire.BootEntry{begin}); err != nil {
		return err
	}
	acked[boot] = 1
	for i := range 3 {
		for k := range 2 {
			e := line(10*i+k+1, text)
			wrote[boot] = append(wrote[boot], e)
			if err := r.Append([]wire.BootEntry{e}); err != nil {
				return err
			}
		}
		if err := r.Sync(); err != nil {
			return err
		}
		acked[boot] = len(wrote[boot])
	}
	return nil
}

// The cut test must be able to fail.
func TestCutsFindMissingSync(t *testing.T) {
	dir := t.TempDir()
	p := &power{dir: dir, left: 1000, synced: map[string]int64{}, named: map[string]bool{}, gone: map[string][]byte{}}
	r := openRing(t, durable.FS{Hook: p}, dir)
	if _, err := r.Begin([]wire.BootEntry{first("x")}); err != nil {
		t.Fatal(err)
	}
	r.Append([]wire.BootEntry{line(1, "lost")}) // no Sync
	p.left = 0
	lost := false
	for seed := range uint64(20) {
		copied := t.TempDir()
		b, _ := os.ReadFile(filepath.Join(dir, "0000000001-00000"))
		os.WriteFile(filepath.Join(copied, "0000000001-00000"), b, 0o600)
		q := *p
		q.dir = copied
		q.crash(t, rand.New(rand.NewPCG(seed, 1)))
		got, err := openRing(t, durable.FS{}, copied).Read(1)
		lost = lost || err != nil || len(got) < 2
	}
	if !lost {
		t.Error("what was not synced is never lost: the cut does not cut")
	}
}

func FuzzUnframe(f *testing.F) {
	one := frame(first("x"))
	f.Add(one)
	f.Add(append(one, frame(line(1, "y"))...))
	f.Add(append(one[:len(one)-1], 0, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, good := unframe(b)
		if good > len(b) || good < len(entries)*frameHeader {
			t.Fatalf("%d entries in %d of %d bytes", len(entries), good, len(b))
		}
		again, n := unframe(b[:good])
		if n != good || len(again) != len(entries) {
			t.Fatalf("read again: %d of %d entries", len(again), len(entries))
		}
		Describe(1, entries)
	})
}
