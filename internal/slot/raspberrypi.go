package slot

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/instar-os/instar/internal/disk"
)

// SelectName is the name of the Raspberry Pi's first partition, a FAT file
// system with autoboot.txt alone.
const SelectName = "instar-select"

// SelectSize is its size in bytes: about the smallest FAT16.
const SelectSize = 4 << 20

// AutobootPath is the file that says from which partition the Raspberry Pi
// boots, normally and after a reboot with TryArgument (Raspberry Pi
// documentation, "autoboot.txt"; at most 512 bytes).
const AutobootPath = "autoboot.txt"

// TryArgument is what a reboot is given, LINUX_REBOOT_CMD_RESTART2, so that the
// Raspberry Pi's firmware boots what Try said, once.
const TryArgument = "0 tryboot"

// Pi is the Method for the Raspberry Pi's firmware. Its choice is one
// sector, the content of autoboot.txt, which always has 512 bytes.
type Pi struct{ Disk }

var _ Method = Pi{}

// Autoboot returns autoboot.txt: the number of the partition in force, and of
// the one that is tried.
func Autoboot(part, try int) []byte {
	s := fmt.Sprintf("[all]\ntryboot_a_b=1\nboot_partition=%d\n[tryboot]\nboot_partition=%d\n", part, try)
	return []byte(s + strings.Repeat("\n", disk.SectorSize-len(s)))
}

// decodeAutoboot reads what Autoboot wrote.
func decodeAutoboot(b []byte) (part, try int, err error) {
	section, found := "all", map[string]int{}
	for line := range strings.SplitSeq(string(b), "\n") {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "["); ok {
			section = strings.TrimSuffix(name, "]")
		}
		if v, ok := strings.CutPrefix(line, "boot_partition="); ok {
			n, err := strconv.Atoi(v)
			if err != nil || n < 1 || n > 128 {
				return 0, 0, fmt.Errorf("%s: partition %q", AutobootPath, v)
			}
			found[section] = n
		}
	}
	if found["all"] == 0 || found["tryboot"] == 0 {
		return 0, 0, fmt.Errorf("%s: it does not say what to boot", AutobootPath)
	}
	return found["all"], found["tryboot"], nil
}

// autoboot finds the file on the disk and reads it.
func (p Pi) autoboot() (at int64, part, try int, err error) {
	g, err := disk.ReadGPT(p.Device, p.Size)
	if err != nil {
		return 0, 0, 0, err
	}
	sel, ok := g.Find(SelectName)
	if !ok {
		return 0, 0, 0, fmt.Errorf("there is no partition %s", SelectName)
	}
	v, err := disk.ReadFAT(io.NewSectionReader(p.Device, sel.Offset(), sel.Size()), sel.Size())
	if err != nil {
		return 0, 0, 0, err
	}
	for _, f := range v.Files {
		if off, ok := disk.FileOffset(f); ok && f.Path == AutobootPath && f.Size == disk.SectorSize {
			b := make([]byte, disk.SectorSize)
			if _, err := p.Device.ReadAt(b, sel.Offset()+off); err != nil {
				return 0, 0, 0, err
			}
			part, try, err = decodeAutoboot(b)
			return sel.Offset() + off, part, try, err
		}
	}
	return 0, 0, 0, fmt.Errorf("partition %s has no %s of %d bytes", SelectName, AutobootPath, disk.SectorSize)
}

// write replaces the content of autoboot.txt: one sector.
func (p Pi) write(at int64, part, try int) error {
	b := Autoboot(part, try)
	if _, err := p.Device.WriteAt(b, at); err != nil {
		return err
	}
	if err := p.Device.Sync(); err != nil {
		return err
	}
	_, err := (reader{p.Device}).WriteAt(b, at)
	return err
}

// Current implements Method.
func (p Pi) Current() (int, error) {
	_, part, _, err := p.autoboot()
	if err != nil {
		return 0, err
	}
	return p.slotOf(strconv.Itoa(part))
}

// Stage implements Method.
func (p Pi) Stage(n int, files []disk.FATFile) error {
	if err := p.prepare(n, files); err != nil {
		return fmt.Errorf("staging slot %s: %w", Name(n), err)
	}
	return nil
}

func (p Pi) prepare(n int, files []disk.FATFile) error {
	at, part, try, err := p.autoboot()
	if err != nil {
		return err
	}
	now, err := p.slotOf(strconv.Itoa(part))
	if err != nil {
		return err
	}
	if try != part {
		if err := p.write(at, part, part); err != nil {
			return err
		}
	}
	return p.stageUnless(now, n, files)
}

// Try implements Method. The reboot must be given TryArgument.
func (p Pi) Try(n int) error {
	if err := p.choose(n, false); err != nil {
		return fmt.Errorf("trying slot %s: %w", Name(n), err)
	}
	return nil
}

// Commit implements Method.
func (p Pi) Commit(n int) error {
	if err := p.choose(n, true); err != nil {
		return fmt.Errorf("committing slot %s: %w", Name(n), err)
	}
	return nil
}

func (p Pi) choose(n int, always bool) error {
	next, err := p.startable(n)
	if err != nil {
		return err
	}
	at, part, _, err := p.autoboot()
	if err != nil {
		return err
	}
	if always {
		part = next
	}
	return p.write(at, part, next)
}

// PiFiles returns config.txt and cmdline.txt of a slot for a Raspberry Pi that
// starts a kernel with an initrd, files of the same slot. With user, usercfg.txt
// of that slot has more to say.
func PiFiles(kernel, initrd, command string, user bool) ([]disk.FATFile, error) {
	if strings.ContainsAny(kernel+initrd+command, "\r\n") || strings.ContainsAny(kernel+initrd, " ") || command == "" {
		return nil, errors.New("kernel, initrd and command line of a Raspberry Pi are one line each")
	}
	config := "arm_64bit=1\nenable_uart=1\nkernel=" + kernel + "\ninitramfs " + initrd + " followkernel\n"
	if user {
		config += "include usercfg.txt\n"
	}
	return []disk.FATFile{
		file("cmdline.txt", strings.NewReader(command+"\n")), file("config.txt", strings.NewReader(config)),
	}, nil
}
