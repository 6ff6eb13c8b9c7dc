// Package bpf limits the devices of a control group with a program of the
// kernel's virtual machine: cgroup v2 has no other way
// (Documentation/admin-guide/cgroup-v2.rst, "Device controller").
//
// The program never changes: it looks a device up in a hash map, exactly and
// then with any minor number, and allows what the entry's mask holds. What a
// container may use changes with the map alone, while it runs.
package bpf

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Access is what may be done with a device: BPF_DEVCG_ACC_* of linux/bpf.h.
type Access uint32

// The kinds of access.
const (
	Mknod Access = 1 << iota
	Read
	Write
)

// AnyMinor stands for all devices of a major number.
const AnyMinor = ^uint32(0)

// Device is a device node's identity.
type Device struct {
	Block        bool
	Major, Minor uint32
}

// Rule allows access to a device.
type Rule struct {
	Device
	Access Access
}

// maxRules bounds what one map allows.
const maxRules = 1024

// DeviceFilter allows the devices in its map to the processes of the control
// groups that it is attached to. Its methods can be used from many goroutines;
// Close gives it up, except in the control groups, which keep it while they live.
type DeviceFilter struct {
	devices, program *os.File
}

// NewDeviceFilter makes a filter with some rules.
func NewDeviceFilter(rules []Rule) (_ *DeviceFilter, err error) {
	f := &DeviceFilter{}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	create := attr(72)
	create.u32(0, mapHash)
	create.u32(4, keySize)
	create.u32(8, valueSize)
	create.u32(12, maxRules)
	if f.devices, err = open(mapCreate, create, "devices"); err != nil {
		return nil, fmt.Errorf("making a map of devices: %w", err)
	}
	for _, r := range rules {
		if err := f.Allow(r); err != nil {
			return nil, err
		}
	}
	f.program, err = loadProgram(deviceProgram(int32(f.devices.Fd())))
	if err != nil {
		return nil, fmt.Errorf("loading the device program: %w", err)
	}
	return f, nil
}

// Allow adds a rule; one for the same device is replaced.
func (f *DeviceFilter) Allow(r Rule) error {
	key, value := r.key(), binary.NativeEndian.AppendUint32(nil, uint32(r.Access))
	update := attr(32)
	update.u32(0, uint32(f.devices.Fd()))
	update.pointer(8, key)
	update.pointer(16, value)
	_, err := call(mapUpdate, update)
	runtime.KeepAlive(key)
	runtime.KeepAlive(value)
	if err != nil {
		return fmt.Errorf("allowing device %v: %w", r.Device, err)
	}
	return nil
}

// Deny removes a device; one that is not allowed is no error.
func (f *DeviceFilter) Deny(d Device) error {
	key := d.key()
	remove := attr(32)
	remove.u32(0, uint32(f.devices.Fd()))
	remove.pointer(8, key)
	_, err := call(mapDelete, remove)
	runtime.KeepAlive(key)
	if err != nil && err != unix.ENOENT {
		return fmt.Errorf("denying device %v: %w", d, err)
	}
	return nil
}

// Attach makes the filter hold in a control group, beside those that hold there
// already or above it. cgroup is a descriptor of its directory.
func (f *DeviceFilter) Attach(cgroup int) error {
	attach := attr(16)
	attach.u32(0, uint32(cgroup))
	attach.u32(4, uint32(f.program.Fd()))
	attach.u32(8, attachCgroupDevice)
	attach.u32(12, allowMulti)
	if _, err := call(progAttach, attach); err != nil {
		return fmt.Errorf("attaching the device program: %w", err)
	}
	return nil
}

// Close gives up the descriptors.
func (f *DeviceFilter) Close() error {
	for _, file := range []*os.File{f.devices, f.program} {
		if file != nil {
			file.Close() // a descriptor of BPF has nothing to lose
		}
	}
	return nil
}

func (d Device) String() string {
	kind := "c"
	if d.Block {
		kind = "b"
	}
	if d.Minor == AnyMinor {
		return fmt.Sprintf("%s %d:*", kind, d.Major)
	}
	return fmt.Sprintf("%s %d:%d", kind, d.Major, d.Minor)
}

// key is the map's key: type, major, minor, in the machine's byte order.
func (d Device) key() []byte {
	kind := uint32(typeChar)
	if d.Block {
		kind = typeBlock
	}
	b := binary.NativeEndian.AppendUint32(nil, kind)
	b = binary.NativeEndian.AppendUint32(b, d.Major)
	return binary.NativeEndian.AppendUint32(b, d.Minor)
}

// Numbers of linux/bpf.h.
const (
	mapCreate  = 0
	mapUpdate  = 2
	mapDelete  = 3
	progLoad   = 5
	progAttach = 8

	mapHash            = 1
	programType        = 15 // BPF_PROG_TYPE_CGROUP_DEVICE
	attachCgroupDevice = 6
	allowMulti         = 2

	typeBlock = 1
	typeChar  = 2

	keySize, valueSize = 12, 4
)

// attr is union bpf_attr.
type attribute []byte

func attr(size int) attribute { return make(attribute, size) }

func (a attribute) u32(at int, v uint32) { binary.NativeEndian.PutUint32(a[at:], v) }

// pointer puts the address of something that the caller keeps alive.
func (a attribute) pointer(at int, b []byte) {
	binary.NativeEndian.PutUint64(a[at:], uint64(uintptr(unsafe.Pointer(&b[0]))))
}

func call(command uintptr, a attribute) (int, error) {
	for {
		r, _, errno := unix.Syscall(unix.SYS_BPF, command, uintptr(unsafe.Pointer(&a[0])), uintptr(len(a)))
		switch errno {
		case 0:
			return int(r), nil
		case unix.EINTR, unix.EAGAIN:
			continue
		}
		return 0, errno
	}
}

// open is call for commands whose result is a descriptor, which the kernel
// makes close-on-exec.
func open(command uintptr, a attribute, name string) (*os.File, error) {
	fd, err := call(command, a)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "bpf "+name), nil
}

// maxLog is how much of the verifier's reasons is asked for, in bytes.
const maxLog = 1 << 20

// maxShown is how much of their end an error shows.
const maxShown = 4 << 10

func loadProgram(code []byte) (*os.File, error) {
	load := attr(72)
	load.u32(0, programType)
	load.u32(68, attachCgroupDevice)
	return loadCode(load, code, "Apache-2.0", "device program")
}

// loadCode loads a program whose kind is in the attribute.
func loadCode(load attribute, code []byte, terms, name string) (*os.File, error) {
	license := []byte(terms + "\x00")
	load.u32(4, uint32(len(code)/insnSize))
	load.pointer(8, code)
	load.pointer(16, license)
	f, err := open(progLoad, load, name)
	if err != nil {
		log := make([]byte, maxLog)
		load.u32(24, 1)
		load.u32(28, maxLog)
		load.pointer(32, log)
		if f, again := open(progLoad, load, name); again == nil {
			return f, nil
		}
		text := unix.ByteSliceToString(log)
		err = fmt.Errorf("%w %s", err, text[max(0, len(text)-maxShown):])
		runtime.KeepAlive(log)
	}
	runtime.KeepAlive(code)
	runtime.KeepAlive(license)
	return f, err
}
