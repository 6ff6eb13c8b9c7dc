// Package recovery boots a machine that fails in every way that can be staged,
// and finds that it comes back by itself with the reason kept. One boot is
// shared by as many failures as can be.
//
// All but TestPanic need INSTAR_VM_ALL=1, which make vm-all sets.
package recovery

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/reason"
	"github.com/instar-os/instar/internal/vm"
	"github.com/instar-os/instar/internal/wire"
)

// patience is how long the machine may take for anything; it may be emulated on
// two busy processors.
const patience = 8 * time.Minute

// decisionShare is the part of a boot, from init's start to health, that
// reading the record and deciding may take. The goal is 50 ms on a machine of
// its own; an emulated one on a busy host has no milliseconds to speak of.
const decisionShare = 0.1

func all(t *testing.T) {
	t.Helper()
	if os.Getenv("INSTAR_VM_ALL") == "" {
		t.Skip("a test of many boots: make vm-all runs it (INSTAR_VM_ALL=1 go test ./test/recovery)")
	}
}

// A patient is the machine and its disk.
type patient struct {
	t    *testing.T
	disk string
	vm   *vm.VM
}

// image builds the machine with an init that can be sabotaged, once for all
// tests, and returns its disk.
func image(t *testing.T) string {
	t.Helper()
	dir := workshop(t)
	instar(t, dir, "lock")
	instar(t, dir, "image", "--to", "disk.raw")
	return dir + "/disk.raw"
}

// workshop is a directory with the definition, instar, and an init that can be
// sabotaged.
func workshop(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "out/instar")); err != nil {
		t.Fatalf("these tests run out/instar; make build makes it: %v", err)
	}
	dir := t.TempDir()
	for _, step := range [][]string{
		{"cp", root + "/out/instar", root + "/out/instar-agent", "machine/instar.yaml", dir},
		{"go", "build", "-tags", "sabotage", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", dir + "/instar-init", root + "/cmd/instar-init"},
	} {
		cmd := exec.Command(step[0], step[1:]...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(step, " "), err, out)
		}
	}
	return dir
}

// instar runs a command in a workshop and returns what it prints.
func instar(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command(dir+"/instar", append([]string{"-q", "-f", "instar.yaml"}, args...)...)
	cmd.Dir = dir
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("instar %s: %v\n%s%s", strings.Join(args, " "), err, out, &errs)
	}
	return strings.TrimSpace(string(out))
}

func boot(t *testing.T, disk string, change func(*vm.Options)) *patient {
	t.Helper()
	o := vm.Options{
		Tools: vm.Tools{Root: os.Getenv("INSTAR_TEST_TOOLS")}, Arch: "amd64", Memory: 384 << 20,
		Disk: disk, Persist: true, Watchdog: true,
	}
	if change != nil {
		change(&o)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	v, err := vm.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return &patient{t: t, disk: disk, vm: v}
}

func (p *patient) ctx() context.Context {
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	p.t.Cleanup(cancel)
	return ctx
}

// await waits for a status.
func (p *patient) await(what string, holds func(wire.Status) bool) wire.Status {
	p.t.Helper()
	deadline := time.Now().Add(patience)
	var last wire.Status
	for {
		ctx, cancel := context.WithTimeout(p.t.Context(), 20*time.Second)
		st, err := p.vm.Control().Status(ctx)
		cancel()
		if err == nil {
			if last = st; holds(st) {
				return st
			}
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s: not so after %s: %v\n%+v\n%+v\nconsole:\n%s", what, patience, err, last, last.Trial, p.vm.Console().Tail(60))
		}
		time.Sleep(300 * time.Millisecond)
	}
}

func settledIn(configuration string) func(wire.Status) bool {
	return func(st wire.Status) bool {
		return st.Configuration == configuration && st.Healthy && st.Trial != nil && st.Trial.Standing == wire.Settled
	}
}

// again waits for the boot after the one that a status is of.
func again(before wire.Status, holds func(wire.Status) bool) func(wire.Status) bool {
	began := time.Now()
	return func(st wire.Status) bool {
		return st.Uptime < time.Since(began)+time.Second && st.Uptime < before.Uptime+time.Since(began)-time.Second && holds(st)
	}
}

func (p *patient) switchTo(configuration string, mode wire.SwitchMode) {
	p.t.Helper()
	if _, err := p.vm.Control().Switch(p.ctx(), wire.SwitchRequest{Configuration: configuration, Mode: mode}); err != nil {
		p.t.Fatalf("switching to %s: %v\n%s", configuration, err, p.vm.Console().Tail(40))
	}
}

// verdict is the newest one.
func (p *patient) verdict() wire.Verdict {
	p.t.Helper()
	list, err := p.vm.Control().Verdicts(p.ctx())
	if err != nil {
		p.t.Fatal(err)
	}
	if len(list.Verdicts) == 0 {
		return wire.Verdict{}
	}
	return list.Verdicts[0]
}

// boots are what the flight recorder tells, the one that runs last.
func (p *patient) boots() []wire.BootInfo {
	p.t.Helper()
	list, err := p.vm.Control().Boots(p.ctx())
	if err != nil {
		p.t.Fatal(err)
	}
	return list.Boots
}

// began checks how this boot began.
func (p *patient) began(how reason.Code) {
	p.t.Helper()
	if all := p.boots(); all[len(all)-1].Start != how {
		p.t.Errorf("the boot began by %s, want %s: %s", all[len(all)-1].Start, how, told(all))
	}
}

// ended checks how the newest boot of a configuration has ended, and returns it.
func (p *patient) ended(configuration string, how ...reason.Code) wire.BootInfo {
	p.t.Helper()
	all := p.boots()
	for _, b := range slices.Backward(all) {
		if b.Configuration != configuration || b.Current {
			continue
		}
		if !slices.Contains(how, b.End) {
			p.t.Errorf("the boot of %s has ended by %s, want one of %v: %s", configuration, b.End, how, told(all))
		}
		return b
	}
	p.t.Errorf("no boot of %s is remembered: %s", configuration, told(all))
	return wire.BootInfo{}
}

// told is a list of boots, as instar boot list has it.
func told(all []wire.BootInfo) string {
	var s strings.Builder
	for _, b := range all {
		fmt.Fprintf(&s, "\n  %d %s: %s, %s %s (%s)", b.Number, b.Configuration, b.Start, b.End, b.Wrong, b.Detail)
	}
	return s.String()
}

func (p *patient) watchdogs() int {
	p.t.Helper()
	events, err := p.vm.Events(p.ctx())
	if err != nil {
		p.t.Fatal(err)
	}
	n := 0
	for _, e := range events {
		if e == "WATCHDOG" {
			n++
		}
	}
	return n
}

// try puts a configuration on trial, which fails, and finds the machine back in
// its old one with a verdict.
func (p *patient) try(configuration string, reasons ...string) {
	p.t.Helper()
	before := p.await("before "+configuration, settledIn("day"))
	p.switchTo(configuration, wire.SwitchReboot)
	p.await("back from "+configuration, again(before, func(st wire.Status) bool {
		return settledIn("day")(st) && p.verdict().Configuration == configuration
	}))
	v := p.verdict()
	if v.Good || !slices.Contains(reasons, v.Reason) {
		p.t.Errorf("%s: verdict %+v, want bad for one of %v", configuration, v, reasons)
	}
	p.t.Logf("%s: %s: %s", configuration, v.Reason, v.Detail)
	list, err := p.vm.Control().Configurations(p.ctx())
	if err != nil || list.Next != "day" || list.Once {
		p.t.Errorf("after %s the next boot runs %s (once: %v), %v", configuration, list.Next, list.Once, err)
	}
}

// TestTrial boots twice: a configuration that works is confirmed and stays, and
// the decision is quick.
func TestTrial(t *testing.T) {
	all(t)
	p := boot(t, image(t), nil)
	first := p.await("first boot", settledIn("day"))
	init := first.Uptime - first.Ready - first.Trial.After
	share := float64(first.Trial.Took) / float64(init)
	if first.Trial.Took == 0 || share > decisionShare {
		t.Errorf("reading the record and deciding took %s of %s", first.Trial.Took, init)
	}
	t.Logf("reading the record and deciding took %s of %s, %.1f %%", first.Trial.Took, init, 100*share)
	p.kexec(first)
	p.switchTo("night", wire.SwitchReboot)
	st := p.await("night on trial or confirmed", func(st wire.Status) bool { return st.Configuration == "night" })
	t.Logf("%+v", *st.Trial)
	p.await("night confirmed", settledIn("night"))
	if v := p.verdict(); !v.Good || v.Configuration != "night" || v.Reason != "confirmed" {
		t.Errorf("verdict %+v", v)
	}
	if list, err := p.vm.Control().Configurations(p.ctx()); err != nil || list.Next != "night" || list.Once {
		t.Errorf("the next boot runs %+v, %v", list, err)
	}
	p.contained("night")
	if err := p.vm.Control().RejectTrial(p.ctx(), wire.RejectRequest{Reason: "no"}); err == nil || !strings.Contains(err.Error(), "nothing is on trial") {
		t.Errorf("rejecting what is not on trial: %v", err)
	}
}

// kexec goes to another configuration and back without firmware and with it,
// and finds that a machine which takes no other kernel goes by its firmware.
func (p *patient) kexec(st wire.Status) {
	p.t.Helper()
	took := map[string]time.Duration{}
	for _, step := range []struct {
		to, by string
		kexec  bool
		start  reason.Code
	}{
		{"night", "firmware", false, reason.Reboot},
		{"day", "kexec", true, reason.Kexec},
		{"stubborn", "kexec again", true, reason.Kexec},
		{"day", "firmware, for want of kexec", true, reason.Reboot},
	} {
		began := time.Now()
		plan, err := p.vm.Control().Switch(p.ctx(), wire.SwitchRequest{Configuration: step.to, Mode: wire.SwitchOnce, Kexec: step.kexec})
		if err != nil {
			p.t.Fatal(err)
		}
		if by := step.start == reason.Kexec; plan.Kexec != by || step.kexec && !by && !strings.Contains(plan.NoKexec, "kexec_load_disabled") {
			p.t.Errorf("to %s: plan %+v", step.to, plan)
		}
		st = p.await(step.to+" by "+step.by, again(st, func(st wire.Status) bool { return st.Configuration == step.to && st.Healthy }))
		took[step.by] = time.Since(began)
		p.began(step.start)
		p.t.Logf("to %s by %s: healthy after %s, of which the new kernel %s", step.to, step.by, took[step.by].Round(time.Millisecond), st.Uptime.Round(time.Millisecond))
		p.await("rest", settledIn(step.to))
	}
	p.t.Logf("without firmware %.2f of the time with it", took["kexec"].Seconds()/took["firmware"].Seconds())
}

// contained finds that a container reaches neither disk, slot nor store, though
// it may make device nodes.
func (p *patient) contained(configuration string) {
	p.t.Helper()
	for _, c := range []struct{ what, command, want string }{
		{"a node of the disk", "busybox mknod /nodes/disk b 254 0 && busybox head -c 512 /nodes/disk", "not permitted"},
		{"a node of the record", "busybox mknod /nodes/record b 254 3 && busybox dd if=/dev/zero of=/nodes/record", "not permitted"},
		{"the root", "busybox touch /here", "ead-only file system"},
		{"mounts of disks", "busybox grep -E 'ext4|vfat' /proc/mounts | busybox grep -v ' ro[, ]' || echo none", "none"},
		{"the supervisor's directory", "busybox ls /run/instar", "No such file"},
	} {
		var out strings.Builder
		res, err := p.vm.Control().Exec(p.ctx(), wire.ExecRequest{Container: "burglar", Args: []string{"/bin/busybox", "sh", "-c", "exec 2>&1; PATH=/bin; " + c.command}},
			wire.Terminal{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out})
		if err != nil || !strings.Contains(out.String(), c.want) {
			p.t.Errorf("%s: a container tries %s: %q, %+v, %v; want %q", configuration, c.what, out.String(), res, err, c.want)
		}
	}
}

// TestClasses puts what cannot work on trial.
func TestClasses(t *testing.T) {
	all(t)
	p := boot(t, image(t), nil)
	first := p.await("first boot", settledIn("day"))
	for _, row := range []struct {
		configuration string
		reasons       []string
	}{
		{"unhealthy", []string{"health-timeout"}},
		{"looping", []string{"crash-loop"}},
		{"unreachable", []string{"health-timeout"}},
		{"crash", []string{"init-crash"}},
		{"freeze", []string{"watchdog"}},
		{"hang", []string{"watchdog"}},
		{"panic", []string{"no-boot"}},
	} {
		t.Run(row.configuration, func(t *testing.T) {
			p.t = t
			p.try(row.configuration, row.reasons...)
			p.began(reason.Rollback)
			switch code := reason.Code(row.reasons[0]); code {
			case reason.NoBoot: // it never came to a record
			case reason.HealthTimeout, reason.CrashLoop:
				if b := p.ended(row.configuration, reason.Rollback); b.Start != reason.Trial || !strings.HasPrefix(b.Detail, string(code)) {
					t.Errorf("its boot is remembered as %+v", b)
				}
			default:
				p.ended(row.configuration, code)
			}
		})
	}
	p.t = t
	t.Logf("the machine remembers:%s", told(p.boots()))
	p.dyingWords(p.ended("crash", reason.InitCrash), "Kernel panic - not syncing: Attempted to kill init!", "sabotage")
	p.switchTo("unhealthy", wire.SwitchReboot)
	st := p.await("unhealthy on trial", func(st wire.Status) bool {
		return st.Configuration == "unhealthy" && st.Trial != nil && st.Trial.Standing == wire.OnTrial && len(st.Trial.Missing) > 0
	})
	if st.Trial.Left == 0 || !strings.Contains(strings.Join(st.Trial.Missing, ";"), "container ill is") {
		t.Errorf("status says %+v", st.Trial)
	}
	if err := p.vm.Control().RejectTrial(p.ctx(), wire.RejectRequest{Reason: "it smells"}); err != nil {
		t.Error(err)
	}
	p.await("rejected", again(st, settledIn("day")))
	if v := p.verdict(); v.Good || v.Reason != "rolled-back-by-operator" || v.Detail != "it smells" {
		t.Errorf("verdict %+v", v)
	}
	list, err := p.vm.Control().Verdicts(p.ctx())
	if err != nil || list.Current != first.System || len(list.Verdicts) != 7 {
		t.Errorf("verdicts: %+v, %v", list, err)
	}
	if err := p.vm.Control().Forgive(p.ctx(), wire.ForgiveRequest{System: first.System[:8]}); err != nil || p.verdict() != (wire.Verdict{}) {
		t.Errorf("forgiving: %v, %+v", err, p.verdict())
	}
}

// dyingWords finds that the kernel's own last messages came through the
// firmware's variables.
func (p *patient) dyingWords(b wire.BootInfo, words ...string) {
	p.t.Helper()
	rec, err := p.vm.Control().Boot(p.ctx(), wire.BootRequest{Number: b.Number})
	if err != nil {
		p.t.Fatal(err)
	}
	var text strings.Builder
	for _, e := range rec.Entries {
		if e.Kind == wire.EntryCrash {
			text.WriteString(e.Text + "\n")
		}
	}
	for _, want := range words {
		if !strings.Contains(text.String(), want) {
			p.t.Errorf("the dying kernel's words lack %q:\n%s", want, &text)
		}
	}
}

// TestPanic is what every run of the tests boots of this: a machine whose kernel
// dies comes back by itself, and what the kernel said came through the
// firmware's variables.
func TestPanic(t *testing.T) {
	if os.Getenv("INSTAR_TEST_TOOLS") == "" {
		t.Skip("no QEMU: scripts/test-inputs prints the environment")
	}
	p := boot(t, image(t), nil)
	day := p.await("first boot", settledIn("day"))
	p.exec("idle", "echo", "before")
	if err := p.vm.SysRq(p.ctx(), 'c'); err != nil {
		t.Fatal(err)
	}
	p.await("after the kernel's death", again(day, settledIn("day")))
	p.began(reason.Panic)
	p.dyingWords(p.ended("day", reason.Panic), "Kernel panic - not syncing: sysrq triggered crash")
}

// TestWatchdog lets the hardware reset a machine whose init stands still, one
// whose kernel is dead, and one whose health starves.
func TestWatchdog(t *testing.T) {
	all(t)
	p := boot(t, image(t), nil)
	day := p.await("first boot", settledIn("day"))
	t.Run("init", func(t *testing.T) {
		p.t = t
		p.switchTo("freeze", wire.SwitchOnce)
		day = p.await("after init stood still", again(day, settledIn("day")))
		if n := p.watchdogs(); n != 1 {
			t.Errorf("%d resets by the watchdog, want 1", n)
		}
		p.ended("freeze", reason.Watchdog)
		p.began(reason.Watchdog)
	})
	t.Run("kernel", func(t *testing.T) {
		p.t = t
		p.exec("idle", "echo", "before")
		if err := p.vm.SysRq(p.ctx(), 'c'); err != nil {
			t.Fatal(err)
		}
		day = p.await("after the kernel's death", again(day, settledIn("day")))
		p.ended("day", reason.Panic)
		p.began(reason.Panic)
	})
	t.Run("health", func(t *testing.T) {
		p.t = t
		before := p.watchdogs()
		p.exec("idle", "touch", "/tmp/ill")
		day = p.await("after its health has starved", again(day, settledIn("day")))
		if n := p.watchdogs(); n != before+1 {
			t.Errorf("%d resets by the watchdog, want %d", n, before+1)
		}
		p.ended("day", reason.Watchdog)
		t.Logf("the machine remembers:%s", told(p.boots()))
	})
}

func (p *patient) exec(container string, args ...string) {
	p.t.Helper()
	res, err := p.vm.Control().Exec(p.ctx(), wire.ExecRequest{Container: container, Args: append([]string{"/bin/busybox"}, args...)},
		wire.Terminal{Stdin: strings.NewReader(""), Stdout: &strings.Builder{}, Stderr: &strings.Builder{}})
	if err != nil || res.Code != 0 {
		p.t.Fatalf("%s in %s: %+v, %v", fmt.Sprint(args), container, res, err)
	}
}

// TestPowerCuts resets a machine again and again before it comes to rest: it
// runs the fallback then, and its usual configuration after that.
func TestPowerCuts(t *testing.T) {
	all(t)
	p := boot(t, image(t), nil)
	for i := range 3 {
		st := p.await(fmt.Sprint("boot ", i), func(st wire.Status) bool {
			return st.Configuration == "day" && st.Trial != nil && st.Trial.Standing == wire.Settling && st.Uptime < 100*time.Second
		})
		if err := p.vm.Reset(p.ctx()); err != nil {
			t.Fatal(err)
		}
		p.await("reset", again(st, func(wire.Status) bool { return true }))
	}
	st := p.await("rescue", func(st wire.Status) bool {
		return st.Configuration == "rescue" && st.Healthy && st.Trial.Standing == wire.Rescued
	})
	if !strings.Contains(strings.Join(st.Warnings, "\n"), "3 boots in a row have not settled") {
		t.Errorf("warnings %q", st.Warnings)
	}
	if i := slices.IndexFunc(st.Interfaces, func(i wire.InterfaceStatus) bool { return i.State == "up" }); i < 0 {
		t.Errorf("the network is not up: %+v", st.Interfaces)
	}
	p.contained("rescue")
	p.began(reason.Fallback)
	if err := p.vm.Control().Reboot(p.ctx()); err != nil {
		t.Fatal(err)
	}
	p.await("back to day", again(st, settledIn("day")))
	cuts := 0
	for _, b := range p.boots() {
		if b.End == reason.Reset {
			cuts++
		}
	}
	if cuts < 3 {
		t.Errorf("three cuts are remembered as%s", told(p.boots()))
	}
}

// TestDataAndClock boots with a data partition that nobody can read and a clock
// that has never been set: the fallback runs, and its network is up.
func TestDataAndClock(t *testing.T) {
	all(t)
	disk := image(t)
	p := boot(t, disk, nil)
	p.await("first boot", settledIn("day"))
	if err := p.vm.PowerOff(p.ctx()); err != nil {
		t.Fatal(err)
	}
	early := boot(t, disk, func(o *vm.Options) { o.Clock = "1970-01-01T00:00:00" })
	st := early.await("a boot in 1970", settledIn("day"))
	if st.Started.Year() > 1970 {
		t.Logf("the machine believes to have started in %s", st.Started)
	}
	early.try("unhealthy", "health-timeout")
	if err := early.vm.PowerOff(early.ctx()); err != nil {
		t.Fatal(err)
	}
	if err := spoil(disk, "instar-data"); err != nil {
		t.Fatal(err)
	}
	broken := boot(t, disk, nil)
	st = broken.await("a boot without data", func(st wire.Status) bool { return st.Configuration == "rescue" && st.Healthy })
	if !strings.Contains(strings.Join(st.Warnings, "\n"), "could not mount the data partition") {
		t.Errorf("warnings %q", st.Warnings)
	}
	broken.contained("rescue")
	t.Logf("the machine remembers:%s", told(broken.boots()))
}
