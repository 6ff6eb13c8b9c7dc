package slot_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/disk"
	"github.com/instar-os/instar/internal/slot"
	"github.com/instar-os/instar/internal/slot/slottest"
)

// place is in the room before the first partition, behind the table.
var place = slot.EnvironmentPlace{Offsets: [2]int64{256 << 10, 512 << 10}, Size: 8 << 10}

// ubootMachine is U-Boot with CONFIG_BOOTCOUNT_ENV.
type ubootMachine struct{ *machine }

func (m ubootMachine) Method() slot.Method     { return slot.UBoot{Disk: m.slot(), Place: place} }
func (m ubootMachine) Clone() slottest.Machine { return ubootMachine{m.clone()} }

// newest reads the environment as U-Boot does.
func (m ubootMachine) newest() (vars map[string]string, flag byte, next int, err error) {
	for i, at := range place.Offsets {
		b := make([]byte, place.Size)
		if _, err := m.disk.ReadAt(b, at); err != nil {
			return nil, 0, 0, err
		}
		v, f, err := slot.DecodeEnvironment(b)
		if err == nil && (vars == nil || int8(f-flag) > 0) {
			vars, flag, next = v, f, 1-i
		}
	}
	if vars == nil {
		return nil, 0, 0, errors.New("no environment")
	}
	return vars, flag, next, nil
}

func (m ubootMachine) Boot() (int, error) {
	vars, flag, next, err := m.newest()
	if err != nil {
		return 0, err
	}
	part := vars["instar_part"]
	if vars["upgrade_available"] == "1" {
		count, _ := strconv.Atoi(vars["bootcount"])
		limit, _ := strconv.Atoi(vars["bootlimit"])
		vars["bootcount"] = strconv.Itoa(count + 1)
		b, err := slot.EncodeEnvironment(vars, flag+1, place.Size)
		if err != nil {
			return 0, err
		}
		if _, err := m.disk.WriteAt(b, place.Offsets[next]); err != nil {
			return 0, err
		}
		if err := m.disk.Sync(); err != nil {
			return 0, err
		}
		if count+1 <= limit {
			part = vars["instar_try"]
		}
	}
	n, err := strconv.Atoi(part)
	if err != nil || !m.starts(n-1) {
		return 0, fmt.Errorf("partition %q does not start: %w", part, err)
	}
	return n - 1, nil
}

func TestUBoot(t *testing.T) {
	slottest.Run(t, func(t *testing.T) slottest.Machine {
		d := newDisk(t, 2, 64*mib, false)
		b, err := slot.EncodeEnvironment(slot.UBootVariables("mmc 0", 1), 255, place.Size)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.WriteAt(b, place.Offsets[0]); err != nil {
			t.Fatal(err)
		}
		if err := d.Sync(); err != nil {
			t.Fatal(err)
		}
		return ubootMachine{&machine{disk: d, slots: 2, booted: disk.SeedGUID(nil, slot.Name(0))}}
	})
}

// U-Boot's own tools read what we write.
func TestEnvironmentAgainstTools(t *testing.T) {
	printenv, err := exec.LookPath("fw_printenv")
	if err != nil {
		t.Skip("fw_printenv (package libubootenv-tool) is not installed")
	}
	dir := t.TempDir()
	image, config := filepath.Join(dir, "disk"), filepath.Join(dir, "fw_env.config")
	data := make([]byte, 1<<20)
	for i, part := range []int{1, 2} { // the second copy is the newer one
		b, err := slot.EncodeEnvironment(slot.UBootVariables("mmc 0", part), byte(255+i), place.Size)
		if err != nil {
			t.Fatal(err)
		}
		copy(data[place.Offsets[i]:], b)
	}
	text := ""
	for _, at := range place.Offsets {
		text += fmt.Sprintf("%s 0x%x 0x%x\n", image, at, place.Size)
	}
	for name, b := range map[string][]byte{image: data, config: []byte(text)} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command(printenv, "-c", config).CombinedOutput()
	if err != nil {
		t.Fatalf("fw_printenv: %v: %s", err, out)
	}
	want := slot.UBootVariables("mmc 0", 2)
	for name, value := range want {
		if !strings.Contains("\n"+string(out), "\n"+name+"="+value+"\n") {
			t.Errorf("fw_printenv does not show %s=%s: %s", name, value, out)
		}
	}
}

func FuzzDecodeEnvironment(f *testing.F) {
	b, err := slot.EncodeEnvironment(map[string]string{"a": "b"}, 3, 64)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		vars, flag, err := slot.DecodeEnvironment(b)
		if err != nil {
			return
		}
		if _, err := slot.EncodeEnvironment(vars, flag, len(b)); err != nil {
			t.Errorf("decoded, but not encoded: %v", err)
		}
	})
}

// piMachine is the Raspberry Pi's firmware: a reboot by the method's Try has
// the argument that it needs, once.
type piMachine struct {
	*machine
	try *bool
}

func (m piMachine) Method() slot.Method     { return piMethod{slot.Pi{Disk: m.slot()}, m.try} }
func (m piMachine) Clone() slottest.Machine { try := *m.try; return piMachine{m.clone(), &try} }

// piMethod notes that the next reboot is one with TryArgument.
type piMethod struct {
	slot.Pi
	try *bool
}

func (m piMethod) Try(n int) error {
	err := m.Pi.Try(n)
	*m.try = err == nil
	return err
}

func (m piMachine) Boot() (int, error) {
	g, err := disk.ReadGPT(m.disk, m.disk.Size())
	if err != nil {
		return 0, err
	}
	sel, _ := g.Find(slot.SelectName)
	v, err := disk.ReadFAT(io.NewSectionReader(m.disk, sel.Offset(), sel.Size()), sel.Size())
	if err != nil {
		return 0, err
	}
	b, err := io.ReadAll(io.NewSectionReader(v.Files[0].Data, 0, v.Files[0].Size))
	if err != nil {
		return 0, err
	}
	section := "[all]"
	if *m.try {
		section = "[tryboot]"
	}
	*m.try = false
	_, rest, _ := strings.Cut(string(b), section)
	_, rest, _ = strings.Cut(rest, "boot_partition=")
	number, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.Atoi(number)
	if err != nil || !m.starts(n-1) {
		return 0, fmt.Errorf("partition %q does not start: %w", number, err)
	}
	return n - 1, nil
}

func TestPi(t *testing.T) {
	slottest.Run(t, func(t *testing.T) slottest.Machine {
		d := newDisk(t, 2, 64*mib, false)
		g, err := disk.ReadGPT(d, d.Size())
		if err != nil {
			t.Fatal(err)
		}
		p, err := g.Add(disk.Partition{Type: disk.TypeESP, GUID: disk.SeedGUID(nil, slot.SelectName), Name: slot.SelectName}, 4*mib)
		if err != nil {
			t.Fatal(err)
		}
		b := slot.Autoboot(1, 1)
		v := &disk.FAT{Size: p.Size(), Label: "SELECT", Files: []disk.FATFile{{Path: "autoboot.txt", Size: int64(len(b)), Data: strings.NewReader(string(b))}}}
		if err := v.Write(io.NewOffsetWriter(d, p.Offset())); err != nil {
			t.Fatal(err)
		}
		if err := g.Write(d); err != nil {
			t.Fatal(err)
		}
		return piMachine{&machine{disk: d, slots: 2, booted: disk.SeedGUID(nil, slot.Name(0))}, new(bool)}
	})
}

func TestBoardFiles(t *testing.T) {
	x := slot.Extlinux{System: digest.Of([]byte("s")), Kernel: strings.NewReader("k"), Initrd: strings.NewReader("i"),
		Profiles: []slot.Profile{{Name: "day", Command: "a=b"}, {Name: "night", Command: "c"}}, Default: "night"}
	files, err := x.Files()
	if err != nil {
		t.Fatal(err)
	}
	dir := "/instar-" + x.System.Short()
	want := "prompt 0\ndefault night\nlabel day\n\tlinux " + dir + "/kernel\n\tinitrd " + dir + "/initrd\n\tappend a=b\n" +
		"label night\n\tlinux " + dir + "/kernel\n\tinitrd " + dir + "/initrd\n\tappend c\n"
	if got, err := io.ReadAll(io.NewSectionReader(files[0].Data, 0, files[0].Size)); err != nil || string(got) != want {
		t.Errorf("extlinux.conf is %q, %v", got, err)
	}
	for name, change := range map[string]func(*slot.Extlinux){
		"kernel":  func(x *slot.Extlinux) { x.Kernel = nil },
		"default": func(x *slot.Extlinux) { x.Default = "x" },
		"command": func(x *slot.Extlinux) { x.Profiles = []slot.Profile{{Name: "night", Command: "a\nb"}} },
	} {
		bad := x
		change(&bad)
		if _, err := bad.Files(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	pi, err := slot.PiFiles("kernel8.img", "initrd", "a=b", true)
	if err != nil || len(pi) != 2 {
		t.Fatalf("%+v, %v", pi, err)
	}
	if got, err := io.ReadAll(io.NewSectionReader(pi[1].Data, 0, pi[1].Size)); err != nil ||
		string(got) != "arm_64bit=1\nenable_uart=1\nkernel=kernel8.img\ninitramfs initrd followkernel\ninclude usercfg.txt\n" {
		t.Errorf("config.txt is %q, %v", got, err)
	}
	if _, err := slot.PiFiles("a b", "initrd", "x", false); err == nil {
		t.Error("a kernel's name with a space")
	}
}
