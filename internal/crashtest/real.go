package crashtest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/crashtest/blocks"
	"github.com/instar-os/instar/internal/crashtest/fuse"
	"github.com/instar-os/instar/internal/durable"
)

// Medium is a kind of real file system for level 1: how it is made on a file,
// mounted and checked.
type Medium struct {
	Type    string
	Size    int64 // bytes
	Make    []string
	Options string
	Check   []string // exits with 0 when the file holds a sound file system
	Super   Span     // its superblock, which it takes for written at once
}

// Span is a part of a disk in bytes.
type Span struct{ Off, Size int64 }

// unit makes a span one sector for tears.
func (s Span) unit(sector int64) int64 {
	if at := sector * blockSize; at >= s.Off && at < s.Off+s.Size {
		return s.Off / blockSize
	}
	return sector
}

// Media are the file systems that the house is used on.
var Media = []Medium{
	{"ext4", 48 << 20, []string{"mkfs.ext4", "-q", "-F", "-O", "verity"}, "", []string{"e2fsck", "-fn"}, Span{1024, 1024}},
	{"xfs", 300 << 20, []string{"mkfs.xfs", "-q", "-f"}, "nouuid", []string{"xfs_repair", "-n"}, Span{}},
	{"btrfs", 128 << 20, []string{"mkfs.btrfs", "-q", "-f"}, "", []string{"btrfs", "check", "--readonly", "--force"}, Span{64 << 10, 4096}},
}

// Missing says what the machine lacks for level 1 on a medium; nil for nothing.
func (m Medium) Missing() error {
	for _, tool := range []string{m.Make[0], m.Check[0]} {
		if _, err := exec.LookPath(tool); err != nil {
			return err
		}
	}
	if os.Getuid() != 0 {
		return errors.New("mounting needs root")
	}
	list, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return err
	}
	for _, t := range []string{m.Type, "fuse"} {
		if !strings.Contains(string(list), "\t"+t+"\n") && exec.Command("modprobe", "-q", t).Run() != nil {
			return fmt.Errorf("the kernel has no %s", t)
		}
	}
	for _, dev := range []string{"/dev/fuse", "/dev/loop-control"} {
		if _, err := os.Stat(dev); err != nil {
			return err
		}
	}
	return nil
}

// RealOptions say how much of level 1 is done.
type RealOptions struct {
	PerCut int          // states after each write or flush; 0 and 1: what had to last and nothing else
	Torn   bool         // every second of them has its writes torn
	Every  int          // only every so many of the writes and flushes; 0: 1
	Faults int          // of how many writes and flushes at most one fails; 0: none
	Spaces []int        // KiB that are left free when space runs out
	Fsck   int          // every how many states the file system's own checker looks as well; 0: never
	Hook   durable.Hook `json:"-"`

	// Mend repairs a disk whose file system does not mount, and says whether it
	// did; nil: it must mount.
	Mend func(disk fuse.File) (bool, error) `json:"-"`
}

// RealResult counts what was tried of a scenario on a medium.
type RealResult struct {
	Scenario string         `json:"scenario"`
	Medium   string         `json:"medium"`
	Writes   int            `json:"writes"`
	Flushes  int            `json:"flushes"`
	States   int            `json:"states"`
	Checked  int            `json:"checked"` // of States, by the file system's checker too
	Faults   int            `json:"faults"`  // writes and flushes that failed
	Spaces   int            `json:"spaces"`  // times that space ran out, or nearly
	Outcomes map[string]int `json:"outcomes"`
	Mended   int            `json:"mended"` // states that did not mount before they were mended
	Failure  string         `json:"failure,omitempty"`
}

// bench is a place for level 1: a server of disks and where they are mounted.
type bench struct {
	s      *Scenario
	m      Medium
	o      RealOptions
	server *fuse.Server
	top    string
	base   *os.File // the medium as Setup has left it
	res    *RealResult
	n      int
}

// patience is how long a scenario may take on a medium before its disk fails.
const patience = 20 * time.Minute

// RunOn runs a scenario on a real file system whose disk is recorded, and looks
// at what cuts and failures of that disk leave of it. A Failure of the result is
// one of the code or of the file system; an error, of the bench.
func RunOn(s *Scenario, m Medium, o RealOptions) (*RealResult, error) {
	top, err := Scratch()
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(top)
	b := &bench{s: s, m: m, o: o, top: top, res: &RealResult{Scenario: s.Name, Medium: m.Type, Outcomes: map[string]int{}}}
	for _, d := range []string{"fuse", "mnt"} {
		if err := os.Mkdir(filepath.Join(top, d), 0o700); err != nil {
			return nil, err
		}
	}
	if b.server, err = fuse.Mount(filepath.Join(top, "fuse")); err != nil {
		return nil, err
	}
	defer b.server.Close()
	late := time.AfterFunc(patience, func() { _ = b.server.Abort() }) // else a lost request is waited for for ever
	defer late.Stop()
	if err := b.prepare(); err != nil {
		return nil, fmt.Errorf("%s on %s: %w", s.Name, m.Type, err)
	}
	defer b.base.Close()
	for _, step := range []func() error{b.cuts, b.faults, b.spaces} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("%s on %s: %w", s.Name, m.Type, err)
		}
		if b.res.Failure != "" {
			break
		}
	}
	return b.res, nil
}

// prepare makes the file system and what is there before.
func (b *bench) prepare() error {
	name := filepath.Join(b.top, "base")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		return err
	}
	if err := os.Truncate(name, b.m.Size); err != nil {
		return err
	}
	if out, err := exec.Command(b.m.Make[0], append(b.m.Make[1:], name)...).CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w: %s", b.m.Make, err, out)
	}
	var err error
	if b.base, err = os.OpenFile(name, os.O_RDWR, 0); err != nil {
		return err
	}
	return b.mounted(name, func(dir string) error {
		e := &Env{Dir: filepath.Join(dir, "d")}
		if err := os.Mkdir(e.Dir, 0o755); err != nil || b.s.Setup == nil {
			return err
		}
		return b.s.Setup(e)
	})
}

// mountError says that a file system cannot be mounted.
type mountError struct{ err error }

func (e *mountError) Error() string { return "it does not mount: " + e.err.Error() }
func (e *mountError) Unwrap() error { return e.err }

// mounted calls f while a disk's file system is mounted.
func (b *bench) mounted(file string, f func(dir string) error) (err error) {
	device, release, err := fuse.Loop(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	dir := filepath.Join(b.top, "mnt")
	if err := unix.Mount(device, dir, b.m.Type, unix.MS_NOATIME, b.m.Options); err != nil {
		return &mountError{err}
	}
	err = f(dir)
	return errors.Join(err, unix.Unmount(dir, 0))
}

// on puts a disk behind the server and mounts it.
func (b *bench) on(disk fuse.File, f func(dir string) error, after func(file string) error) error {
	b.n++
	name := fmt.Sprint("disk", b.n)
	file := b.server.Put(name, disk)
	defer b.server.Drop(name)
	err := b.mounted(file, f)
	if err == nil && after != nil {
		err = after(file)
	}
	return err
}

// acknowledgement is what had been claimed when the disk had seen so many
// operations.
type acknowledgement struct {
	ops  int
	what string
}

func ackedBy(list []acknowledgement, ops int) []string {
	var out []string
	for _, a := range list {
		if a.ops <= ops {
			out = append(out, a.what)
		}
	}
	return out
}

// run lets the scenario run once on a disk that remembers, of which one
// operation may fail. ran is what Run returned; err, what unmounting did.
func (b *bench) run(fail int) (log *blocks.Log, acks []acknowledgement, ran, err error) {
	log, err = blocks.New(b.base, b.m.Size, b.top)
	if err != nil {
		return nil, nil, nil, err
	}
	err = b.on(&recorded{log: log, fail: fail}, func(dir string) error {
		e := &Env{Dir: filepath.Join(dir, "d"), FS: durable.FS{Hook: b.o.Hook}}
		e.log = func(what string) { acks = append(acks, acknowledgement{log.Len(), what}) }
		ran = b.s.Run(e)
		return nil
	}, nil)
	return log, acks, ran, err
}

// cuts records the scenario and looks at what is left after each write and
// flush.
func (b *bench) cuts() error {
	log, acks, ran, err := b.run(0)
	if err = errors.Join(err, ran); err != nil {
		return err
	}
	defer log.Close()
	for _, o := range log.Ops() {
		if o.Kind == blocks.Flush {
			b.res.Flushes++
		} else {
			b.res.Writes++
		}
	}
	for n := 0; n <= log.Len(); n += max(b.o.Every, 1) {
		for i, st := range b.statesAt(log, n) {
			outcome, err := b.look(st, ackedBy(acks, n))
			if err != nil {
				var broken *benchError
				if errors.As(err, &broken) {
					return err
				}
				b.res.Failure = fmt.Sprintf("cut after operation %d of %d (%v), state %d: %v", n, log.Len(), lastOp(log, n), i, err)
				return nil
			}
			b.res.Outcomes[outcome]++
		}
	}
	return nil
}

func lastOp(log *blocks.Log, n int) string {
	if n == 0 {
		return "none"
	}
	return log.Ops()[n-1].String()
}

// statesAt returns what a cut after n operations may leave: without what was not
// flushed, with all of it, and with some of its writes by seed, whole or torn into
// sectors. What a file system takes for written at once is not torn
// (docs/design/crash.md).
func (b *bench) statesAt(log *blocks.Log, n int) []*blocks.State {
	states := []*blocks.State{log.Lost(n)}
	if log.Pending(n) == 0 {
		return states
	}
	for i := 1; i < b.o.PerCut; i++ {
		switch seed := uint64(n)<<20 | uint64(i); {
		case i == 1:
			states = append(states, log.Prefix(n))
		case b.o.Torn && i%2 == 1:
			states = append(states, log.CutTorn(n, seed, b.m.Super.unit))
		default:
			states = append(states, log.CutWhole(n, seed))
		}
	}
	return states
}

// benchError is one of the bench, not of what it looks at.
type benchError struct{ err error }

func (e *benchError) Error() string { return e.err.Error() }
func (e *benchError) Unwrap() error { return e.err }

// look mounts a state, which replays its journal, and checks it.
func (b *bench) look(st *blocks.State, acked []string) (outcome string, err error) {
	b.res.States++
	var fsck func(file string) error
	if b.o.Fsck > 0 && b.res.States%b.o.Fsck == 0 {
		b.res.Checked++
		fsck = b.fsck
	}
	check := func(dir string) (err error) {
		outcome, err = b.s.Check(&State{Dir: filepath.Join(dir, "d"), Acked: acked})
		return err
	}
	disk := newOverlay(st, st.Size())
	err = b.on(disk, check, fsck)
	var refused *mountError
	if b.o.Mend != nil && errors.As(err, &refused) {
		mended, failed := b.o.Mend(disk)
		if failed != nil || !mended {
			return outcome, errors.Join(err, failed)
		}
		b.res.Mended++
		err = b.on(disk, check, fsck)
	}
	return outcome, err
}

func (b *bench) fsck(file string) error {
	if out, err := exec.Command(b.m.Check[0], append(b.m.Check[1:], file)...).CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w: %s", b.m.Check, err, out)
	}
	return nil
}

// faults lets one write or flush after the other fail. The file system may give
// up, the code may fail; what was acknowledged is there after the next mount,
// and running again succeeds.
func (b *bench) faults() error {
	if b.o.Faults == 0 {
		return nil
	}
	total := b.res.Writes + b.res.Flushes
	step := max(total/b.o.Faults, 1)
	for n := 1; n <= total; n += step {
		if err := b.faulty(n); err != nil {
			b.res.Failure = fmt.Sprintf("operation %d of %d failed: %v", n, total, err)
			return nil
		}
		b.res.Faults++
	}
	return nil
}

func (b *bench) faulty(n int) error {
	log, acks, ran, err := b.run(n)
	var refused *mountError
	if err != nil && !errors.As(err, &refused) && !errors.Is(err, unix.EIO) {
		return err
	}
	defer log.Close()
	acked := ackedBy(acks, log.Len())
	disk := newOverlay(log.Now(), log.Size())
	return b.on(disk, func(dir string) error {
		outcome, err := b.s.Check(&State{Dir: filepath.Join(dir, "d"), Acked: acked})
		if err != nil {
			return fmt.Errorf("run said %v, then: %w", ran, err)
		}
		b.res.Outcomes[outcome]++
		return b.again(dir, acked)
	}, nil)
}

// again runs the scenario once more, to its end.
func (b *bench) again(dir string, acked []string) error {
	e := &Env{Dir: filepath.Join(dir, "d"), log: func(what string) { acked = append(acked, what) }}
	if err := b.s.Run(e); err != nil {
		return fmt.Errorf("running it again: %w", err)
	}
	outcome, err := b.s.Check(&State{Dir: e.Dir, Acked: acked})
	if err != nil {
		return fmt.Errorf("after running it again: %w", err)
	}
	if outcome != "new" {
		return fmt.Errorf("after running it again the state is %q", outcome)
	}
	return nil
}

// spaces runs the scenario when little or nothing is free.
func (b *bench) spaces() error {
	for _, kib := range b.o.Spaces {
		err := b.on(newOverlay(b.base, b.m.Size), func(dir string) error { return b.full(dir, int64(kib)<<10) }, nil)
		if err != nil {
			b.res.Failure = fmt.Sprintf("with %d KiB free: %v", kib, err)
			return nil
		}
		b.res.Spaces++
	}
	return nil
}

func (b *bench) full(dir string, left int64) error {
	filler := filepath.Join(dir, "filler")
	if err := fill(dir, filler, left); err != nil {
		return err
	}
	var acked []string
	e := &Env{Dir: filepath.Join(dir, "d"), log: func(what string) { acked = append(acked, what) }}
	ran := b.s.Run(e)
	if err := os.Remove(filler); err != nil {
		return err
	}
	outcome, err := b.s.Check(&State{Dir: e.Dir, Acked: acked})
	if err != nil {
		return fmt.Errorf("run said %v, then: %w", ran, err)
	}
	if ran == nil && outcome != "new" {
		return fmt.Errorf("run said nothing, and the state is %q", outcome)
	}
	b.res.Outcomes[outcome]++
	return b.again(dir, acked)
}

// fill takes all space but so many bytes.
func fill(dir, filler string, left int64) error {
	f, err := os.Create(filler)
	if err != nil {
		return err
	}
	defer f.Close()
	var at int64
	for step := int64(16 << 20); step >= 4096; {
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil {
			return err
		}
		if free := int64(st.Bavail) * st.Bsize; free-step < left {
			step /= 2
			continue
		}
		switch err := unix.Fallocate(int(f.Fd()), 0, at, step); {
		case err == nil:
			at += step
		case errors.Is(err, unix.ENOSPC):
			step /= 2
		default:
			return err
		}
	}
	return f.Sync()
}

// recorded is a log as a served file, of which one operation may fail.
type recorded struct {
	log  *blocks.Log
	mu   sync.Mutex
	n    int
	fail int
}

func (r *recorded) next() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n++; r.n == r.fail {
		return unix.EIO
	}
	return nil
}

func (r *recorded) Size() int64                             { return r.log.Size() }
func (r *recorded) ReadAt(p []byte, off int64) (int, error) { return r.log.ReadAt(p, off) }

func (r *recorded) WriteAt(p []byte, off int64) (int, error) {
	if err := r.next(); err != nil {
		return 0, err
	}
	return r.log.WriteAt(p, off)
}

func (r *recorded) Sync() error {
	if err := r.next(); err != nil {
		return err
	}
	return r.log.Sync()
}

func (r *recorded) Discard(off, size int64) error {
	if err := r.next(); err != nil {
		return err
	}
	return r.log.Do(blocks.Op{Kind: blocks.Trim, Off: off, Size: size}, nil)
}

// overlay is a disk whose changes are kept in memory.
type overlay struct {
	base io.ReaderAt
	size int64

	mu    sync.RWMutex
	pages map[int64][]byte
}

// pageSize is the unit of an overlay in bytes.
const pageSize = 4096

func newOverlay(base io.ReaderAt, size int64) *overlay {
	return &overlay{base: base, size: size, pages: map[int64][]byte{}}
}

func (o *overlay) Size() int64 { return o.size }
func (o *overlay) Sync() error { return nil }

func (o *overlay) ReadAt(p []byte, off int64) (int, error) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	n, err := o.base.ReadAt(p, off)
	for at := off / pageSize; at*pageSize < off+int64(n); at++ {
		page, ok := o.pages[at]
		if !ok {
			continue
		}
		if d := at*pageSize - off; d >= 0 {
			copy(p[d:n], page)
		} else {
			copy(p[:n], page[-d:])
		}
	}
	return n, err
}

func (o *overlay) WriteAt(p []byte, off int64) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	done := 0
	for done < len(p) {
		at, in := (off+int64(done))/pageSize, (off+int64(done))%pageSize
		page, ok := o.pages[at]
		if !ok {
			page = make([]byte, pageSize)
			if _, err := o.base.ReadAt(page, at*pageSize); err != nil && !errors.Is(err, io.EOF) {
				return done, err
			}
			o.pages[at] = page
		}
		done += copy(page[in:], p[done:])
	}
	return done, nil
}

func (o *overlay) Discard(off, size int64) error {
	for done := int64(0); done < size; {
		n := min(size-done, 1<<20)
		if _, err := o.WriteAt(make([]byte, n), off+done); err != nil {
			return err
		}
		done += n
	}
	return nil
}
