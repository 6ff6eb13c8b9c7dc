package vm_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/cpio"
	"github.com/instar-os/instar/internal/vm"
	"github.com/instar-os/instar/internal/vm/vmtest"
	"github.com/instar-os/instar/internal/wire"
)

// tools are those of $INSTAR_TEST_TOOLS, a tool tree, or else the host's.
func tools() vm.Tools { return vm.Tools{Root: os.Getenv("INSTAR_TEST_TOOLS")} }

func needQEMU(t testing.TB, program string) {
	t.Helper()
	if err := tools().Command(t.Context(), program, "--version").Run(); err != nil {
		t.Skipf("%s: %v", program, err)
	}
}

// kernel returns the Debian cloud kernel in the cache, where `make test` puts it.
func kernel(t testing.TB, arch string) string {
	t.Helper()
	cache := os.Getenv("INSTAR_CACHE")
	if cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			t.Skip("no cache directory:", err)
		}
		cache = filepath.Join(dir, "instar")
	}
	p := filepath.Join(cache, "test", "vmlinuz-"+arch)
	if _, err := os.Stat(p); err != nil {
		t.Skipf("linux-image-cloud-%s: %v", arch, err)
	}
	return p
}

var consoles = map[string]string{"amd64": "ttyS0", "arm64": "ttyAMA0"}

// testKernel is a kernel and an initrd that holds nothing but testdata/init.
func testKernel(t testing.TB, arch string) *vm.Kernel {
	t.Helper()
	needQEMU(t, map[string]string{"amd64": "qemu-system-x86_64", "arm64": "qemu-system-aarch64"}[arch])
	image, dir := kernel(t, arch), t.TempDir()
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(dir, "init"), "./testdata/init")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the test's init: %v\n%s", err, out)
	}
	program, err := os.ReadFile(filepath.Join(dir, "init"))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := cpio.Write(&b, []cpio.File{{Path: "init", Mode: 0o755, Size: int64(len(program)), Data: bytes.NewReader(program)}}); err != nil {
		t.Fatal(err)
	}
	initrd := filepath.Join(dir, "initrd")
	if err := os.WriteFile(initrd, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return &vm.Kernel{Image: image, Initrd: initrd, Command: []string{"console=" + consoles[arch], "quiet", "panic=1"}}
}

// limited returns a context for what an emulated machine does.
func limited(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func start(t testing.TB, o vm.Options) *vm.VM {
	t.Helper()
	if o.Tools, o.Memory = tools(), 256<<20; o.Arch == "" {
		o.Arch = "amd64"
	}
	v, err := vm.Start(limited(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return v
}

func TestMachine(t *testing.T) {
	dir := t.TempDir()
	var copied bytes.Buffer
	v := start(t, vm.Options{Kernel: testKernel(t, "amd64"), Dir: dir, Stdout: &copied, Isolated: true,
		Forward: map[string]int{"http": 80, "mqtt": 1883}})
	ctx := limited(t)

	st, err := v.WaitHealthy(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if st.Machine != "test" {
		t.Errorf("status of machine %q, want test", st.Machine)
	}
	got, err := v.Console().Expect(ctx, regexp.MustCompile(`hello from init: (.*)\r?\n`))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(got[1], "console=ttyS0 quiet panic=1") {
		t.Errorf("kernel arguments are %q", got[1])
	}
	if err := v.Console().Send("are you there\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Console().Expect(ctx, regexp.MustCompile(`echo <are you there>`)); err != nil {
		t.Error(err)
	}
	if err := v.Call(ctx, "dance", nil, nil); err == nil || !strings.Contains(err.Error(), "no method dance") {
		t.Errorf("an unknown method gives %v", err)
	}
	checkForwards(t, v)
	if err := v.PowerOff(ctx); err != nil {
		t.Error(err)
	}
	if err := v.Call(ctx, wire.MethodStatus, nil, nil); err == nil {
		t.Error("a machine that has ended answers")
	}
	if _, err := v.Console().Expect(ctx, regexp.MustCompile(`never`)); err == nil || !strings.Contains(err.Error(), "ended before") {
		t.Errorf("Expect after the end gives %v", err)
	}
	if !strings.Contains(copied.String(), "hello from init") {
		t.Errorf("Stdout got %q", copied.String())
	}
	checkGone(t, v, dir)
}

// The other architecture is emulated the same way.
func TestArm64(t *testing.T) {
	v := start(t, vm.Options{Arch: "arm64", Kernel: testKernel(t, "arm64"), Forward: map[string]int{"http": 80}})
	ctx := limited(t)
	if _, err := v.WaitHealthy(ctx); err != nil {
		t.Fatal(err)
	}
	if err := v.PowerOff(ctx); err != nil {
		t.Error(err)
	}
}

func checkForwards(t *testing.T, v *vm.VM) {
	t.Helper()
	seen := map[string]bool{}
	for _, name := range []string{"http", "mqtt"} {
		addr := v.Forwards()[name]
		if host, _, err := net.SplitHostPort(addr); err != nil || host != "127.0.0.1" || seen[addr] {
			t.Errorf("forward %s is %q", name, addr)
		}
		seen[addr] = true
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Errorf("forward %s: %v", name, err)
			continue
		}
		conn.Close()
	}
}

// checkGone verifies that Close leaves neither files nor an emulator.
func checkGone(t *testing.T, v *vm.VM, dir string) {
	t.Helper()
	for range 2 {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	}
	select {
	case <-v.Done():
	default:
		t.Error("the emulator still runs")
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("%v is left in the machine's directory", left)
	}
}

func TestReboot(t *testing.T) {
	k := testKernel(t, "amd64")
	k.Command = append(k.Command, "test.reboot")
	v := start(t, vm.Options{Kernel: k, NoReboot: true})
	ctx := limited(t)
	if _, err := v.WaitHealthy(ctx); err == nil || !strings.Contains(err.Error(), "hello from init") {
		t.Errorf("a machine that ended: %v, want an error with its console", err)
	}
	if err := v.Wait(ctx); err != nil {
		t.Error(err)
	}
}

// A machine that does not listen is ended all the same, and Close needs no PowerOff.
func TestDeafMachine(t *testing.T) {
	k := testKernel(t, "amd64")
	k.Initrd = ""
	v := start(t, vm.Options{Kernel: k})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := v.WaitHealthy(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "did not answer") {
		t.Errorf("WaitHealthy gives %v", err)
	}
	if err := v.PowerOff(ctx); err == nil || !strings.Contains(err.Error(), "did not power off") {
		t.Errorf("PowerOff gives %v", err)
	}
	select {
	case <-v.Done():
	default:
		t.Error("the emulator still runs")
	}
}

func TestDisk(t *testing.T) {
	k := testKernel(t, "amd64")
	dir := t.TempDir()
	disk := filepath.Join(dir, "disk, raw.img") // a comma is special to QEMU
	if err := os.WriteFile(disk, make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	v := start(t, vm.Options{Kernel: k, Disk: disk, DiskSize: 32 << 20, Watchdog: true})
	if _, err := v.WaitHealthy(limited(t)); err != nil {
		t.Fatal(err)
	}
	if err := v.PowerOff(limited(t)); err != nil {
		t.Error(err)
	}
	if fi, err := os.Stat(disk); err != nil || fi.Size() != 1<<20 {
		t.Errorf("the image itself was changed: %v, %v", fi.Size(), err)
	}
}

// Firmware that finds nothing to boot says so on the console.
func TestFirmware(t *testing.T) {
	for arch, c := range map[string]struct{ program, pkg, code string }{
		"amd64": {"qemu-system-x86_64", "ovmf", "usr/share/OVMF/OVMF_CODE_4M.fd"},
		"arm64": {"qemu-system-aarch64", "qemu-efi-aarch64", "usr/share/AAVMF/AAVMF_CODE.fd"},
	} {
		t.Run(arch, func(t *testing.T) {
			needQEMU(t, c.program)
			if _, err := tools().File(c.code); err != nil {
				t.Skipf("%s: %v", c.pkg, err)
			}
			testFirmware(t, arch)
		})
	}
}

func testFirmware(t *testing.T, arch string) {
	disk := filepath.Join(t.TempDir(), "empty.img")
	if err := os.WriteFile(disk, make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	v := start(t, vm.Options{Arch: arch, Disk: disk, NoReboot: true})
	if _, err := v.Console().Expect(limited(t), regexp.MustCompile(`BdsDxe`)); err != nil {
		t.Error(err)
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
}

func TestStartErrors(t *testing.T) {
	needQEMU(t, "qemu-system-x86_64")
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("not a kernel, nor a disk"), 0o644); err != nil {
		t.Fatal(err)
	}
	bare := filepath.Join(dir, "bare")
	if err := os.MkdirAll(bare, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		o    vm.Options
		want string
		is   error
	}{
		"nothing to boot":      {vm.Options{}, "neither disk nor kernel", nil},
		"unknown architecture": {vm.Options{Arch: "vax", Disk: file}, `architecture "vax"`, nil},
		"no disk":              {vm.Options{Disk: filepath.Join(dir, "none.img")}, "none.img", fs.ErrNotExist},
		"no kernel":            {vm.Options{Kernel: &vm.Kernel{Image: filepath.Join(dir, "vmlinuz")}}, "vmlinuz", fs.ErrNotExist},
		"no firmware":          {vm.Options{Tools: vm.Tools{Root: bare}, Disk: file}, "firmware for amd64", fs.ErrNotExist},
		"no emulator":          {vm.Options{Tools: vm.Tools{Root: bare}, Kernel: &vm.Kernel{Image: file}}, "starting qemu-system-x86_64", fs.ErrNotExist},
		"QEMU refuses":         {vm.Options{Tools: tools(), Memory: 1 << 60, Kernel: &vm.Kernel{Image: file}}, "qemu-system-x86_64 ended: exit status 1: ", nil},
	} {
		t.Run(name, func(t *testing.T) {
			if c.o.Arch == "" {
				c.o.Arch = "amd64"
			}
			c.o.Dir = t.TempDir()
			v, err := vm.Start(limited(t), c.o)
			if err == nil {
				v.Close()
				t.Fatal("it started")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q, want %q in it", err, c.want)
			}
			if c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("error %q is not %q", err, c.is)
			}
			if left, _ := os.ReadDir(c.o.Dir); len(left) > 0 {
				t.Errorf("%v is left", left)
			}
		})
	}
}

// A program of a tool tree runs with the tree's loader and libraries alone.
func TestToolTree(t *testing.T) {
	if tools().Root == "" {
		t.Skip("INSTAR_TEST_TOOLS: no tool tree")
	}
	cmd := tools().Command(t.Context(), "qemu-system-x86_64", "--version")
	if filepath.IsLocal(cmd.Path) || !strings.HasPrefix(cmd.Path, tools().Root) {
		t.Errorf("the loader is %s, which is not in the tree", cmd.Path)
	}
	out, err := cmd.Output()
	if err != nil || !bytes.HasPrefix(out, []byte("QEMU emulator version")) {
		t.Errorf("%v: %q, %v", cmd, out, err)
	}
}

func TestHasKVM(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		if vm.HasKVM(arch) && arch != runtime.GOARCH {
			t.Errorf("KVM of %s on %s", arch, runtime.GOARCH)
		}
	}
}

// One boot serves many checks, and a check that fails once gets another try.
func TestShared(t *testing.T) {
	k, boots, tries := testKernel(t, "amd64"), 0, 0
	m := &vmtest.Machine{Name: "shared", Ready: vmtest.Healthy, Options: func() (vm.Options, error) {
		boots++
		return vm.Options{Tools: tools(), Arch: "amd64", Memory: 256 << 20, Kernel: k}, nil
	}}
	m.Check(t, "first", func(ctx context.Context, v *vm.VM) error {
		return v.Call(ctx, wire.MethodStatus, nil, nil)
	})
	m.Check(t, "second", func(context.Context, *vm.VM) error {
		if tries++; tries == 1 {
			return io.ErrNoProgress
		}
		return nil
	})
	if boots != 1 || tries != 2 {
		t.Errorf("%d boots and %d tries, want 1 and 2", boots, tries)
	}
	v := m.VM(t)
	if err := errors.Join(v.PowerOff(limited(t)), v.Close()); err != nil {
		t.Error(err)
	}
}
