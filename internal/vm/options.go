package vm

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// Options describe a virtual machine. A disk or a kernel must be given.
type Options struct {
	Tools  Tools
	Arch   string // GOARCH of the machine; "" means the host's
	Memory int64  // bytes; 0 means 512 MiB
	CPUs   int    // 0 means 1

	// Disk is a raw or qcow2 image. It is booted through UEFI firmware unless
	// Kernel is given. What the machine writes is lost at its end, unless
	// Persist says that the image itself is to be written. The firmware's
	// variables are kept beside it, in a file of its name with .vars.
	Disk     string
	Persist  bool
	DiskSize int64 // bytes the disk is grown to; 0 leaves it

	// DiskSocket is a Unix socket that serves the disk instead, over the
	// network block device protocol. What the machine writes goes there.
	DiskSocket string

	Kernel *Kernel // start this kernel without firmware

	// Extra are kernel arguments that systemd's stub adds to the booted
	// profile's (systemd-stub(7), SMBIOS type 11).
	Extra []string

	// Forward names ports of the machine that are to be reachable from the
	// host's loopback address. Isolated keeps the machine from reaching anything else.
	Forward  map[string]int
	Isolated bool

	// Stdin is the console's input; a terminal becomes QEMU's, with ^A X to
	// quit. Without it Console().Send writes. Stdout gets a copy of the output.
	Stdin  *os.File
	Stdout io.Writer

	// Monitor is the path of a Unix socket that QEMU makes and serves its monitor
	// protocol on; "" for none. The machine has PlugSlots PCI slots then that
	// cards can be plugged in to while it runs.
	Monitor string

	Watchdog bool   // give the machine an i6300esb watchdog
	Clock    string // time of its clock at the start, as 1970-01-01T00:00:00; "" means now
	NoReboot bool   // a reboot ends the machine
	NoKVM    bool   // emulate even where KVM works
	Steady   bool   // emulate such that its time passes with its instructions: what else the host does is not seen
	Dir      string // parent of the machine's temporary directory; "" means the system's
}

// Kernel is a kernel that QEMU starts itself.
type Kernel struct {
	Image   string   // bzImage or vmlinux; Image on arm64
	Initrd  string   // "" for none
	Command []string // arguments; the console must be among them
}

const defaultMemory = 512 << 20

// PlugSlots are the buses that a Monitor plugs cards in to.
var PlugSlots = []string{"plug0", "plug1"}

// machine is what differs between architectures.
type machine struct {
	program, model string
	cpu            string   // emulated CPU
	code, vars     []string // firmware, by preference
}

// The emulated CPUs are the plainest that Debian's kernels and programs run on:
// each further extension costs the emulator time.
var machines = map[string]machine{
	"amd64": {
		program: "qemu-system-x86_64", model: "q35,usb=off,smm=off,vmport=off", cpu: "Nehalem",
		code: []string{"usr/share/OVMF/OVMF_CODE_4M.fd", "usr/share/OVMF/OVMF_CODE.fd"},
		vars: []string{"usr/share/OVMF/OVMF_VARS_4M.fd", "usr/share/OVMF/OVMF_VARS.fd"},
	},
	"arm64": {
		program: "qemu-system-aarch64", model: "virt,gic-version=max", cpu: "cortex-a72",
		code: []string{"usr/share/AAVMF/AAVMF_CODE.no-secboot.fd", "usr/share/AAVMF/AAVMF_CODE.fd"},
		vars: []string{"usr/share/AAVMF/AAVMF_VARS.fd"},
	},
}

// check fills defaults and refuses what cannot be started.
func (o *Options) check() error {
	if o.Arch == "" {
		o.Arch = runtime.GOARCH
	}
	if o.Memory == 0 {
		o.Memory = defaultMemory
	}
	if o.CPUs == 0 {
		o.CPUs = 1
	}
	if _, ok := machines[o.Arch]; !ok {
		return fmt.Errorf("virtual machines of architecture %q are not supported", o.Arch)
	}
	if o.Disk == "" && o.DiskSocket == "" && o.Kernel == nil {
		return errors.New("virtual machine: neither disk nor kernel is given")
	}
	files := []string{o.Disk}
	if o.Kernel != nil {
		files = append(files, o.Kernel.Image, o.Kernel.Initrd)
	}
	for _, f := range files {
		if f == "" {
			continue
		}
		if _, err := os.Stat(f); err != nil {
			return fmt.Errorf("virtual machine: %w", err)
		}
	}
	return nil
}

// File descriptors that QEMU inherits, first of cmd.ExtraFiles.
const (
	qmpFD     = 3
	controlFD = 4
)

// steadyShift says that an instruction takes 2^3 ns of a steady machine's time:
// about what emulating it takes.
const steadyShift = "3"

// args returns QEMU's command line, with KVM unless NoKVM is set. It starts
// stopped, so that disk and forwards can be set up before the first instruction.
func (o *Options) args(dir string) ([]string, error) {
	m := machines[o.Arch]
	args := o.Tools.dataDirs()
	args = append(args, "-S", "-nodefaults", "-no-user-config", "-display", "none",
		"-machine", m.model, "-smp", fmt.Sprint(o.CPUs), "-m", fmt.Sprintf("%dM", o.Memory>>20))
	if !o.NoKVM {
		args = append(args, "-accel", "kvm", "-cpu", "host")
	} else {
		args = append(args, "-accel", "tcg", "-cpu", m.cpu)
		if o.Steady {
			args = append(args, "-icount", "shift="+steadyShift)
		}
	}
	if o.NoReboot {
		args = append(args, "-no-reboot")
	}
	if o.Clock != "" {
		args = append(args, "-rtc", "base="+o.Clock)
	}
	args = append(args, o.console()...)
	args = append(args,
		"-chardev", fmt.Sprintf("socket,id=qmp,fd=%d", qmpFD), "-mon", "chardev=qmp,mode=control",
		"-device", "virtio-serial-pci",
		"-chardev", fmt.Sprintf("socket,id=control,fd=%d", controlFD),
		"-device", "virtserialport,chardev=control,name="+ControlPort,
		"-device", "virtio-rng-pci")
	args = append(args, o.network()...)
	if o.Monitor != "" {
		args = append(args, "-chardev", "socket,id=monitor,server=on,wait=off,path="+comma(o.Monitor), "-mon", "chardev=monitor,mode=control")
		for i, bus := range PlugSlots {
			args = append(args, "-device", fmt.Sprintf("pcie-root-port,id=%s,chassis=%d,slot=%[2]d", bus, i+1))
		}
	}
	if o.Watchdog {
		args = append(args, "-device", "i6300esb", "-action", "watchdog=reset")
	}
	disk, err := o.disk()
	if err != nil {
		return nil, err
	}
	args = append(args, disk...)
	if o.Kernel != nil {
		return append(args, o.Kernel.args()...), nil
	}
	if len(o.Extra) > 0 {
		args = append(args, "-smbios", "type=11,value=io.systemd.stub.kernel-cmdline-extra="+comma(strings.Join(o.Extra, " ")))
	}
	firmware, err := o.firmware(m, dir)
	return append(args, firmware...), err
}

func (o *Options) console() []string {
	if o.Stdin == nil {
		return []string{"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"}
	}
	return []string{"-chardev", "stdio,id=console,mux=on,signal=off", "-serial", "chardev:console",
		"-mon", "chardev=console,mode=readline"}
}

func (o *Options) network() []string {
	user := "user,id=lan"
	if o.Isolated {
		user += ",restrict=on"
	}
	// No boot from the network: an empty romfile needs no iPXE image.
	return []string{"-netdev", user, "-device", "virtio-net-pci,netdev=lan,romfile="}
}

func (k *Kernel) args() []string {
	args := []string{"-kernel", k.Image}
	if k.Initrd != "" {
		args = append(args, "-initrd", k.Initrd)
	}
	return append(args, "-append", strings.Join(k.Command, " "))
}

// qcow2Magic begins a qcow2 file (QEMU, docs/interop/qcow2.txt).
const qcow2Magic = "QFI\xfb"

func (o *Options) disk() ([]string, error) {
	device := "virtio-blk-pci,drive=disk"
	if o.Kernel == nil {
		device += ",bootindex=0"
	}
	if o.DiskSocket != "" {
		return []string{"-drive", "if=none,id=disk,format=raw,cache=writeback,discard=unmap,file.driver=nbd,file.server.type=unix,file.server.path=" +
			comma(o.DiskSocket), "-device", device}, nil
	}
	if o.Disk == "" {
		return nil, nil
	}
	f, err := os.Open(o.Disk)
	if err != nil {
		return nil, fmt.Errorf("disk: %w", err)
	}
	defer f.Close()
	format, magic := "raw", make([]byte, len(qcow2Magic))
	if _, err := io.ReadFull(f, magic); err != nil {
		return nil, fmt.Errorf("disk %s: reading its first bytes: %w", o.Disk, err)
	}
	if string(magic) == qcow2Magic {
		format = "qcow2"
	}
	mode := ",snapshot=on,cache=unsafe"
	if o.Persist {
		mode = ",cache=writeback"
	}
	return []string{"-drive", "if=none,id=disk,format=" + format + mode + ",discard=unmap,file=" + comma(o.Disk),
		"-device", device}, nil
}

// comma doubles commas, as QEMU's option parser wants them in a value.
func comma(s string) string { return strings.ReplaceAll(s, ",", ",,") }

// firmware gives the machine its firmware and a fresh set of UEFI variables, or
// those that a disk that persists has had.
func (o *Options) firmware(m machine, dir string) ([]string, error) {
	code, err := o.Tools.File(m.code...)
	if err != nil {
		return nil, fmt.Errorf("firmware for %s: %w", o.Arch, err)
	}
	template, err := o.Tools.File(m.vars...)
	if err != nil {
		return nil, fmt.Errorf("firmware variables for %s: %w", o.Arch, err)
	}
	vars := filepath.Join(dir, "vars.fd")
	if o.Persist && o.Disk != "" {
		vars = o.Disk + ".vars"
	}
	if err := copySparse(vars, template); err != nil && (!o.Persist || !errors.Is(err, os.ErrExist)) {
		return nil, err
	}
	return []string{
		"-drive", "if=pflash,format=raw,unit=0,readonly=on,file=" + comma(code),
		"-drive", "if=pflash,format=raw,unit=1,file=" + comma(vars),
	}, nil
}

// copySparse copies a file, leaving holes where there is nothing but zeros:
// arm64's variables are 64 MiB of them.
func copySparse(dst, src string) error {
	b, err := os.ReadFile(src)
	if err != nil {
		return fmt.Errorf("copying %s: %w", src, err)
	}
	f, err := os.OpenFile(dst, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("copying %s: %w", src, err)
	}
	defer f.Close()
	const block = 64 << 10
	for at := 0; at < len(b); at += block {
		part := b[at:min(at+block, len(b))]
		if strings.Trim(string(part), "\x00") == "" {
			continue
		}
		if _, err := f.WriteAt(part, int64(at)); err != nil {
			return fmt.Errorf("copying %s: %w", src, err)
		}
	}
	if err := f.Truncate(int64(len(b))); err != nil {
		return fmt.Errorf("copying %s: %w", src, err)
	}
	return f.Close()
}
