// Package firmware boots machines whose firmware is told in different ways what
// to start: by the partition table and a variable of the loader, and by
// variables of the firmware alone. Each machine takes what dies before its init
// and what works.
package firmware

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/delta/remote"
	"github.com/instar-os/instar/internal/disk"
	"github.com/instar-os/instar/internal/reason"
	"github.com/instar-os/instar/internal/slot"
	"github.com/instar-os/instar/internal/vm"
	"github.com/instar-os/instar/internal/wire"
)

// all says that there is time for everything (make vm-all), not for what CI runs.
var all = os.Getenv("INSTAR_VM_ALL") != ""

// patience is how long a machine may take for anything; it may be emulated on
// two busy processors.
const patience = 8 * time.Minute

// A family is one machine in several systems, and the updates between them.
type family struct {
	t   *testing.T
	dir string
	old string // digest of the system that the disk begins with
}

func (f *family) instar(args ...string) string {
	f.t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		f.t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(root, "out/instar"), append([]string{"-q", "--store", filepath.Join(f.dir, "store")}, args...)...)
	var errs strings.Builder
	cmd.Stderr, cmd.Dir = &errs, f.dir
	out, err := cmd.Output()
	if err != nil {
		f.t.Fatalf("instar %s: %v\n%s%s", strings.Join(args, " "), err, out, &errs)
	}
	return strings.TrimSpace(string(out))
}

// newFamily builds the smallest machine with boot as its definition has it.
func newFamily(t *testing.T, boot string) *family {
	t.Helper()
	f := &family{t: t, dir: t.TempDir()}
	if out, err := exec.Command("cp", "-r", "../../examples/minimal/.", f.dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	public := f.instar("key", "new", "test.key")
	f.write("common.yaml", fmt.Sprintf("boot: %s\nupdate: {keys: [%q]}\n", boot, public))
	f.old = f.build("old", "")
	f.instar("-f", "instar.yaml", "--patch", "common.yaml", "image", "--arch", "amd64", "-t", "raw", "--to", f.disk())
	return f
}

func (f *family) disk() string { return filepath.Join(f.dir, "disk.raw") }

func (f *family) write(name, text string) {
	f.t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, name), []byte(text), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

// build builds a system that differs from the definition by a patch.
func (f *family) build(name, patch string) string {
	f.t.Helper()
	f.write(name+".yaml", patch)
	args := []string{"-f", "instar.yaml", "--patch", "common.yaml"}
	if patch != "" {
		args = append(args, "--patch", name+".yaml")
	}
	var list []struct{ System string }
	out := f.instar(append(args, "-o", "json", "build", "--arch", "amd64")...)
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 1 {
		f.t.Fatalf("%v: %s", err, out)
	}
	return list[0].System
}

// update makes an update from the first system to another one.
func (f *family) update(name, patch string) (file, system string) {
	f.t.Helper()
	system = f.build(name, patch)
	file = filepath.Join(f.dir, name+".instar")
	f.instar("delta", "make", f.old, system, "--key", "test.key", "--to", file)
	return file, system
}

// A patient is a running machine.
type patient struct {
	t  *testing.T
	vm *vm.VM
}

func boot(t *testing.T, file string) *patient {
	t.Helper()
	tools := vm.Tools{Root: os.Getenv("INSTAR_TEST_TOOLS")}
	if err := tools.Command(t.Context(), "qemu-system-x86_64", "--version").Run(); err != nil {
		t.Skipf("no QEMU: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	v, err := vm.Start(ctx, vm.Options{Tools: tools, Arch: "amd64", Memory: 256 << 20, Disk: file, Persist: true, DiskSize: 768 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return &patient{t, v}
}

func (p *patient) ctx() context.Context {
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	p.t.Cleanup(cancel)
	return ctx
}

// settles waits until a system runs that is confirmed.
func (p *patient) settles(system string) {
	p.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		st, err := status(p.vm)
		if err == nil && st.Healthy && st.System == system && st.Trial != nil && st.Trial.Standing == wire.Settled {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("system %.12s does not settle: %v\n%+v\n%+v\n%s", system, err, st, st.Trial, p.vm.Console().Tail(60))
		}
		time.Sleep(300 * time.Millisecond)
	}
}

func status(v *vm.VM) (wire.Status, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return v.Control().Status(ctx)
}

// reboots sends an update and lets the machine try it.
func (p *patient) reboots(file string) {
	p.t.Helper()
	if err := p.send(file); err != nil {
		p.t.Fatalf("%v\n%s", err, p.vm.Console().Tail(40))
	}
	if err := p.vm.Control().Reboot(p.ctx()); err != nil {
		p.t.Fatal(err)
	}
}

func (p *patient) send(file string) error {
	u, err := remote.File(file)
	if err != nil {
		return err
	}
	defer u.Close()
	_, err = p.vm.Control().Send(p.ctx(), wire.UpdateRequest{}, wire.Outgoing{Front: u.Front(), Body: u.Body}, nil)
	return err
}

// judges waits for a verdict over a system and returns it.
func (p *patient) judges(system string) wire.Verdict {
	p.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		ctx, cancel := context.WithTimeout(p.t.Context(), 20*time.Second)
		list, err := p.vm.Control().Verdicts(ctx)
		cancel()
		for _, v := range list.Verdicts {
			if v.System == system {
				return v
			}
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("system %.12s is not judged: %v\n%+v\n%s", system, err, list, p.vm.Console().Tail(60))
		}
		time.Sleep(300 * time.Millisecond)
	}
}

// panics is a system whose kernel finds no init.
const panics = "kernel: {command: [quiet, panic=1, rdinit=/none]}\n"

// TestOneStartAtATime sends a system that dies before its init runs, which is
// started once and not again, and one that works.
func TestOneStartAtATime(t *testing.T) {
	for name, definition := range map[string]string{
		"table":     "{confirm: {after: 1s, within: 4m}}",
		"variables": "{switch: variables, confirm: {after: 1s, within: 4m}}",
	} {
		t.Run(name, func(t *testing.T) {
			f := newFamily(t, definition)
			p := boot(t, f.disk())
			p.settles(f.old)
			if all || name == "table" {
				dies, dead := f.update("dies", panics)
				p.dies(dies, dead)
				p.settles(f.old)
			}
			if all || name == "variables" {
				works, good := f.update("works", `containers: {hello: {env: {EDITION: "2"}}}`)
				p.works(works, good)
			}
			if err := p.vm.Close(); err != nil {
				t.Log(err) // that it was killed
			}
			f.holds(name == "table")
		})
	}
}

// dies tries what dies before its init.
func (p *patient) dies(file, system string) {
	p.t.Helper()
	p.reboots(file)
	if v := p.judges(system); v.Good || v.Reason != string(reason.NoBoot) {
		p.t.Errorf("what died before its init was judged %+v, want %s", v, reason.NoBoot)
	}
	if n := strings.Count(p.vm.Console().Tail(1<<20), "Kernel panic"); n != 1 {
		p.t.Errorf("the machine started it %d times, want once\n%s", n, p.vm.Console().Tail(60))
	}
}

// works tries what works, and starts it again.
func (p *patient) works(file, system string) {
	p.t.Helper()
	p.reboots(file)
	p.settles(system)
	if v := p.judges(system); !v.Good {
		p.t.Errorf("what works was judged %+v", v)
	}
	if !all {
		return
	}
	if err := p.vm.Control().Reboot(p.ctx()); err != nil {
		p.t.Fatal(err)
	}
	p.settles(system)
}

// holds looks at the slots that a machine has left: how many firmware sees.
func (f *family) holds(byTable bool) {
	f.t.Helper()
	file, err := os.Open(f.disk())
	if err != nil {
		f.t.Fatal(err)
	}
	defer file.Close()
	size, err := file.Seek(0, 2)
	if err != nil {
		f.t.Fatal(err)
	}
	g, err := disk.ReadGPT(file, size)
	if err != nil {
		f.t.Fatal(err)
	}
	shown := 0
	for n := range 2 {
		p, ok := g.Find(slot.Name(n))
		if !ok {
			f.t.Fatalf("slot %d is gone", n)
		}
		if p.Type == disk.TypeESP {
			shown++
		}
	}
	if want := map[bool]int{true: 1, false: 2}[byTable]; shown != want {
		f.t.Errorf("%d slots are for firmware, want %d", shown, want)
	}
}
