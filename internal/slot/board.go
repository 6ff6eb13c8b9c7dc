package slot

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/disk"
	"github.com/instar-os/instar/internal/pe"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/tree"
	"github.com/instar-os/instar/internal/uki"
)

// IsBoard says whether a machine's slots hold a kernel and an initrd as files,
// and no unified kernel image.
func IsBoard(b system.Boot) bool { return b.Firmware == FirmwareUBoot || b.Firmware == FirmwarePi }

// Board is what a slot of a board holds: one system. The last good one is in
// another slot, which firmware comes back to by itself.
type Board struct {
	System         digest.Digest
	Manifest       *system.Manifest
	Kernel, Initrd pe.Content
	Configuration  string         // that is booted; "" for the default
	Further        []disk.FATFile // of boot.files
}

// Files returns the files of the slot.
func (b Board) Files() ([]disk.FATFile, error) {
	if b.Configuration == "" {
		b.Configuration = b.Manifest.Default
	}
	own, err := b.own()
	if err != nil {
		return nil, err
	}
	for _, f := range b.Further {
		if slices.ContainsFunc(own, func(o disk.FATFile) bool { return strings.EqualFold(o.Path, f.Path) }) {
			return nil, fmt.Errorf("boot slot: boot.files has %s, which the slot has of its own", f.Path)
		}
		own = append(own, f)
	}
	return own, nil
}

func (b Board) own() ([]disk.FATFile, error) {
	if b.Manifest.Boot.Firmware == FirmwarePi {
		command, err := uki.Command(b.Manifest, b.System, b.Configuration)
		if err != nil {
			return nil, err
		}
		const kernel, initrd = "kernel8.img", "initrd"
		files, err := PiFiles(kernel, initrd, command, b.has("usercfg.txt"))
		return append(files, file(initrd, b.Initrd), file(kernel, b.Kernel)), err
	}
	x := Extlinux{System: b.System, Kernel: b.Kernel, Initrd: b.Initrd, Default: b.Configuration, DeviceTrees: b.has("dtb/")}
	for _, c := range b.Manifest.Configurations {
		command, err := uki.Command(b.Manifest, b.System, c.Name)
		if err != nil {
			return nil, err
		}
		x.Profiles = append(x.Profiles, Profile{c.Name, command})
	}
	return x.Files()
}

// has says whether a further file's path begins so.
func (b Board) has(prefix string) bool {
	return slices.ContainsFunc(b.Further, func(f disk.FATFile) bool { return strings.HasPrefix(f.Path, prefix) })
}

// maxFurther is the largest of the further files in bytes.
const maxFurther = 64 << 20

// Images gives what is in the images of a store.
type Images interface {
	Image(d digest.Digest) (*tree.Tree, error)
	LearnSmall(d digest.Digest) error
	Content(d digest.Digest, limit int64) ([]byte, error)
}

// Further returns the files of a system's boot.files.
func Further(s Images, b system.Boot) ([]disk.FATFile, error) {
	if b.Files.Digest.IsZero() {
		return nil, nil
	}
	t, err := s.Image(b.Files.Digest)
	if err == nil {
		err = s.LearnSmall(b.Files.Digest)
	}
	if err != nil {
		return nil, fmt.Errorf("boot.files: %w", err)
	}
	var all []disk.FATFile
	for p, e := range t.All() {
		switch {
		case e.Kind == tree.Dir:
			continue
		case e.Kind != tree.File:
			return nil, fmt.Errorf("boot.files: %s is no regular file, and FAT has no others", p)
		}
		var content []byte
		if e.Size > 0 {
			if content, err = s.Content(e.Digest, maxFurther); err != nil {
				return nil, fmt.Errorf("boot.files: %s: %w", p, err)
			}
		}
		all = append(all, file(p, bytes.NewReader(content)))
	}
	return all, nil
}
