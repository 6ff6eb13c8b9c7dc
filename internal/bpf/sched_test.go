package bpf

import (
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func monitor(t testing.TB) *SchedMonitor {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("loading a program needs root")
	}
	m, err := NewSchedMonitor()
	if errors.Is(err, unix.EPERM) || errors.Is(err, os.ErrNotExist) {
		t.Skip("this kernel lets nobody load programs, or does not describe its types: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// worker runs jobs in a thread of its own: work, then sleep.
func worker(t testing.TB, jobs int, work, sleep time.Duration, before func(tid int)) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		before(unix.Gettid())
		for range jobs {
			ts := unix.NsecToTimespec(sleep.Nanoseconds())
			unix.Nanosleep(&ts, nil)
			for end := time.Now().Add(work); time.Now().Before(end); {
			}
		}
		ts := unix.NsecToTimespec(sleep.Nanoseconds())
		unix.Nanosleep(&ts, nil)
	}()
	<-done
}

func TestSchedMonitor(t *testing.T) {
	m := monitor(t)
	var tid int
	const jobs, work = 20, 2 * time.Millisecond
	worker(t, jobs, work, 3*time.Millisecond, func(id int) {
		tid = id
		if err := m.Watch(id, Limits{Period: 5 * time.Millisecond, Deadline: time.Hour, Bound: time.Minute}); err != nil {
			t.Error(err)
		}
	})
	got, ok := m.Read(tid)
	if !ok {
		t.Fatal("it was not measured")
	}
	if got.Jobs < jobs/2 || got.Jobs > 5*jobs || got.MaxExec <= 0 || got.MaxResponse < got.MaxExec || got.SumExec < work || got.MaxLatency <= 0 {
		t.Errorf("%+v", got)
	}
	if got.Misses+got.Beyond+got.Overruns != 0 {
		t.Errorf("violations without limits that are near: %+v", got)
	}
	sum := func(h []uint32) (n uint64) {
		for _, c := range h {
			n += uint64(c)
		}
		return n
	}
	if sum(got.Responses[:]) != got.Jobs || sum(got.Latencies[:]) == 0 || sum(got.Jitters[:]) == 0 {
		t.Errorf("histograms of %d jobs: %v", got.Jobs, got)
	}
	m.Forget(tid)
	if _, ok := m.Read(tid); ok {
		t.Error("it is measured though it was forgotten")
	}
}

func TestViolations(t *testing.T) {
	m := monitor(t)
	var tid int
	worker(t, 5, 2*time.Millisecond, time.Millisecond, func(id int) {
		tid = id
		if err := m.Watch(id, Limits{Deadline: time.Millisecond, Bound: 500 * time.Microsecond, WCET: 100 * time.Microsecond}); err != nil {
			t.Error(err)
		}
	})
	// Jobs may run together when the thread is preempted as it goes to sleep, and
	// the runtime may let it sleep within one.
	got, _ := m.Read(tid)
	if got.Misses == 0 || got.Beyond < got.Misses || got.Overruns == 0 {
		t.Fatalf("%+v", got)
	}
	for range max(got.Beyond, got.Overruns) {
		v, err := m.Next()
		if err != nil || v.Thread != tid || v.Kind == 0 || v.Ready == 0 || (v.Kind&Late != 0) != (v.Response > time.Millisecond) ||
			(v.Kind&Beyond != 0) != (v.Response > 500*time.Microsecond) || (v.Kind&Overrun != 0) != (v.Exec > 100*time.Microsecond) {
			t.Fatalf("%+v, %v; thread %d", v, err, tid)
		}
	}
	if err := m.Bound(tid, 0); err != nil {
		t.Error(err)
	}
	ended := make(chan error)
	go func() {
		for {
			if _, err := m.Next(); err != nil {
				ended <- err
				return
			}
		}
	}()
	m.Close()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Error("Next does not end with Close")
	}
}

func TestCost(t *testing.T) {
	m := monitor(t)
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				return
			default:
				time.Sleep(50 * time.Microsecond)
			}
		}
	}()
	defer close(stop)
	per, runs, err := m.Cost(200 * time.Millisecond)
	if err != nil || per <= 0 || runs == 0 {
		t.Fatalf("%v, %d runs, %v", per, runs, err)
	}
	t.Logf("%v a run, of %d", per, runs)
}

func TestLayout(t *testing.T) {
	b, err := os.ReadFile(kernelTypes)
	if err != nil {
		t.Skip(err)
	}
	l, err := parseLayout(b, []string{"sched_switch"})
	if err != nil || l.pid <= 0 || l.typedefs["sched_switch"] == 0 {
		t.Fatalf("%+v, %v", l, err)
	}
	if _, err := parseLayout(b, []string{"no_such_thing"}); err == nil {
		t.Error("a tracepoint that is not there is found")
	}
	for _, n := range []int{0, 23, 24, 100, len(b) / 2} {
		if _, err := parseLayout(b[:n], nil); err == nil {
			t.Errorf("%d bytes are taken", n)
		}
	}
}

func FuzzLayout(f *testing.F) {
	head := binary.NativeEndian.AppendUint16(nil, btfMagic)
	head = append(head, 1, 0)
	for _, v := range []uint32{24, 0, 12, 12, 4, 1, 0x04000001, 8} {
		head = binary.NativeEndian.AppendUint32(head, v)
	}
	f.Add(append(head, "task_struct"...))
	f.Fuzz(func(_ *testing.T, b []byte) { parseLayout(b, []string{"sched_switch"}) })
}

// BenchmarkContextSwitch lets two threads of one processor wake each other, with
// nobody looking, with the programs there, and with one of them measured. A turn
// is two switches.
func BenchmarkContextSwitch(b *testing.B) {
	turns := func(b *testing.B, m *SchedMonitor) {
		var there, back [2]int
		for _, p := range []*[2]int{&there, &back} {
			if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
				b.Fatal(err)
			}
			defer unix.Close(p[0])
		}
		var cpus unix.CPUSet
		cpus.Set(0)
		go func() {
			runtime.LockOSThread()
			unix.SchedSetaffinity(0, &cpus)
			if m != nil {
				m.Watch(unix.Gettid(), Limits{Period: time.Second, Deadline: time.Hour, Bound: time.Hour, WCET: time.Hour})
			}
			buf := make([]byte, 1)
			for {
				if n, err := unix.Read(there[0], buf); n != 1 || err != nil {
					unix.Close(back[1])
					return
				}
				unix.Write(back[1], buf)
			}
		}()
		done := make(chan struct{})
		go func() {
			defer close(done)
			runtime.LockOSThread()
			unix.SchedSetaffinity(0, &cpus)
			buf := make([]byte, 1)
			for b.Loop() {
				unix.Write(there[1], buf)
				unix.Read(back[0], buf)
			}
			unix.Close(there[1])
		}()
		<-done
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/2, "ns/switch")
	}
	b.Run("nobody looks", func(b *testing.B) { turns(b, nil) })
	b.Run("others are measured", func(b *testing.B) { monitor(b); turns(b, nil) })
	b.Run("one is measured", func(b *testing.B) { turns(b, monitor(b)) })
}
