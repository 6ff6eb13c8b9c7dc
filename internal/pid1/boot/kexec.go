package boot

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/linux"
	"github.com/instar-os/instar/internal/pid1/kexec"
	"github.com/instar-os/instar/internal/slot"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/uki"
)

// Kexec is a reboot without firmware, into the kernel that was loaded.
const Kexec Ending = "kexec"

// reading is a disk that is only read.
type reading struct{ *os.File }

// ReadBack implements slot.Device.
func (r reading) ReadBack(p []byte, off int64) (int, error) { return r.ReadAt(p, off) }

// loadKernel loads the kernel of a configuration of this system out of a slot
// that has it, so that the machine can go on without firmware. The store does
// not hold kernel and initrd; the manifest says what they must be.
func (d *device) loadKernel(configuration string) error {
	f, err := os.Open("/dev/" + d.disk)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := linux.DeviceSize(f)
	if err != nil {
		return err
	}
	command, err := uki.Command(d.manifest, d.system, configuration)
	if err != nil {
		return err
	}
	own, err := uki.Command(d.manifest, d.system, d.configuration.Name)
	if err != nil {
		return err
	}
	running, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	slots := slot.Disk{Device: reading{f}, Size: size}
	n, err := slots.Count()
	if err != nil {
		return err
	}
	var errs []error
	for i := range n {
		image, err := d.image(slots, i)
		if err == nil {
			err = kexec.Load(kexec.Image{
				Kernel:  part(image.Kernel, d.manifest.Kernel.Image),
				Initrd:  part(image.Initrd, d.manifest.Kernel.Initrd),
				Command: command + added(string(running), own) + " " + kexecKey + "=1",
			})
		}
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// image finds the system's image in a slot.
func (d *device) image(slots slot.Disk, n int) (*uki.Image, error) {
	files, err := slots.Files(n)
	if err != nil {
		return nil, err
	}
	file, ok := slot.Find(files, d.system)
	if !ok {
		return nil, fmt.Errorf("slot %s does not hold system %s", slot.Name(n), d.system.Short())
	}
	return uki.Open(io.NewSectionReader(file.Data, 0, file.Size))
}

func part(c io.ReaderAt, o system.Object) kexec.Part {
	return kexec.Part{Content: io.NewSectionReader(c, 0, o.Size), Digest: o.Digest, Size: o.Size}
}

// added returns what the kernel's command line has beyond what its image says:
// arguments that firmware or a virtual machine gave. They hold for the next
// kernel too, but not what chooses a configuration.
func added(running, own string) string {
	rest, ok := strings.CutPrefix(strings.TrimSpace(running), own)
	if !ok || strings.Contains(rest, `"`) {
		return ""
	}
	words := slices.DeleteFunc(strings.Fields(rest), func(w string) bool {
		key, _, _ := strings.Cut(w, "=")
		return key == kexecKey || key == configurationKey || key == systemKey
	})
	if len(words) == 0 {
		return ""
	}
	return " " + strings.Join(words, " ")
}

// noKexec says why the machine cannot be asked to go on without firmware.
func (m *machine) noKexec() string {
	switch b, err := os.ReadFile("/proc/sys/kernel/kexec_load_disabled"); {
	case m.contained:
		return "it runs as containers on another Linux"
	case m.loadKernel == nil:
		return "its init is not instar's"
	case err != nil:
		return "its kernel has no kexec"
	case strings.TrimSpace(string(b)) != "0":
		return "its kernel does not load another one: kexec_load_disabled is set"
	}
	return ""
}

// kexecPatience is how long the watchdog waits for the next kernel's init.
const kexecPatience = 2 * time.Minute

// handOn leaves the watchdog armed for the next kernel, which has to feed it in
// time: from one kernel to the other nobody else would notice a hang.
func (w *watchdog) handOn() {
	if w.dev == nil {
		return
	}
	close(w.quit)
	w.fed.Wait()
	// A device that cannot wait so long keeps its time-out.
	unix.IoctlSetPointerInt(int(w.dev.Fd()), unix.WDIOC_SETTIMEOUT, int(kexecPatience/time.Second))
	w.dev.Write([]byte{0})
}
