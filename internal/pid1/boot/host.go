package boot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/durable"
	"github.com/instar-os/instar/internal/linux"
	"github.com/instar-os/instar/internal/pid1/host"
	"github.com/instar-os/instar/internal/reason"
)

// Where the parts of a host are while it is mounted.
const (
	hostDir   = runDir + "/host" // a tmpfs, or within the data partition
	hostRoot  = "/host"          // not below /run, which moves into it
	hostImage = runDir + "/image"
	keptDir   = dataDir + "/host"
)

// inhabit returns the steps of a configuration whose host runs the machine. The
// last one does not return: this process becomes the host's init.
func (d *device) inhabit(keep step) []step {
	return []step{
		keep,
		{"mount the host's root", d.mountHost},
		{"tell the host what it is", d.tellHost},
		{"hand over to the host's init", d.handOver},
	}
}

// mountHost mounts the image of the host and what is written above it. It is
// the one mount of the machine that lets in devices and setuid programs.
func (d *device) mountHost() error {
	h := d.configuration.Host
	above, err := d.writable()
	if err != nil {
		return err
	}
	image := linux.Mount{Source: filepath.Join(storeDir, "images", h.Image.Digest.String()), Target: hostImage,
		Type: "erofs", Flags: unix.MS_RDONLY | unix.MS_NODEV | unix.MS_NOSUID}
	if err := image.Do(); err != nil {
		return err
	}
	// The overlay holds the image by itself.
	defer linux.Unmount(hostImage, unix.MNT_DETACH)
	root := linux.Mount{Source: "instar", Target: hostRoot, Type: "overlay", Data: fmt.Sprintf(
		"lowerdir=%s::%s/objects,upperdir=%s/upper,workdir=%s/work,metacopy=on,redirect_dir=on", hostImage, storeDir, above, above)}
	if err := root.Do(); err != nil {
		return err
	}
	d.later("unmount the host's root", func() error { return linux.Unmount(hostRoot, unix.MNT_DETACH) })
	return nil
}

// writable makes the directories that take what is written to the root.
func (d *device) writable() (string, error) {
	at := hostDir
	if h := d.configuration.Host; h.Kept && d.runtime.Data.Dir != scratchDir {
		forget(filepath.Join(keptDir, d.configuration.Name), filepath.Join(storeDir, "images"))
		at = filepath.Join(keptDir, d.configuration.Name, h.Image.Digest.String())
	} else {
		memory := linux.Mount{Source: "instar", Target: hostDir, Type: "tmpfs", Flags: unix.MS_NODEV, Data: "mode=0755"}
		if err := memory.Do(); err != nil {
			return "", err
		}
		d.later("unmount the host's memory", func() error { return linux.Unmount(hostDir, unix.MNT_DETACH) })
	}
	for _, dir := range []string{"upper", "work"} {
		if err := os.MkdirAll(filepath.Join(at, dir), 0o755); err != nil {
			return "", err
		}
	}
	return at, nil
}

// forget removes what was written above images that the store does not have
// any more: an overlay over another image than its own is undefined.
func forget(kept, images string) {
	entries, err := os.ReadDir(kept)
	if err != nil {
		return
	}
	for _, e := range entries {
		if _, err := os.Stat(filepath.Join(images, e.Name())); errors.Is(err, os.ErrNotExist) {
			os.RemoveAll(filepath.Join(kept, e.Name())) // what stays is tried again
		}
	}
}

// tellHost writes what the host's programs read: which machine it is, the
// watchdog, and that interfaces get their names from instar.
func (d *device) tellHost() error {
	if err := machineID(filepath.Join(hostRoot, "etc/machine-id"), d.lastingID()); err != nil {
		return err
	}
	files := map[string]string{}
	if s := time.Duration(d.manifest.Boot.Watchdog).Round(time.Second); s > 0 {
		files["/run/systemd/system.conf.d/instar.conf"] = fmt.Sprintf("[Manager]\nRuntimeWatchdogSec=%d\n", s/time.Second)
	}
	if len(d.manifest.Interfaces) > 0 {
		files["/run/systemd/network/00-instar.link"] = "[Match]\nOriginalName=*\n[Link]\nNamePolicy=keep\n"
	}
	if d.trying() {
		d.deadline(files)
	}
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return host.Record{
		System: d.system, Configuration: d.configuration.Name, Ready: int64(d.ready), Disk: d.disk,
		Data: d.runtime.Data.Dir != scratchDir, Quota: d.quota, Warnings: d.warnings,
	}.Write(runDir)
}

// trialFile is there while what runs below a host is on trial.
const trialFile = runDir + "/on-trial"

// deadline adds units that restart a machine on trial whose host does not come
// to where the gate is: that watches from within one of its services.
func (d *device) deadline(files map[string]string) {
	const units = "/run/systemd/system/instar-deadline."
	late := time.Duration(d.manifest.Boot.Confirm.Resolved().Within) + lookGrace + gateGrace
	timer := fmt.Sprintf("[Unit]\nDescription=End of what is on trial\n[Timer]\nOnBootSec=%d\nAccuracySec=1s\n", late/time.Second)
	files[units+"timer"] = timer
	files["/run/systemd/system/timers.target.wants/instar-deadline.timer"] = timer
	files[units+"service"] = "[Unit]\nDescription=Restart of what is on trial and has not proven itself\nDefaultDependencies=no\n" +
		"ConditionPathExists=" + trialFile + "\n[Service]\nType=oneshot\nExecStart=systemctl --force reboot\n"
	files[trialFile] = ""
}

// lastingID is the file that keeps the machine's identity, "" for none.
func (d *device) lastingID() string {
	if d.runtime.Data.Dir == scratchDir {
		return ""
	}
	return filepath.Join(dataDir, "machine-id")
}

// machineID fills an empty machine-id(5) from a file that lasts, which is made
// when there is none.
func machineID(at, lasting string) error {
	if st, err := os.Stat(at); err != nil || st.Size() > 0 {
		return err
	}
	var id []byte
	if lasting != "" {
		b, err := os.ReadFile(lasting)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		id = b
	}
	if len(id) != idSize {
		var random [16]byte
		if _, err := unix.Getrandom(random[:], 0); err != nil {
			return os.NewSyscallError("getrandom", err)
		}
		random[6], random[8] = random[6]&0x0f|0x40, random[8]&0x3f|0x80 // RFC 9562, version 4
		id = fmt.Appendf(nil, "%x\n", random)
		if lasting != "" {
			if err := durable.WriteFile(lasting, 0o444, id); err != nil {
				return err
			}
		}
	}
	return os.WriteFile(at, id, 0o444)
}

// idSize is the length of a machine-id: 32 digits and a newline.
const idSize = 33

// handOver leaves the machine to the host's init. From the first mount that is
// moved there is no way back: what fails then reboots the machine.
func (d *device) handOver() error {
	init := d.configuration.Host.Init
	if err := unix.Access(filepath.Join(hostRoot, init), unix.X_OK); err != nil {
		return err
	}
	d.showTimeline()
	d.log.Printf("handing over to %s", init)
	d.noteEnd(reason.HandedOver, init)
	for _, release := range []func() error{func() error { return d.flight.Release(endPatience) }, d.log.Close, d.store.Close, d.sysfs.Close} {
		if err := release(); err != nil {
			fmt.Fprintf(os.Stderr, "instar-init: %v\n", err)
		}
	}
	d.disarmWatchdog() // which init arms again
	os.Remove(cgroupDir)
	err := linux.SwitchRoot(hostRoot, "/dev", "/proc", "/sys", "/run")
	if err == nil {
		err = syscall.Exec(init, []string{init}, []string{"TERM=linux"})
	}
	fmt.Fprintf(os.Stderr, "instar-init: handing over to %s: %v\nrebooting in %s\n", init, err, emergencyPause)
	time.Sleep(emergencyPause)
	return linux.End(linux.Restart)
}

// Where containers of a host are.
const (
	unitsDir  = runDir + "/units"      // control sockets of units
	linesPath = runDir + "/lines.sock" // where units send what containers print
	endsPath  = runDir + "/ends.sock"  // where units get their containers' links and networks
)

// settle takes from the record what the first stage found, and makes room for
// the data of containers.
func (m *machine) settle() error {
	r, err := m.recall()
	if err != nil {
		return err
	}
	m.warnings, m.ready = r.Warnings, time.Duration(r.Ready)
	m.runtime.State, m.runtime.Resolv, m.runtime.Control = stateDir, resolvPath, socketPath
	if m.quota = r.Quota; r.Data {
		return m.keepData(filepath.Join(dataDir, "containers"), r.Quota)
	}
	return m.keepData(scratchDir, false)
}

// recall reads the record, and the manifest that it names.
func (m *machine) recall() (host.Record, error) {
	r, err := host.ReadRecord(runDir)
	if err != nil {
		return r, err
	}
	m.system = r.System
	if err := m.readManifest(storeDir); err != nil {
		return r, err
	}
	if err := m.choose(r.Configuration); err != nil {
		return r, err
	}
	if m.configuration.Host == nil {
		return r, fmt.Errorf("configuration %s has no host", r.Configuration)
	}
	return r, nil
}

// chooseContained is choose for a machine without hardware of its own.
func (m *machine) chooseContained(name string) error {
	if err := m.choose(name); err != nil {
		return err
	}
	if m.configuration.Host != nil {
		return fmt.Errorf("configuration %s has a host with an init of its own, which needs a machine", m.configuration.Name)
	}
	return nil
}
