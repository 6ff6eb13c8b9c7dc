// Package uki makes the unified kernel image of a system and takes it apart
// again: on the build host for the first slot, on the device for every further
// one, out of the same parts and to the same bytes.
package uki

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/pe"
	"github.com/instar-os/instar/internal/system"
)

// LoaderPaths is where firmware looks for a boot loader, by GOARCH (UEFI 3.5.1.1).
var LoaderPaths = map[string]string{
	"amd64": "EFI/BOOT/BOOTX64.EFI",
	"arm64": "EFI/BOOT/BOOTAA64.EFI",
}

// Dir is where systemd-boot looks for unified kernel images.
const Dir = "EFI/Linux"

// Name returns the file name of a system's unified kernel image.
func Name(sys digest.Digest) string { return "instar-" + sys.Short() + ".efi" }

// MaxStub is the largest UEFI stub, in bytes.
const MaxStub = 8 << 20

// Parts give the content of a boot part: stub, kernel or initrd. Whether it is
// the right one they have to know.
type Parts func(o system.Object) (pe.Content, error)

// Build makes the unified kernel image of a system: a profile for each
// configuration, the default first, which is also what an image without choice
// boots. It reads the kernel where it is while it is read itself; the initrd is
// packed at once, in memory.
func Build(parts Parts, m *system.Manifest, sys digest.Digest) (*pe.File, error) {
	f, err := build(parts, m, sys)
	if err != nil {
		return nil, fmt.Errorf("unified kernel image: %w", err)
	}
	return f, nil
}

func build(parts Parts, m *system.Manifest, sys digest.Digest) (*pe.File, error) {
	var c [3]pe.Content
	for i, o := range []system.Object{m.Kernel.Stub, m.Kernel.Image, m.Kernel.Initrd} {
		var err error
		if c[i], err = parts(o); err != nil {
			return nil, err
		}
	}
	if c[0].Size() > MaxStub {
		return nil, fmt.Errorf("a UEFI stub of %d bytes, more than %d", c[0].Size(), MaxStub)
	}
	stub := make([]byte, c[0].Size())
	if _, err := io.ReadFull(io.NewSectionReader(c[0], 0, c[0].Size()), stub); err != nil {
		return nil, fmt.Errorf("reading the UEFI stub: %w", err)
	}
	profiles, err := profiles(m, sys)
	if err != nil {
		return nil, err
	}
	if c[2], err = pack(c[2]); err != nil {
		return nil, err
	}
	return pe.UKI(stub, pe.Options{
		OSRelease: osRelease(m, sys), Release: m.Kernel.Release,
		Kernel: c[1], Initrd: c[2], Profiles: profiles,
	})
}

func osRelease(m *system.Manifest, sys digest.Digest) string {
	return "NAME=instar\nID=instar\nVERSION_ID=" + sys.Short() + "\nIMAGE_ID=" + m.Machine +
		"\nPRETTY_NAME=\"" + m.Machine + " " + sys.Short() + "\"\n"
}

// SystemKey is the kernel argument that names the system.
const SystemKey = "instar.system"

// WatchdogKey is the kernel argument with the time-out of the watchdog.
const WatchdogKey = "instar.watchdog"

func profiles(m *system.Manifest, sys digest.Digest) ([]pe.Profile, error) {
	if _, ok := m.Configuration(m.Default); !ok {
		return nil, fmt.Errorf("the manifest has no configuration %q, its default", m.Default)
	}
	var all []pe.Profile
	for _, c := range m.Configurations {
		args := slices.Concat([]string{SystemKey + "=" + sys.String(), "instar.configuration=" + c.Name}, survival(m), m.Kernel.Command, c.Command)
		line, err := commandLine(args)
		if err != nil {
			return nil, fmt.Errorf("configuration %s: %w", c.Name, err)
		}
		p := pe.Profile{ID: c.Name, Title: c.Name, Command: line}
		if c.Name == m.Default {
			all = slices.Insert(all, 0, p)
		} else {
			all = append(all, p)
		}
	}
	return all, nil
}

// survival returns the arguments without which a kernel that fails would stay
// where it is: it reboots after a panic, also before init runs, and init knows
// the watchdog's time-out before it has found any disk. What a definition says
// comes later on the line, and stands above it.
func survival(m *system.Manifest) []string {
	args := []string{"panic=10"} // seconds, for somebody to read it
	if m.Boot.Watchdog > 0 {
		args = append(args, WatchdogKey+"="+time.Duration(m.Boot.Watchdog).String())
	}
	return args
}

// maxCommandLine is COMMAND_LINE_SIZE of x86 and arm64, in bytes with a NUL.
const maxCommandLine = 2048

// commandLine joins kernel arguments. A value with spaces is quoted as the
// kernel reads it, which has no way to write a quotation mark.
func commandLine(args []string) (string, error) {
	var words []string
	for _, a := range args {
		if a == "" || strings.ContainsFunc(a, func(r rune) bool { return r < ' ' || r == '"' || r > '~' }) {
			return "", fmt.Errorf("kernel argument %q is empty or has characters that cannot stand in a command line", a)
		}
		if strings.Contains(a, " ") {
			key, value, ok := strings.Cut(a, "=")
			if !ok || strings.Contains(key, " ") {
				return "", fmt.Errorf("kernel argument %q has a space outside of its value", a)
			}
			a = key + `="` + value + `"`
		}
		words = append(words, a)
	}
	line := strings.Join(words, " ")
	if len(line) >= maxCommandLine {
		return "", fmt.Errorf("kernel command line of %d bytes; Linux takes %d", len(line), maxCommandLine-1)
	}
	return line, nil
}

// Image is a unified kernel image that was read. Its contents are where it is.
type Image struct {
	System digest.Digest // that its command line names
	Kernel pe.Content
	Initrd pe.Content // unpacked when it is read
	Packed int64      // bytes that the initrd takes in the image
}

// maxHeaders is how much of an image is read for its headers, in bytes.
const maxHeaders = 64 << 10

// Open takes a unified kernel image apart. Nothing of it is verified.
func Open(c pe.Content) (*Image, error) {
	i, err := open(c)
	if err != nil {
		return nil, fmt.Errorf("reading a unified kernel image: %w", err)
	}
	return i, nil
}

func open(c pe.Content) (*Image, error) {
	head := make([]byte, min(c.Size(), maxHeaders))
	if _, err := io.ReadFull(io.NewSectionReader(c, 0, c.Size()), head); err != nil {
		return nil, err
	}
	m, err := pe.ParseHead(head, c.Size())
	if err != nil {
		return nil, err
	}
	i := &Image{}
	for _, s := range m.Sections {
		part := io.NewSectionReader(c, int64(s.RawOffset), int64(min(s.RawSize, s.VirtualSize)))
		switch s.Name {
		case ".linux":
			i.Kernel = part
		case ".initrd":
			i.Packed = part.Size()
			if i.Initrd, err = unpack(part); err != nil {
				return nil, err
			}
		case ".cmdline":
			if i.System.IsZero() {
				if i.System, err = systemOf(part); err != nil {
					return nil, err
				}
			}
		}
	}
	if i.Kernel == nil || i.Initrd == nil || i.System.IsZero() {
		return nil, errors.New("kernel, initrd or command line are not there")
	}
	return i, nil
}

// systemOf finds the system that a command line names.
func systemOf(c pe.Content) (digest.Digest, error) {
	if c.Size() > maxCommandLine {
		return digest.Digest{}, fmt.Errorf("a command line of %d bytes", c.Size())
	}
	b := make([]byte, c.Size())
	if _, err := io.ReadFull(io.NewSectionReader(c, 0, c.Size()), b); err != nil {
		return digest.Digest{}, err
	}
	for _, word := range bytes.Fields(b) {
		if v, ok := bytes.CutPrefix(word, []byte(SystemKey+"=")); ok {
			return digest.Parse(string(v))
		}
	}
	return digest.Digest{}, nil
}
