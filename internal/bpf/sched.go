package bpf

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Kind says how a job contradicts what was declared or proven; several hold
// together.
type Kind uint32

// The kinds of violations.
const (
	Late    Kind = 1 << iota // it took longer than its deadline
	Beyond                   // it took longer than its bound
	Overrun                  // it computed longer than its wcet
)

// Violation is a job that contradicts.
type Violation struct {
	Thread   int
	Kind     Kind
	Ready    uint64 // CLOCK_MONOTONIC
	Response time.Duration
	Exec     time.Duration
}

// Limits are what a thread's jobs are held against; 0 is none.
type Limits struct {
	Period, Deadline, Bound, WCET time.Duration
}

// Offsets in the value of a thread. The first are of the job at hand, then what
// was declared, then what was measured. Times are nanoseconds.
const (
	atWake     = 8 * iota // when it became ready; 0: no job
	atStart               // when it ran first; 0: not yet
	atRan                 // since when it runs; 0: it does not
	atExec                // what it has run
	atLast                // when the job before became ready
	atPeriod              // 0: events are not regular
	atDeadline            // 0: none
	atWCET                // 0: none
	atScale               // of the histogram of responses
	atCPU                 // that it ran on last, and 1
	atJobs
	atMisses   // longer than the deadline
	atBeyond   // longer than the bound
	atOverruns // ran for longer than the wcet
	atPreempted
	atMigrated
	atMaxResponse
	atMaxLatency
	atMaxJitter
	atMaxExec
	atSumResponse
	atSumLatency
	atSumExec
	atResponses
)

// Histograms: of responses linear, a bucket each scale; of the others by powers
// of two.
const (
	ResponseBuckets = 96
	PowerBuckets    = 32

	atLatencies = atResponses + 4*ResponseBuckets
	atJitters   = atLatencies + 4*PowerBuckets
	valueBytes  = atJitters + 4*PowerBuckets
)

// eventBytes is the size of an event on the ring: thread and kind as u32, ready,
// response and exec as u64.
const eventBytes = 32

// filterSlots is the size of a table that says which threads cannot be tasks,
// by the low bits of their numbers: most switches cost no more than that.
const filterSlots = 4096

// Measured is what is known of a thread's jobs. A job begins when the thread is
// made ready and ends when it sleeps.
type Measured struct {
	Jobs, Misses, Beyond, Overruns, Preempted, Migrated uint64
	MaxResponse, MaxLatency, MaxJitter, MaxExec         time.Duration
	SumResponse, SumLatency, SumExec                    time.Duration

	Scale     time.Duration           // of a bucket of Responses, the last of which has no end
	Responses [ResponseBuckets]uint32 // linear
	Latencies [PowerBuckets]uint32    // bucket n is 2^n to 2^(n+1) ns
	Jitters   [PowerBuckets]uint32
}

// maxThreads bounds what is measured at a time.
const maxThreads = 256

// ringBytes is room for 100 violations that nobody has read yet; those beyond
// are counted all the same.
const ringBytes = 4096

// SchedMonitor measures threads on the scheduler's tracepoints. Its methods can
// be used from many goroutines.
type SchedMonitor struct {
	filter, tasks, ring *os.File
	bounds              *os.File
	programs            []*os.File // waking, switch
	links               []*os.File
	consumer            []byte // of the ring: a page to write, and
	producer            []byte // a page and the data, twice

	mu    sync.Mutex
	slots map[uint32]int
}

// Numbers of linux/bpf.h.
const (
	mapLookup      = 1
	tracepointOpen = 17
	enableStats    = 32

	mapArray      = 2
	mapRing       = 27
	programTrace  = 26 // BPF_PROG_TYPE_TRACING
	attachRawTP   = 23 // BPF_TRACE_RAW_TP
	loadAttrBytes = 112
)

// NewSchedMonitor begins to look at the scheduler; nothing is measured yet.
func NewSchedMonitor() (_ *SchedMonitor, err error) {
	m := &SchedMonitor{slots: map[uint32]int{}}
	defer func() {
		if err != nil {
			m.Close()
		}
	}()
	kernel, err := readLayout("sched_waking", "sched_switch")
	if err != nil {
		return nil, err
	}
	if err := m.maps(); err != nil {
		return nil, err
	}
	for name, text := range map[string]string{"sched_waking": wakingCode, "sched_switch": switchCode} {
		code, err := m.bind(text, kernel.pid)
		if err != nil {
			return nil, fmt.Errorf("reading the program of %s: %w", name, err)
		}
		p, err := loadTracing(code, kernel.typedefs[name])
		if err != nil {
			return nil, fmt.Errorf("loading the program of %s: %w", name, err)
		}
		m.programs = append(m.programs, p)
		attach := attr(16)
		attach.u32(8, uint32(p.Fd()))
		l, err := open(tracepointOpen, attach, name)
		if err != nil {
			return nil, fmt.Errorf("attaching to %s: %w", name, err)
		}
		m.links = append(m.links, l)
	}
	return m, nil
}

func (m *SchedMonitor) maps() (err error) {
	for _, d := range []struct {
		to                    **os.File
		kind, key, value, max uint32
		name                  string
	}{{&m.filter, mapArray, 4, 4, filterSlots, "filter"}, {&m.tasks, mapHash, 4, valueBytes, maxThreads, "tasks"}, {&m.bounds, mapHash, 4, 8, maxThreads, "bounds"}, {&m.ring, mapRing, 0, 0, ringBytes, "violations"}} {
		create := attr(72)
		create.u32(0, d.kind)
		create.u32(4, d.key)
		create.u32(8, d.value)
		create.u32(12, d.max)
		if *d.to, err = open(mapCreate, create, d.name); err != nil {
			return fmt.Errorf("making the map of %s: %w", d.name, err)
		}
	}
	fd := int(m.ring.Fd())
	page := os.Getpagesize()
	if m.consumer, err = unix.Mmap(fd, 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return fmt.Errorf("mapping the ring: %w", err)
	}
	if m.producer, err = unix.Mmap(fd, int64(page), page+2*ringBytes, unix.PROT_READ, unix.MAP_SHARED); err != nil {
		return fmt.Errorf("mapping the ring: %w", err)
	}
	// A File that waits in the runtime's poller, not in a thread.
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	m.ring.Close()
	if err := unix.SetNonblock(dup, true); err != nil {
		unix.Close(dup)
		return os.NewSyscallError("fcntl", err)
	}
	m.ring = os.NewFile(uintptr(dup), "bpf violations")
	return nil
}

// What stands in the programs for what only the running machine knows: the maps
// in the instructions that load one, and the offset of a thread's number.
const (
	filterMap = iota + 1
	tasksMap
	ringMap
	boundsMap

	pidOffset = 0x7ff0
)

// bind puts the machine's values into a program.
func (m *SchedMonitor) bind(text string, pid int16) ([]byte, error) {
	code, err := hex.DecodeString(text)
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	maps := map[uint32]*os.File{filterMap: m.filter, tasksMap: m.tasks, ringMap: m.ring, boundsMap: m.bounds}
	for at := 0; at+insnSize <= len(code); at += insnSize {
		insn := code[at : at+insnSize]
		switch {
		case insn[0] == loadImm64 && insn[1]>>4 == pseudoMapFD:
			le.PutUint32(insn[4:], uint32(maps[le.Uint32(insn[4:])].Fd()))
			at += insnSize // it takes two
		case le.Uint16(insn[2:]) == pidOffset:
			le.PutUint16(insn[2:], uint16(pid))
		}
	}
	return code, nil
}

// tracingTerms are the terms of the scheduler's programs. The kernel lets only
// programs that may be used under the GPL look into its own structures.
const tracingTerms = "Dual MIT/GPL"

func loadTracing(code []byte, typedef uint32) (*os.File, error) {
	load := attr(loadAttrBytes)
	load.u32(0, programTrace)
	load.u32(68, attachRawTP)
	load.u32(108, typedef)
	return loadCode(load, code, tracingTerms, "sched program")
}

// Watch measures a thread from now on.
func (m *SchedMonitor) Watch(thread int, l Limits) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	value := make([]byte, valueBytes)
	put := func(at int, d time.Duration) { binary.NativeEndian.PutUint64(value[at:], uint64(max(0, d))) }
	put(atPeriod, l.Period)
	put(atDeadline, l.Deadline)
	put(atWCET, l.WCET)
	put(atScale, max(1, l.scale()))
	key := binary.NativeEndian.AppendUint32(nil, uint32(thread))
	if err := m.Bound(thread, l.Bound); err != nil {
		return err
	}
	if err := m.put(m.tasks, key, value); err != nil {
		return fmt.Errorf("measuring thread %d: %w", thread, err)
	}
	slot := uint32(thread) % filterSlots
	m.slots[slot]++
	return m.mark(slot)
}

// Bound changes what was proven of a thread; 0 is nothing.
func (m *SchedMonitor) Bound(thread int, bound time.Duration) error {
	ne := binary.NativeEndian
	if err := m.put(m.bounds, ne.AppendUint32(nil, uint32(thread)), ne.AppendUint64(nil, uint64(max(0, bound)))); err != nil {
		return fmt.Errorf("measuring thread %d: %w", thread, err)
	}
	return nil
}

// scale makes 64 buckets of what a job may take.
func (l Limits) scale() time.Duration {
	most := l.Deadline
	if most == 0 {
		most = l.Period
	}
	if most == 0 {
		most = 64 * time.Millisecond
	}
	return (most + 63) / 64
}

func (m *SchedMonitor) mark(slot uint32) error {
	var there uint32
	if m.slots[slot] > 0 {
		there = 1
	}
	ne := binary.NativeEndian
	return m.put(m.filter, ne.AppendUint32(nil, slot), ne.AppendUint32(nil, there))
}

func (m *SchedMonitor) put(to *os.File, key, value []byte) error {
	update := attr(32)
	update.u32(0, uint32(to.Fd()))
	update.pointer(8, key)
	update.pointer(16, value)
	_, err := call(mapUpdate, update)
	runtime.KeepAlive(key)
	runtime.KeepAlive(value)
	return err
}

// Forget ends measuring a thread; one that is not measured is left alone.
func (m *SchedMonitor) Forget(thread int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := binary.NativeEndian.AppendUint32(nil, uint32(thread))
	remove := attr(32)
	remove.pointer(8, key)
	remove.u32(0, uint32(m.bounds.Fd()))
	call(mapDelete, remove) // at worst there is none
	remove.u32(0, uint32(m.tasks.Fd()))
	_, err := call(mapDelete, remove)
	runtime.KeepAlive(key)
	if slot := uint32(thread) % filterSlots; err == nil && m.slots[slot] > 0 {
		m.slots[slot]--
		m.mark(slot) // at worst it costs a look
	}
}

// Read returns what was measured of a thread; false when it is not measured.
func (m *SchedMonitor) Read(thread int) (Measured, bool) {
	key := binary.NativeEndian.AppendUint32(nil, uint32(thread))
	v := make([]byte, valueBytes)
	look := attr(32)
	look.u32(0, uint32(m.tasks.Fd()))
	look.pointer(8, key)
	look.pointer(16, v)
	_, err := call(mapLookup, look)
	runtime.KeepAlive(key)
	if err != nil {
		return Measured{}, false
	}
	n := func(at int) uint64 { return binary.NativeEndian.Uint64(v[at:]) }
	d := func(at int) time.Duration { return time.Duration(n(at)) }
	out := Measured{
		Jobs: n(atJobs), Misses: n(atMisses), Beyond: n(atBeyond), Overruns: n(atOverruns), Preempted: n(atPreempted), Migrated: n(atMigrated),
		MaxResponse: d(atMaxResponse), MaxLatency: d(atMaxLatency), MaxJitter: d(atMaxJitter), MaxExec: d(atMaxExec),
		SumResponse: d(atSumResponse), SumLatency: d(atSumLatency), SumExec: d(atSumExec), Scale: d(atScale),
	}
	for at, to := range map[int][]uint32{atResponses: out.Responses[:], atLatencies: out.Latencies[:], atJitters: out.Jitters[:]} {
		for i := range to {
			to[i] = binary.NativeEndian.Uint32(v[at+4*i:])
		}
	}
	return out, true
}

// Next waits for a violation. It ends with an error at Close.
//
// Source: Documentation/bpf/ringbuf.rst; a record is a length, with a bit while
// it is being written, and a page offset; then data, to a multiple of 8.
func (m *SchedMonitor) Next() (v Violation, err error) {
	conn, err := m.ring.SyscallConn()
	if err != nil {
		return v, err
	}
	err = conn.Read(func(uintptr) bool {
		var there bool
		v, there = m.take()
		return there
	})
	return v, err
}

func (m *SchedMonitor) take() (v Violation, ok bool) {
	const busy, discarded, head = 1 << 31, 1 << 30, 8
	read := (*uint64)(unsafe.Pointer(&m.consumer[0]))
	written := (*uint64)(unsafe.Pointer(&m.producer[0]))
	data := m.producer[os.Getpagesize():]
	for at := atomic.LoadUint64(read); at < atomic.LoadUint64(written); {
		record := data[at%ringBytes:]
		length := atomic.LoadUint32((*uint32)(unsafe.Pointer(&record[0])))
		if length&busy != 0 {
			return v, false
		}
		size := length &^ discarded
		if length&discarded == 0 && size >= eventBytes-8 {
			ne := binary.NativeEndian
			v = Violation{int(ne.Uint32(record[head:])), Kind(ne.Uint32(record[head+4:])), ne.Uint64(record[head+8:]),
				time.Duration(ne.Uint64(record[head+16:])), time.Duration(ne.Uint64(record[head+24:]))}
			ok = true
		}
		at += head + (uint64(size)+7)/8*8
		atomic.StoreUint64(read, at)
		if ok {
			return v, true
		}
	}
	return v, false
}

// Cost measures for a time what the programs take of each context switch and
// of each wake-up of any thread. The kernel's own measurement is in it.
func (m *SchedMonitor) Cost(during time.Duration) (perRun time.Duration, runs uint64, err error) {
	on, err := open(enableStats, attr(4), "stats")
	if err != nil {
		return 0, 0, fmt.Errorf("measuring programs: %w", err)
	}
	defer on.Close()
	var before, after [2]uint64
	if before, err = m.runs(); err != nil {
		return 0, 0, err
	}
	time.Sleep(during)
	if after, err = m.runs(); err != nil {
		return 0, 0, err
	}
	if runs = after[1] - before[1]; runs == 0 {
		return 0, 0, errors.New("nothing ran meanwhile")
	}
	return time.Duration((after[0] - before[0]) / runs), runs, nil
}

// runs returns the time and the number of runs of all programs.
func (m *SchedMonitor) runs() (sum [2]uint64, err error) {
	for _, p := range m.programs {
		b, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", p.Fd()))
		if err != nil {
			return sum, err
		}
		for line := range strings.Lines(string(b)) {
			for i, key := range []string{"run_time_ns:", "run_cnt:"} {
				if rest, ok := strings.CutPrefix(line, key); ok {
					n, err := strconv.ParseUint(strings.TrimSpace(rest), 10, 64)
					if err != nil {
						return sum, err
					}
					sum[i] += n
				}
			}
		}
	}
	return sum, nil
}

// Close ends measuring.
func (m *SchedMonitor) Close() error {
	for _, f := range append(append(m.links, m.programs...), m.filter, m.tasks, m.ring, m.bounds) {
		if f != nil {
			f.Close() // a descriptor of BPF has nothing to lose
		}
	}
	return nil
}
