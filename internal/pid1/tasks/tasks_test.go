package tasks

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/wire"
)

// TestMain is also a program whose first thread takes a name when it is told to.
func TestMain(m *testing.M) {
	if name := os.Getenv("INSTAR_TEST_LOOP"); name != "" {
		loop(name)
	}
	if name := os.Getenv("INSTAR_TEST_THREAD"); name != "" {
		runtime.LockOSThread() // TestMain runs in the first thread
		os.Stdin.Read(make([]byte, 1))
		b := append([]byte(name), 0)
		unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&b[0])), 0, 0, 0)
		time.Sleep(time.Hour)
	}
	os.Exit(m.Run())
}

// named is a process that takes a name when the function is called.
func named(t *testing.T, name string) (pid int, take func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "INSTAR_TEST_THREAD="+name)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd.Process.Pid, func() { in.Write([]byte{1}) }
}

// sleeper is a process that does nothing.
func sleeper(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("/bin/sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd.Process.Pid
}

type seen struct {
	mu   sync.Mutex
	tids map[int]string
	log  []string
}

func (s *seen) Watch(tid int, name string, _ *system.Task) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tids == nil {
		s.tids = map[int]string{}
	}
	s.tids[tid] = name
	return nil
}

func (s *seen) Forget(tid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tids, tid)
}

func (s *seen) Log(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, fmt.Sprintf(format, args...))
}

func (s *seen) name(tid int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tids[tid]
}

func policy(t *testing.T, tid int) *unix.SchedAttr {
	t.Helper()
	a, err := unix.SchedGetAttr(tid, 0)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("real-time scheduling needs root")
	}
}

func TestAttach(t *testing.T) {
	needRoot(t)
	s := &seen{}
	k := &Keeper{Log: s.Log, Watcher: s}
	pid := sleeper(t)
	l := k.Attach(&system.Container{Name: "c", Tasks: []system.Task{{Name: "first", Policy: "fifo", Priority: 7}}}, "", pid)
	if a := policy(t, pid); a.Policy != unix.SCHED_FIFO || a.Priority != 7 || a.Flags&unix.SCHED_FLAG_RESET_ON_FORK == 0 {
		t.Errorf("it has %+v", a)
	}
	var cpus unix.CPUSet
	if err := unix.SchedGetaffinity(pid, &cpus); err != nil || cpus.Count() != 1 || !cpus.IsSet(0) {
		t.Errorf("it may run on %v, %v", cpus, err)
	}
	if s.name(pid) != "c.first" {
		t.Errorf("%v are watched", s.tids)
	}
	l.End()
	if s.name(pid) != "" {
		t.Error("it is watched after its end")
	}
	// A thread that gets its name later, and one that has it never.
	other, take := named(t, "late-loop")
	l = k.Attach(&system.Container{Name: "d", Tasks: []system.Task{{Name: "late", Thread: "late-loop", Policy: "rr", Priority: 3}}}, "", other)
	defer l.End()
	take()
	for end := time.Now().Add(30 * time.Second); s.name(other) != "d.late"; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it is never found: %v", s.log)
		}
	}
	if a := policy(t, other); a.Policy != unix.SCHED_RR || a.Priority != 3 {
		t.Errorf("it has %+v", a)
	}
}

// TestRefused asks for what no kernel gives: the error shows both sides.
func TestRefused(t *testing.T) {
	needRoot(t)
	s := &seen{}
	var blamed []string
	k := &Keeper{Log: s.Log, Failed: func(container, why string) { blamed = append(blamed, container+": "+why) }}
	task := system.Task{Name: "all", Policy: "deadline", Runtime: 1e9, Relative: 2e9, Period: 1e9}
	k.Attach(&system.Container{Name: "c", Tasks: []system.Task{task}}, "", sleeper(t)).End()
	if len(blamed) != 1 || !strings.Contains(blamed[0], "c: task c.all is not in time: declared: runtime 1s, deadline 2s, period 1s, which is 100.00% of CPU 0; the kernel: sched_setattr:") ||
		!strings.Contains(blamed[0], "sched_rt_runtime_us") {
		t.Errorf("blamed %q", blamed)
	}
}

func TestNobody(t *testing.T) {
	var k *Keeper
	k.Attach(&system.Container{Tasks: []system.Task{{}}}, "", 1).End()
	if (&Keeper{}).Attach(&system.Container{}, "", 1) != nil {
		t.Error("a container without tasks has a life")
	}
}

// TestInterrupts places the interrupts of a made-up machine.
func TestInterrupts(t *testing.T) {
	root := t.TempDir()
	put := func(name, text string) {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("sys/kernel/irq/5/actions", "eth0-rx,eth0-tx\n")
	put("sys/kernel/irq/6/actions", "ahci\n")
	put("sys/kernel/irq/7/actions", "\n")
	for _, n := range []string{"5", "6", "7"} {
		put("proc/irq/"+n+"/smp_affinity_list", "0-3")
	}
	rt := &system.RealTime{House: []int{0, 3}, IRQs: []system.IRQ{{Name: "eth0*", CPUs: []int{2}}, {Name: "gone", CPUs: []int{1}}}}
	if err := interrupts(root, rt); err != nil {
		t.Fatal(err)
	}
	for n, want := range map[string]string{"5": "2", "6": "0,3", "7": "0-3"} {
		if b, _ := os.ReadFile(filepath.Join(root, "proc/irq", n, "smp_affinity_list")); string(b) != want {
			t.Errorf("interrupt %s is served by %s, want %s", n, b, want)
		}
	}
	if err := os.Remove(filepath.Join(root, "proc/irq/5/smp_affinity_list")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(root, "proc/irq/5/smp_affinity_list"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := interrupts(root, rt); err == nil || !strings.Contains(err.Error(), "interrupt 5 (eth0-rx,eth0-tx): declared: CPUs 2; the kernel:") {
		t.Errorf("one that cannot be moved: %v", err)
	}
}

func TestCalibrate(t *testing.T) {
	needRoot(t)
	c, err := Calibrate(0, 300*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	for name, l := range map[string]wire.Longest{"latency": c.Latency, "switch": c.Switch, "release": c.Release} {
		if l.Samples == 0 || l.Mean <= 0 || l.Max < l.Mean {
			t.Errorf("%s: %+v", name, l)
		}
	}
	if _, err := Calibrate(1023, 30*time.Millisecond); err == nil {
		t.Error("a processor that is not there is measured")
	}
	if _, err := Calibrate(0, 0); err == nil {
		t.Error("no time is enough")
	}
}
