package config

import (
	"slices"
	"strings"
)

// Notes returns what a valid definition gives up, each with its remedy: what
// its author has declared, and should know when it happens.
func (d *Definition) Notes() []string {
	if d.Boot.Firmware != "uefi" {
		return nil
	}
	var all []string
	if d.Boot.Trial == "counter" {
		all = append(all, "boot.trial: counter: a system that dies before its init runs comes back only if the boot loader can rename files on its slot; "+
			"where it cannot, that system is started again and again until somebody cuts the power. Where firmware keeps variables, boot.trial: once has no such case")
		if d.Boot.Watchdog == 0 {
			all = append(all, "boot.watchdog is not set: a system on trial that hangs stays there")
		}
	}
	if (d.Boot.Trial == "once" || d.Boot.Switch == "variables") && d.realTimeKernel() && !slices.Contains(d.Kernel.Command, "efi=runtime") {
		all = append(all, "kernel.package is a real-time kernel, which leaves the firmware's variables alone unless efi=runtime is in kernel.command: "+
			"without them this machine takes no updates and starts no other configuration")
	}
	return all
}

// realTimeKernel says whether a kernel package is Debian's with PREEMPT_RT, for
// which EFI_DISABLE_RUNTIME is the default.
func (d *Definition) realTimeKernel() bool {
	for _, name := range d.Kernel.Package {
		if strings.Contains(name, "-rt-") {
			return true
		}
	}
	return false
}
