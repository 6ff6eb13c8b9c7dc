// Package rt boots a machine with Debian's PREEMPT_RT kernel whose tasks are
// declared, and compares what it measures with what was proven.
package rt

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/vm"
	"github.com/instar-os/instar/internal/wire"
)

// patience is how long the machine may take for anything; it is emulated on a
// busy host.
const patience = 6 * time.Minute

func run(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return string(out), err
}

// image builds the machine and returns its disk.
func image(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "out/instar")); err != nil {
		t.Fatalf("this test runs out/instar; make build makes it: %v", err)
	}
	dir := t.TempDir()
	instar := root + "/out/instar"
	for _, step := range [][]string{
		{"cp", "machine/instar.yaml", dir},
		{"go", "build", "-trimpath", "-ldflags=-s -w", "-o", dir + "/bin/irrigation", root + "/examples/greenhouse/cmd/irrigation"},
		{"go", "build", "-trimpath", "-ldflags=-s -w", "-o", dir + "/bin/hog", root + "/test/rt/hog"},
		{instar, "-q", "-f", dir + "/instar.yaml", "lock"},
		{instar, "-q", "-f", dir + "/instar.yaml", "image", "--to", dir + "/disk.raw"},
	} {
		if _, err := run(t, step[0], step[1:]...); err != nil {
			t.Fatal(err)
		}
	}
	refuse(t, instar, dir)
	if err := os.Truncate(dir+"/disk.raw", 640<<20); err != nil { // room for data
		t.Fatal(err)
	}
	return dir + "/disk.raw"
}

// refuse builds the machine with a task that cannot hold.
func refuse(t *testing.T, instar, dir string) {
	t.Helper()
	text, err := os.ReadFile(dir + "/instar.yaml")
	if err == nil {
		err = os.WriteFile(dir+"/late.yaml", []byte(strings.Replace(string(text), "wcet: 20ms", "wcet: 48ms", 1)), 0o644)
	}
	if err == nil {
		err = os.Link(dir+"/instar.lock", dir+"/late.lock")
	}
	if err != nil {
		t.Fatal(err)
	}
	line := 1 + strings.Count(string(text[:strings.Index(string(text), "wcet: 20ms")]), "\n")
	_, err = run(t, instar, "-q", "-f", dir+"/late.yaml", "build")
	if want := fmt.Sprintf("late.yaml:%d: configuration calm: task irrigation.valve: it can miss its deadline of 50ms on CPU 1", line); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("a machine that cannot hold is not refused: %v", err)
	}
}

// TestGreenhouse proves the example, and refuses it with one number changed: with
// the line, the task, the job's instant and by how much.
func TestGreenhouse(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	text, err := os.ReadFile(root + "/examples/greenhouse/rt.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := run(t, "cp", root+"/examples/greenhouse/instar.yaml", root+"/examples/greenhouse/rt.yaml", dir); err != nil {
		t.Fatal(err)
	}
	check := func(patch string) (string, error) {
		return run(t, root+"/out/instar", "-f", dir+"/instar.yaml", "--patch", patch, "rt", "check")
	}
	out, err := check("rt.yaml")
	if err != nil || !strings.Contains(out, "irrigation.valve") || !strings.Contains(out, "met, at most") || !strings.Contains(out, "the kernel accepts the deadline tasks of CPU 1") {
		t.Errorf("the example is not proven: %v\n%s", err, out)
	}
	late := strings.Replace(string(text), "wcet: 5ms", "wcet: 50ms", 1)
	if err := os.WriteFile(dir+"/late.yaml", []byte(late), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = check("late.yaml")
	for _, want := range []string{"configuration night: task irrigation.valve: it can miss its deadline of 50ms on CPU 1", "a job can take 50240000 ns", "50040000 ns of work are due within 49600000 ns of the critical instant", "late.yaml:23: "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in: %v", want, err)
		}
	}
}

// metronome is the machine.
type metronome struct {
	t  *testing.T
	vm *vm.VM
}

func (m *metronome) fatal(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf(format+"\nconsole:\n%s", append(args, m.vm.Console().Tail(60))...)
}

// await asks until an answer is as it should be.
func (m *metronome) await(what string, holds func(wire.Status, wire.RTReply) bool) (wire.Status, wire.RTReply) {
	m.t.Helper()
	var st wire.Status
	var rt wire.RTReply
	for end := time.Now().Add(patience); ; time.Sleep(300 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(m.t.Context(), time.Minute)
		var err error
		if st, err = m.vm.Control().Status(ctx); err == nil {
			rt, err = m.vm.Control().RT(ctx, wire.RTRequest{})
		}
		cancel()
		if err == nil && holds(st, rt) {
			return st, rt
		}
		if time.Now().After(end) {
			m.fatal("%s: not so within %s: %v\n%+v\n%+v", what, patience, err, st, rt.Tasks)
		}
	}
}

func task(r wire.RTReply, name string) wire.RTTask {
	for _, t := range r.Tasks {
		if t.Task == name {
			return t
		}
	}
	return wire.RTTask{}
}

// enough is how many jobs say something.
const enough = 60

func TestProof(t *testing.T) {
	if os.Getenv("INSTAR_VM_ALL") == "" {
		t.Skip("make vm-all runs it (INSTAR_VM_ALL=1 go test ./test/rt)")
	}
	if os.Getenv("INSTAR_TEST_TOOLS") == "" {
		t.Skip("scripts/test-inputs says where QEMU is")
	}
	disk := image(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	v, err := vm.Start(ctx, vm.Options{Tools: vm.Tools{Root: os.Getenv("INSTAR_TEST_TOOLS")}, Arch: "amd64", Memory: 512 << 20, CPUs: 2,
		Disk: disk, Persist: true, NoKVM: true, Steady: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	m := &metronome{t, v}

	// The declared loop keeps its deadlines, and its bound, beside a container
	// that takes all it can get; the one that is not declared does not.
	_, r := m.await("jobs of both loops", func(_ wire.Status, r wire.RTReply) bool {
		return task(r, "irrigation.valve").Jobs >= enough && task(r, "plain.valve").Jobs >= enough/2
	})
	good, plain := task(r, "irrigation.valve"), task(r, "plain.valve")
	t.Logf("declared: %d jobs, response %s of %s proven, latency %s, exec %s", good.Jobs, good.MaxResponse, good.Bound, good.MaxLatency, good.MaxExec)
	t.Logf("plain:    %d jobs, %d late, response %s, latency %s, exec %s", plain.Jobs, plain.Misses, plain.MaxResponse, plain.MaxLatency, plain.MaxExec)
	if good.Misses+good.Beyond+good.Overruns != 0 || good.Bound == 0 || good.MaxResponse > good.Bound || good.Migrated != 0 {
		m.fatal("the declared loop: %+v", good)
	}
	if plain.Misses == 0 || plain.MaxResponse < 2*good.MaxResponse {
		m.fatal("the loop that is not declared does not miss: %+v", plain)
	}

	// One number changed: the proof is contradicted, and the machine does what
	// was declared for that.
	if _, err := v.Control().Switch(ctx, wire.SwitchRequest{Configuration: "hasty", Mode: wire.SwitchLive}); err != nil {
		m.fatal("switching to hasty: %v", err)
	}
	m.await("the reaction", func(st wire.Status, _ wire.RTReply) bool { return st.Configuration == "calm" && st.Healthy })
	console := v.Console().Transcript()
	for _, want := range []string{"task hasty.valve", "though its wcet with overheads is", "hasty: switching to calm, as its task declares"} {
		if !strings.Contains(console, want) {
			m.fatal("the console does not say %q", want)
		}
	}
}
