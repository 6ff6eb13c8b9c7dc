package linux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"unicode/utf16"

	"golang.org/x/sys/unix"
)

// EFIVariables is where efivarfs is mounted.
const EFIVariables = "/sys/firmware/efi/efivars"

// EFILoader is the vendor of the boot loader interface's variables
// (systemd.io/BOOT_LOADER_INTERFACE).
const EFILoader = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"

// EFIText is a variable of UEFI firmware that holds text, as the boot loader
// specification has them: UTF-16LE with a NUL at the end.
type EFIText struct {
	Dir    string // that efivarfs is mounted on
	Name   string
	Vendor string // GUID
}

// Attributes of a variable that lasts (UEFI 2.10, 8.2): NON_VOLATILE,
// BOOTSERVICE_ACCESS, RUNTIME_ACCESS.
const efiLasting = 0x7

// immutable is FS_IMMUTABLE_FL (include/uapi/linux/fs.h).
const immutable = 0x10

// maxEFIText is the longest text in bytes that Get reads.
const maxEFIText = 4096

func (v EFIText) path() string { return filepath.Join(v.Dir, v.Name+"-"+v.Vendor) }

// Get returns the text, "" when there is no such variable. A file of efivarfs
// begins with the attributes in 4 bytes.
func (v EFIText) Get() (string, error) {
	b, err := os.ReadFile(v.path())
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading UEFI variable %s: %w", v.Name, err)
	}
	text, err := decodeEFIText(b)
	if err != nil {
		return "", fmt.Errorf("reading UEFI variable %s: %w", v.Name, err)
	}
	return text, nil
}

func decodeEFIText(b []byte) (string, error) {
	if len(b) < 4 || len(b) > maxEFIText || len(b)%2 != 0 {
		return "", fmt.Errorf("%d bytes are no text", len(b))
	}
	var units []uint16
	for b = b[4:]; len(b) > 0; b = b[2:] {
		unit := binary.LittleEndian.Uint16(b)
		if unit == 0 {
			break
		}
		units = append(units, unit)
	}
	return string(utf16.Decode(units)), nil
}

func encodeEFIText(text string) []byte {
	b := binary.LittleEndian.AppendUint32(nil, efiLasting)
	for _, unit := range append(utf16.Encode([]rune(text)), 0) {
		b = binary.LittleEndian.AppendUint16(b, unit)
	}
	return b
}

// Set makes the variable hold the text. The firmware takes the one write whole
// or not at all, and makes it last.
func (v EFIText) Set(text string) error {
	err := v.mutable()
	if err == nil {
		err = writeOnce(v.path(), encodeEFIText(text))
	}
	if err != nil {
		return fmt.Errorf("setting UEFI variable %s: %w", v.Name, err)
	}
	return nil
}

// Delete removes the variable; it is no error when there is none.
func (v EFIText) Delete() error {
	err := v.mutable()
	if err == nil {
		err = os.Remove(v.path())
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("deleting UEFI variable %s: %w", v.Name, err)
	}
	return nil
}

func writeOnce(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}

// mutable takes the flag off that efivarfs protects variables with
// (Documentation/filesystems/efivarfs.rst).
func (v EFIText) mutable() error {
	f, err := os.Open(v.path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	flags, err := unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil || flags&immutable == 0 {
		return nil // a file system without flags protects nothing
	}
	return os.NewSyscallError("ioctl FS_IOC_SETFLAGS",
		unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, int(flags&^immutable)))
}
