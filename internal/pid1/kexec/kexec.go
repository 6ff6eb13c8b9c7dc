// Package kexec puts a kernel beside the one that runs, which a reboot then
// starts without firmware: kexec_file_load(2) where the kernel has it, else
// kexec_load(2) with what boots an arm64 Image (Documentation/arch/arm64/booting.rst).
package kexec

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/digest"
)

// Image is a kernel to be started. Kernel and initrd are read once.
type Image struct {
	Kernel, Initrd Part
	Command        string // kernel command line
}

// Part is a file that has to be what its digest says.
type Part struct {
	Content io.Reader
	Digest  digest.Digest
	Size    int64
}

// maxPart is the largest kernel or initrd, in bytes.
const maxPart = 1 << 30

// Load verifies an image and puts it into memory, in place of one that was put
// there before. It takes twice the image's size until it returns. Nothing
// happens to the machine until it is told to start it.
func Load(i Image) error {
	if err := load(i); err != nil {
		return fmt.Errorf("loading the next kernel: %w", err)
	}
	return nil
}

func load(i Image) error {
	kernel, err := i.Kernel.file("kernel")
	if err != nil {
		return err
	}
	defer kernel.Close()
	initrd, err := i.Initrd.file("initrd")
	if err != nil {
		return err
	}
	defer initrd.Close()
	err = unix.KexecFileLoad(int(kernel.Fd()), int(initrd.Fd()), i.Command, 0)
	if errors.Is(err, unix.ENOSYS) {
		return loadSegments(kernel, initrd, i.Command)
	}
	return os.NewSyscallError("kexec_file_load", err)
}

// file copies a part into memory and verifies it there, where nobody can change
// it any more.
func (p Part) file(name string) (*os.File, error) {
	if p.Size <= 0 || p.Size > maxPart {
		return nil, fmt.Errorf("%s of %d bytes", name, p.Size)
	}
	fd, err := unix.MemfdCreate("instar-"+name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), name)
	h := digest.New()
	n, err := io.Copy(io.MultiWriter(f, h), io.LimitReader(p.Content, p.Size+1))
	switch {
	case err != nil:
		err = fmt.Errorf("reading the %s: %w", name, err)
	case n != p.Size:
		err = fmt.Errorf("the %s has %d bytes or more instead of %d", name, n, p.Size)
	case h.Sum() != p.Digest:
		err = fmt.Errorf("the %s is damaged: its digest is %v instead of %v", name, h.Sum(), p.Digest)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Loaded says whether a kernel waits to be started.
func Loaded() bool {
	b, err := os.ReadFile("/sys/kernel/kexec_loaded")
	return err == nil && len(b) > 0 && b[0] == '1'
}

// Start starts the kernel that was loaded. It returns only on failure. Everything
// that has to last must be on the disk.
func Start() error {
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_KEXEC); err != nil {
		return fmt.Errorf("starting the next kernel: %w", err)
	}
	return nil
}
