package image

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/disk"
	"github.com/instar-os/instar/internal/kernel"
	"github.com/instar-os/instar/internal/pe"
	"github.com/instar-os/instar/internal/system"
)

// maxBoot is the largest object of a boot slot in bytes.
const maxBoot = 1 << 30

// loaderPaths is where firmware looks for a boot loader, by GOARCH (UEFI 3.5.1.1).
var loaderPaths = map[string]string{
	"amd64": "EFI/BOOT/BOOTX64.EFI",
	"arm64": "EFI/BOOT/BOOTAA64.EFI",
}

// Objects gives the verified content of an object of at most limit bytes.
type Objects interface {
	Bytes(d digest.Digest, limit int64) ([]byte, error)
}

// UKIName returns the file name of a system's unified kernel image.
func UKIName(sys digest.Digest) string { return "instar-" + sys.Short() + ".efi" }

// UKI makes the unified kernel image of a system: a profile for each
// configuration, the default first, which is also what an image without
// choice boots.
func UKI(objects Objects, m *system.Manifest, sys digest.Digest) ([]byte, error) {
	var parts [3][]byte
	for i, o := range []system.Object{m.Kernel.Stub, m.Kernel.Image, m.Kernel.Initrd} {
		b, err := objects.Bytes(o.Digest, maxBoot)
		if err != nil {
			return nil, fmt.Errorf("unified kernel image: %w", err)
		}
		parts[i] = b
	}
	if r, err := kernel.Release(parts[1]); err == nil && r != m.Kernel.Release {
		return nil, fmt.Errorf("unified kernel image: the kernel is %s, the manifest says %s", r, m.Kernel.Release)
	}
	profiles, err := profiles(m, sys)
	if err != nil {
		return nil, fmt.Errorf("unified kernel image: %w", err)
	}
	b, err := pe.UKI(parts[0], pe.Options{
		OSRelease: osRelease(m, sys), Release: m.Kernel.Release,
		Kernel: parts[1], Initrd: parts[2], Profiles: profiles,
	})
	if err != nil {
		return nil, fmt.Errorf("unified kernel image: %w", err)
	}
	return b, nil
}

func osRelease(m *system.Manifest, sys digest.Digest) string {
	return "NAME=instar\nID=instar\nVERSION_ID=" + sys.Short() + "\nIMAGE_ID=" + m.Machine +
		"\nPRETTY_NAME=\"" + m.Machine + " " + sys.Short() + "\"\n"
}

func profiles(m *system.Manifest, sys digest.Digest) ([]pe.Profile, error) {
	if _, ok := m.Configuration(m.Default); !ok {
		return nil, fmt.Errorf("the manifest has no configuration %q, its default", m.Default)
	}
	var all []pe.Profile
	for _, c := range m.Configurations {
		args := slices.Concat([]string{"instar.system=" + sys.String(), "instar.configuration=" + c.Name}, m.Kernel.Command, c.Command)
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

// slotFiles are the files of a boot slot.
func slotFiles(objects Objects, m *system.Manifest, sys digest.Digest) ([]disk.FATFile, error) {
	loaderPath, ok := loaderPaths[m.Arch]
	if !ok {
		return nil, fmt.Errorf("no UEFI boot path is known for architecture %q", m.Arch)
	}
	loader, err := objects.Bytes(m.Kernel.Loader.Digest, maxBoot)
	if err != nil {
		return nil, fmt.Errorf("boot loader: %w", err)
	}
	uki, err := UKI(objects, m, sys)
	if err != nil {
		return nil, err
	}
	conf := "default " + UKIName(sys) + "@" + m.Default + "\ntimeout 0\neditor no\nauto-entries no\nauto-firmware no\n"
	var files []disk.FATFile
	for _, f := range []struct {
		path string
		data []byte
	}{{loaderPath, loader}, {"EFI/Linux/" + UKIName(sys), uki}, {"loader/loader.conf", []byte(conf)}} {
		files = append(files, disk.FATFile{Path: f.path, Size: int64(len(f.data)), Data: bytes.NewReader(f.data)})
	}
	return files, nil
}

// checkSlot writes the first slot to nowhere, to learn whether it fits.
func (p *Plan) checkSlot() error {
	v := &disk.FAT{Size: p.Manifest.Boot.SlotSize, Label: "INSTAR-A", Files: p.slot}
	if err := v.Write(discard{}); err != nil {
		return fmt.Errorf("boot slot: %w; kernel %d, initrd %d bytes", err, p.Manifest.Kernel.Image.Size, p.Manifest.Kernel.Initrd.Size)
	}
	return nil
}

// discard is an io.WriterAt that writes nothing.
type discard struct{}

func (discard) WriteAt(b []byte, _ int64) (int, error) { return len(b), nil }

// writeSlot formats slot i. The first holds the system, the others wait for
// updates with empty file systems.
func (p *Plan) writeSlot(w io.WriterAt, i int) error {
	name := slotName + string(rune('a'+i))
	part, _ := p.Table.Find(name)
	id := disk.SeedGUID(p.seed(), name+" volume")
	v := &disk.FAT{
		Size: part.Size(), Label: "INSTAR-" + string(rune('A'+i)), ID: binary.LittleEndian.Uint32(id[:]), Time: p.Manifest.Epoch,
	}
	if i == 0 {
		v.Files = p.slot
	}
	if err := v.Write(io.NewOffsetWriter(w, part.Offset())); err != nil {
		return fmt.Errorf("slot %s: %w", name, err)
	}
	return nil
}
