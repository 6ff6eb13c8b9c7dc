package port

import (
	"errors"
	"os/exec"
	"runtime/debug"
	"syscall"
	"testing"
)

// chasm returns n bytes of which only the first good can be read: the memory
// behind them is nobody's. Whoever copies it dies on the way.
func chasm(t *testing.T, n, good int) []byte {
	t.Helper()
	page := syscall.Getpagesize()
	mem, err := syscall.Mmap(-1, 0, 2*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Munmap(mem) })
	for i := range mem {
		mem[i] = 0xff
	}
	if err := syscall.Mprotect(mem[page:], syscall.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	return mem[page-good : page-good+n]
}

// crash lets a write end where its data does.
func crash(t *testing.T, write func([]byte) error, data []byte) {
	t.Helper()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if recover() == nil {
			t.Fatal("the writer did not crash")
		}
	}()
	t.Fatalf("written: %v", write(data))
}

// A cut is a port whose writer has filled every slot and crashed while it wrote
// message next over message next minus the number of slots.
type cut struct {
	name  string
	l     Layout
	ways  func(t *testing.T, we Ends, l Layout, good int)
	words []int // that were copied before the crash
}

func inGo(t *testing.T, we Ends, l Layout, good int) {
	t.Helper()
	if l.Kind == Sampling {
		w := must(NewSamplingWriter(we, l.Message))(t)
		defer w.Close()
		crash(t, w.Write, chasm(t, l.Size, good))
		return
	}
	w := must(NewQueueWriter(we, l.Message))(t)
	defer w.Close()
	crash(t, w.Write, chasm(t, l.Size, good))
}

func inC(program string) func(*testing.T, Ends, Layout, int) {
	return func(t *testing.T, we Ends, l Layout, good int) {
		t.Helper()
		err := end(program, we, l, "crash", good).Run()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGSEGV {
			t.Fatalf("the writer in C did not crash: %v", err)
		}
	}
}

// TestCrash ends writers while they copy a message's words, in Go by a fault
// and in C by a signal. A reader that began to read what was in the slot before
// must see that it is not whole any more; one that begins now reads the last
// whole message; the writer's next life goes on.
func TestCrash(t *testing.T) {
	cuts := []cut{}
	for _, way := range []struct {
		name string
		do   func(*testing.T, Ends, Layout, int)
	}{{"Go", inGo}, {"C", nil}} {
		for _, l := range []Layout{sampling(64, 0), queueing(64, 3, Drop)} {
			do := way.do
			if do == nil {
				do = inC(compile(t))
			}
			kind := map[Kind]string{Sampling: "sampling", Queueing: "queue"}[l.Kind]
			cuts = append(cuts, cut{kind + " in " + way.name, l, do, []int{0, 8, 32, 56}})
		}
	}
	for _, c := range cuts {
		t.Run(c.name, func(t *testing.T) {
			for _, good := range c.words {
				c.try(t, good)
			}
		})
	}
}

func (c *cut) try(t *testing.T, good int) {
	t.Helper()
	we, re := files(t, c.l)
	write, read, slow := c.open(t, we, re)
	last := uint64(c.l.slots())
	data := make([]byte, c.l.Size)
	for n := uint64(1); n <= last; n++ {
		fill(data, n)
		if err := write(data); err != nil {
			t.Fatal(err)
		}
	}
	buf := make([]byte, c.l.Size)
	if s, err, whole := slow.get(1, buf); err != nil || !whole || !checkFill(buf, 1) {
		t.Fatalf("before the crash: %+v, %v, whole %v", s, err, whole)
	}
	c.ways(t, we, c.l, good)
	if s, err, whole := slow.get(1, buf); whole {
		t.Errorf("crashed behind %d bytes: a slow reader takes what is half written: %+v, %v, %x", good, s, err, buf)
	}
	s, err := read(buf)
	if want := c.first(last); err != nil || s.Sequence != want || !checkFill(buf, want) {
		t.Errorf("crashed behind %d bytes: %+v, %v, %x; want message %d", good, s, err, buf, want)
	}
	write, read, _ = c.open(t, we, re)
	fill(data, last+1)
	if err := write(data); err != nil {
		t.Fatal(err)
	}
	for range last + 1 {
		if s, err = read(buf); err != nil || s.Sequence > last {
			break
		}
	}
	if err != nil || s.Sequence != last+1 || !checkFill(buf, last+1) {
		t.Errorf("crashed behind %d bytes: the writer's next life gave %+v, %v, %x", good, s, err, buf)
	}
}

// first is the message that a reader of everything gets first: a queue has lost
// the oldest.
func (c *cut) first(last uint64) uint64 {
	if c.l.Kind == Sampling {
		return last
	}
	return last - uint64(c.l.Depth) + 1
}

func (c *cut) open(t *testing.T, we, re Ends) (write func([]byte) error, read func([]byte) (Sample, error), slow *memory) {
	t.Helper()
	if c.l.Kind == Sampling {
		w, r := must(NewSamplingWriter(we, c.l.Message))(t), must(NewSamplingReader(re, c.l.Message))(t)
		t.Cleanup(func() { w.Close(); r.Close() })
		return w.Write, r.Read, r.m
	}
	w, r := must(NewQueueWriter(we, c.l.Message))(t), must(NewQueueReader(re, c.l.Message))(t)
	t.Cleanup(func() { w.Close(); r.Close() })
	return w.Write, r.Read, r.m
}
