package image

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/disk"
	"github.com/instar-os/instar/internal/linux"
	"github.com/instar-os/instar/internal/slot"
	"github.com/instar-os/instar/internal/system"
)

// board is a disk of a machine with a board's firmware, and how to look at it.
type board struct {
	t    *testing.T
	w    *world
	name string
}

func newBoard(t *testing.T, arch string, b system.Boot, further map[string][]byte) board {
	t.Helper()
	w := newWorld(t, realBoot(t), "6.12.1")
	w.m.Arch, w.m.Kernel.Stub, w.m.Kernel.Loader = arch, system.Object{}, system.Object{}
	b.Slots, b.SlotSize, b.DataFS = 2, 64<<20, w.m.Boot.DataFS
	if further != nil {
		b.Files = w.image(further)
	}
	w.m.Boot = b
	w.system()
	x := board{t, w, filepath.Join(t.TempDir(), "disk.img")}
	if err := plan(t, w, Options{}).WriteRaw(t.Context(), treeTool(testTree(t)), x.name); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("sfdisk", "--verify", x.name).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "No errors detected") {
		t.Errorf("sfdisk: %v: %s", err, out)
	}
	return x
}

func (x board) open() (slot.Disk, slot.Method) {
	x.t.Helper()
	d, err := linux.OpenDisk(x.name)
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() { d.Close() })
	size, err := d.Seek(0, io.SeekEnd)
	if err != nil {
		x.t.Fatal(err)
	}
	at := slot.Disk{Device: d, Size: size}
	m, err := slot.Open(at, x.w.m.Arch, nil)
	if err != nil {
		x.t.Fatal(err)
	}
	return at, m
}

// file reads a file of a partition with mtools.
func (x board) file(partition, name string) string {
	x.t.Helper()
	at, _ := x.open()
	g, err := disk.ReadGPT(at.Device, at.Size)
	if err != nil {
		x.t.Fatal(err)
	}
	p, ok := g.Find(partition)
	if !ok {
		x.t.Fatalf("there is no partition %s", partition)
	}
	out, err := exec.Command("mtype", "-i", fmt.Sprintf("%s@@%d", x.name, p.Offset()), "::"+name).CombinedOutput()
	if err != nil {
		x.t.Fatalf("mtype %s: %v: %s", name, err, out)
	}
	return string(out)
}

// further stages, tries and commits the other slot.
func (x board) further(check func(slot.Method)) {
	x.t.Helper()
	at, m := x.open()
	files, err := at.Files(0)
	if err != nil {
		x.t.Fatal(err)
	}
	if n, err := m.Current(); err != nil || n != 0 {
		x.t.Fatalf("slot %d is in force: %v", n, err)
	}
	for _, step := range []func(int) error{func(n int) error { return m.Stage(n, files) }, m.Try} {
		if err := step(1); err != nil {
			x.t.Fatal(err)
		}
	}
	check(m)
	if err := m.Commit(1); err != nil {
		x.t.Fatal(err)
	}
	if n, err := m.Current(); err != nil || n != 1 {
		x.t.Errorf("committed, slot %d is in force: %v", n, err)
	}
}

func TestUBootDisk(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		environment := &system.Environment{Device: "mmc 0", Offset: 512 << 10, Size: 16 << 10}
		x := newBoard(t, arch, system.Boot{Firmware: slot.FirmwareUBoot, Environment: environment},
			map[string][]byte{"dtb/board.dtb": random(5000, 9), "note.txt": []byte("small")})
		conf := x.file(slot.Name(0), "extlinux/extlinux.conf")
		dir := "/instar-" + x.w.d.Short()
		for _, want := range []string{
			"default day\n", "label night\n\tlinux " + dir + "/kernel\n\tinitrd " + dir + "/initrd\n\tfdtdir /dtb\n\tappend instar.system=" + x.w.d.String() + " instar.configuration=night",
		} {
			if !strings.Contains(conf, want) {
				t.Errorf("%s: extlinux.conf has no %q:\n%s", arch, want, conf)
			}
		}
		if x.file(slot.Name(0), dir+"/initrd") != string(read(t, x.w.ObjectPath(x.w.m.Kernel.Initrd.Digest))) ||
			x.file(slot.Name(0), "dtb/board.dtb") != string(random(5000, 9)) || x.file(slot.Name(0), "note.txt") != "small" {
			t.Errorf("%s: the slot's files are not those of the system", arch)
		}
		x.printenv("instar_part=1", "upgrade_available=0", "bootlimit=3")
		x.further(func(m slot.Method) { x.printenv("instar_part=1", "instar_try=2", "upgrade_available=1", "bootcount=0") })
		x.printenv("instar_part=2", "upgrade_available=0")
	}
}

// printenv lets U-Boot's own tool read the environment.
func (x board) printenv(want ...string) {
	x.t.Helper()
	tool, err := exec.LookPath("fw_printenv")
	if err != nil {
		x.t.Log("fw_printenv (package libubootenv-tool) is not installed")
		return
	}
	e := x.w.m.Boot.Environment
	config := filepath.Join(x.t.TempDir(), "fw_env.config")
	text := fmt.Sprintf("%s 0x%x 0x%x\n%s 0x%x 0x%x\n", x.name, e.Offset, e.Size, x.name, e.Offset+e.Size, e.Size)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		x.t.Fatal(err)
	}
	out, err := exec.Command(tool, "-c", config).CombinedOutput()
	if err != nil {
		x.t.Fatalf("fw_printenv: %v: %s", err, out)
	}
	for _, line := range want {
		if !strings.Contains("\n"+string(out), "\n"+line+"\n") {
			x.t.Errorf("fw_printenv does not show %s:\n%s", line, out)
		}
	}
}

func TestPiDisk(t *testing.T) {
	x := newBoard(t, "arm64", system.Boot{Firmware: slot.FirmwarePi},
		map[string][]byte{"start4.elf": random(9000, 3), "usercfg.txt": []byte("dtparam=spi=on\n")})
	if got := x.file(slot.SelectName, "autoboot.txt"); len(got) != 512 || !strings.HasPrefix(got, "[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=2\n") {
		t.Errorf("autoboot.txt is %q", got)
	}
	if got, want := x.file(slot.Name(0), "config.txt"), "arm_64bit=1\nenable_uart=1\nkernel=kernel8.img\ninitramfs initrd followkernel\ninclude usercfg.txt\n"; got != want {
		t.Errorf("config.txt is %q, want %q", got, want)
	}
	if got := x.file(slot.Name(0), "cmdline.txt"); !strings.HasPrefix(got, "instar.system="+x.w.d.String()+" instar.configuration=day ") || strings.Count(got, "\n") != 1 {
		t.Errorf("cmdline.txt is %q", got)
	}
	if x.file(slot.Name(0), "start4.elf") != string(random(9000, 3)) || x.file(slot.Name(0), "kernel8.img") != string(read(t, x.w.ObjectPath(x.w.m.Kernel.Image.Digest))) {
		t.Error("the slot's files are not those of the system")
	}
	x.further(func(slot.Method) {
		if got := x.file(slot.SelectName, "autoboot.txt"); !strings.Contains(got, "[tryboot]\nboot_partition=3\n") || !strings.Contains(got, "tryboot_a_b=1\nboot_partition=2\n") {
			t.Errorf("on trial, autoboot.txt is %q", got)
		}
	})
}

// What a slot has of its own cannot come from boot.files as well.
func TestFurtherFilesRefused(t *testing.T) {
	w := newWorld(t, realBoot(t), "6.12.1")
	w.m.Boot.Firmware, w.m.Boot.Files = slot.FirmwarePi, w.image(map[string][]byte{"Config.txt": []byte("x")})
	w.system()
	if _, err := NewPlan(w.Store, w.d, Options{}); err == nil || !strings.Contains(err.Error(), "boot.files has Config.txt, which the slot has of its own") {
		t.Errorf("a second config.txt: %v", err)
	}
}
