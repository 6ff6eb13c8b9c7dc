// Package flight is the flight recorder: what happened in the boots of a
// machine, written such that the last words of a boot survive its end, however
// that comes.
//
// A Ring holds the records of the last boots as files of frames. Files only
// grow, each entry has a checksum, and whatever is written is another file's or
// stands behind what was there: a cut loses what was not synced of the boot
// that it ends, and nothing else. A Recorder takes entries without ever waiting
// for a disk. Where there is no disk, the last words fit into a variable of the
// firmware (Words), and those of a dying kernel into what it keeps for them
// (Crash); the next boot that has a disk puts them where they belong.
package flight

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/instar-os/instar/internal/durable"
	"github.com/instar-os/instar/internal/reason"
	"github.com/instar-os/instar/internal/wire"
)

// Limits of a ring.
const (
	MaxBoots   = 32       // that are kept
	MaxBytes   = 2 << 20  // of all files
	maxSegment = 64 << 10 // of a file; the first and the last two of a boot are kept
	keptTails  = 2
	maxEntries = 4096 // of a boot, in memory and in an answer
)

// Ring is the records of boots in a directory. One goroutine at a time may use
// it.
type Ring struct {
	fs    durable.FS
	dir   string
	log   *durable.Log // of the last segment, or of one that is amended
	name  string       // of log
	boots []boot       // oldest first
	open  bool         // the last of boots is being written
	size  int64        // of the last segment
}

// boot is the files of one boot: segment 0 and those that are left.
type boot struct {
	number   int64
	segments []int
	bytes    int64
}

func (b *boot) file(i int) string { return fmt.Sprintf("%010d-%05d", b.number, b.segments[i]) }

// OpenRing looks into a directory, which is made when there is none. Names that
// are no record are left alone.
func OpenRing(k durable.FS, dir string) (*Ring, error) {
	if err := k.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("opening the record of boots: %w", err)
	}
	names, err := os.ReadDir(dir) // sorted
	if err != nil {
		return nil, fmt.Errorf("opening the record of boots: %w", err)
	}
	r := &Ring{fs: k, dir: dir}
	for _, e := range names {
		number, segment, ok := parseName(e.Name())
		if !ok {
			continue
		}
		if n := len(r.boots); n == 0 || r.boots[n-1].number != number {
			r.boots = append(r.boots, boot{number: number})
		}
		b := &r.boots[len(r.boots)-1]
		b.segments = append(b.segments, segment)
		b.bytes += maxSegment // what it may be; the sum only bounds the ring
	}
	return r, nil
}

func parseName(name string) (number int64, segment int, ok bool) {
	a, b, ok := strings.Cut(name, "-")
	if !ok || len(a) != 10 || len(b) != 5 {
		return 0, 0, false
	}
	number, err1 := strconv.ParseInt(a, 10, 64)
	segment, err2 := strconv.Atoi(b)
	return number, segment, err1 == nil && err2 == nil && number > 0 && segment >= 0
}

// Numbers returns the numbers of the boots, oldest first.
func (r *Ring) Numbers() []int64 {
	var all []int64
	for _, b := range r.boots {
		all = append(all, b.number)
	}
	return all
}

// Read returns the entries of a boot. Damage ends a file's entries; the rest of
// the boot is read all the same.
func (r *Ring) Read(number int64) ([]wire.BootEntry, error) {
	i, ok := r.find(number)
	if !ok {
		return nil, fmt.Errorf("no record of boot %d", number)
	}
	var all []wire.BootEntry
	b := &r.boots[i]
	for k, segment := range b.segments {
		content, err := r.read(b.file(k))
		if err != nil {
			return all, fmt.Errorf("reading boot %d: %w", number, err)
		}
		if k > 0 && segment > b.segments[k-1]+1 {
			all = append(all, wire.BootEntry{At: lastAt(all), Kind: wire.EntryDropped, Text: "older entries made room for newer ones"})
		}
		entries, _ := unframe(content)
		all = append(all, entries...)
	}
	return all, nil
}

// lastAt is when the last of entries was.
func lastAt(entries []wire.BootEntry) time.Duration {
	if len(entries) == 0 {
		return 0
	}
	return entries[len(entries)-1].At
}

func (r *Ring) find(number int64) (int, bool) {
	return slices.BinarySearchFunc(r.boots, number, func(b boot, n int64) int { return cmp.Compare(b.number, n) })
}

// Begin makes room and starts the record of a new boot, whose number it sets.
// The entries so far, the first of which is its EntryBegin, are synced.
func (r *Ring) Begin(entries []wire.BootEntry) (int64, error) {
	number := int64(1)
	if n := len(r.boots); n > 0 {
		number = r.boots[n-1].number + 1
	}
	if err := r.makeRoom(); err != nil {
		return 0, err
	}
	r.boots = append(r.boots, boot{number: number})
	r.open = true
	if err := r.segment(0); err != nil {
		return 0, err
	}
	for i := range entries {
		if id := entries[i].Boot; id != nil {
			with := *id
			with.Number = number
			entries[i].Boot = &with
		}
	}
	if err := errors.Join(r.Append(entries), r.Sync()); err != nil {
		last := len(r.boots) - 1 // what was not recorded whole is not there
		for i := range r.boots[last].segments {
			err = errors.Join(err, r.remove(r.boots[last].file(i)))
		}
		r.boots, r.open = r.boots[:last], false
		return 0, err
	}
	return number, nil
}

// Resume goes on with the last boot, in a file of its own, when it is the boot
// of an ID, and returns its entries so far.
func (r *Ring) Resume(id string) ([]wire.BootEntry, bool) {
	if len(r.boots) == 0 || id == "" {
		return nil, false
	}
	b := &r.boots[len(r.boots)-1]
	entries, err := r.Read(b.number)
	if err != nil || len(entries) == 0 || entries[0].Boot == nil || entries[0].Boot.ID != id {
		return nil, false
	}
	r.open = true
	return entries, r.segment(b.segments[len(b.segments)-1]+1) == nil
}

// segment begins a further file of the boot.
func (r *Ring) segment(n int) error {
	b := &r.boots[len(r.boots)-1]
	b.segments = append(b.segments, n)
	r.size = 0
	for len(b.segments) > 1+keptTails {
		if err := r.remove(b.file(1)); err != nil {
			return fmt.Errorf("recording the boot: %w", err)
		}
		b.segments = slices.Delete(b.segments, 1, 2)
	}
	b.bytes = int64(len(b.segments)) * maxSegment
	return nil
}

// makeRoom removes the oldest boots until one more fits.
func (r *Ring) makeRoom() error {
	total := int64(1+keptTails) * maxSegment
	for _, b := range r.boots {
		total += b.bytes
	}
	for len(r.boots) > 0 && (len(r.boots) >= MaxBoots || total > MaxBytes) {
		total -= r.boots[0].bytes
		if err := r.forget(); err != nil {
			return fmt.Errorf("making room for the record of a boot: %w", err)
		}
	}
	return nil
}

// forget removes the oldest boot.
func (r *Ring) forget() error {
	b := &r.boots[0]
	for i := len(b.segments) - 1; i >= 0; i-- { // the first file, which names the boot, goes last
		if err := r.remove(b.file(i)); err != nil {
			return err
		}
	}
	r.boots = r.boots[1:]
	return nil
}

// Append writes entries of the boot; they last after Sync.
func (r *Ring) Append(entries []wire.BootEntry) error {
	if !r.open {
		return errors.New("recording the boot: it was not begun")
	}
	var buf []byte
	flush := func() error {
		if len(buf) == 0 {
			return nil
		}
		b := &r.boots[len(r.boots)-1]
		err := r.write(b.file(len(b.segments)-1), buf)
		buf = buf[:0]
		if err != nil {
			return fmt.Errorf("recording the boot: %w", err)
		}
		return nil
	}
	for _, e := range entries {
		f := frame(e)
		if r.size+int64(len(f)) > maxSegment {
			b := &r.boots[len(r.boots)-1]
			if err := errors.Join(flush(), r.Sync(), r.segment(b.segments[len(b.segments)-1]+1)); err != nil {
				return err
			}
		}
		buf = append(buf, f...)
		r.size += int64(len(f))
	}
	return flush()
}

// Sync makes what was appended last.
func (r *Ring) Sync() error {
	if !r.open || r.size == 0 {
		return nil
	}
	b := &r.boots[len(r.boots)-1]
	if err := r.sync(b.file(len(b.segments) - 1)); err != nil {
		return fmt.Errorf("recording the boot: %w", err)
	}
	return nil
}

// Close ends the writing; a further Begin or Resume may follow.
func (r *Ring) Close() error {
	r.open = false
	return r.release()
}

// Amend adds entries to a boot that is over, in a file of their own, and syncs
// them. What it writes twice, after a cut, stands there twice.
func (r *Ring) Amend(number int64, entries []wire.BootEntry) error {
	i, ok := r.find(number)
	if !ok {
		return fmt.Errorf("no record of boot %d", number)
	}
	b := &r.boots[i]
	b.segments = append(b.segments, b.segments[len(b.segments)-1]+1)
	b.bytes += maxSegment
	var buf []byte
	for _, e := range entries {
		if f := frame(e); len(buf)+len(f) <= maxSegment {
			buf = append(buf, f...)
		}
	}
	name := b.file(len(b.segments) - 1)
	if err := errors.Join(r.write(name, buf), r.sync(name)); err != nil {
		return fmt.Errorf("amending the record of boot %d: %w", number, err)
	}
	return nil
}

// Insert records a boot that was over before it could be recorded.
func (r *Ring) Insert(entries []wire.BootEntry) (int64, error) {
	defer func() { r.open = false }()
	return r.Begin(entries)
}

func (r *Ring) read(name string) ([]byte, error) {
	f, err := os.Open(filepath.Join(r.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // begun, and nothing written yet
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 2*maxSegment))
}

// write appends to a file. On a full disk the oldest boots make room for the
// newest words, but never this boot and the one before it.
func (r *Ring) write(name string, b []byte) error {
	for {
		err := r.use(name)
		if err == nil {
			var n int
			n, err = r.log.Write(b)
			b = b[n:]
		}
		if !errors.Is(err, syscall.ENOSPC) || len(r.boots) <= 2 || r.forget() != nil {
			return err
		}
	}
}

func (r *Ring) sync(name string) error {
	if err := r.use(name); err != nil {
		return err
	}
	return r.log.Sync()
}

// use opens a file for writing in place of the one that is open.
func (r *Ring) use(name string) error {
	if r.log != nil && r.name == name {
		return nil
	}
	if err := r.release(); err != nil {
		return err
	}
	l, err := r.fs.OpenLog(filepath.Join(r.dir, name), 0o600)
	if err == nil {
		r.log, r.name = l, name
	}
	return err
}

func (r *Ring) release() error {
	if r.log == nil {
		return nil
	}
	err := r.log.Close()
	r.log, r.name = nil, ""
	return err
}

func (r *Ring) remove(name string) error {
	if r.name == name {
		if err := r.release(); err != nil {
			return err
		}
	}
	return r.fs.Unlink(filepath.Join(r.dir, name))
}

// Describe makes a line of a boot's entries.
func Describe(number int64, entries []wire.BootEntry) wire.BootInfo {
	info := wire.BootInfo{BootIdentity: wire.BootIdentity{Number: number}, Start: reason.Unknown}
	for _, e := range entries {
		info.Lasted = max(info.Lasted, e.At+e.Took)
		if info.End == reason.HandedOver && e.Kind != wire.EntryCrash && e.Kind != wire.EntryEnd {
			info.End, info.Detail = "", "" // the host's service has gone on with it
		}
		switch e.Kind {
		case wire.EntryBegin:
			info.Start = e.Reason
			if e.Boot != nil {
				info.BootIdentity = *e.Boot
				info.Number = number
			}
			if !e.Time.IsZero() {
				info.Began = e.Time.Add(-e.At)
			}
		case wire.EntryWrong:
			if info.Wrong == "" {
				info.Wrong, info.Detail = e.Reason, e.Text
			}
		case wire.EntryEnd:
			info.End = e.Reason
			if info.Detail == "" || e.Reason == reason.Panic || e.Reason == reason.InitCrash {
				info.Detail = e.Text
			}
		case wire.EntryAlive:
			if e.Name == healthyMark {
				info.Healthy = e.At
			}
		}
		if info.Began.IsZero() && !e.Time.IsZero() {
			info.Began = e.Time.Add(-e.At)
		}
	}
	return info
}

// healthyMark is the name of the EntryAlive when all containers were healthy.
const healthyMark = "healthy"
