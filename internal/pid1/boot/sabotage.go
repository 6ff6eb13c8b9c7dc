//go:build sabotage

package boot

import (
	"os"
	"time"
)

// sabotage lets init fail in the way that the kernel command line says, a
// moment after everything was started. Only tests build it in.
func (d *device) sabotage() {
	what, ok := d.cmdline.Lookup("sabotage")
	if !ok {
		return
	}
	if what == "stubborn" {
		os.WriteFile("/proc/sys/kernel/kexec_load_disabled", []byte("1"), 0)
		return
	}
	go func() {
		time.Sleep(3 * time.Second)
		d.log.Printf("sabotage: %s", what)
		switch what {
		case "crash": // a panic beside the boot's own goroutine
			panic("sabotage")
		case "freeze": // the whole of init stands still
			const ice = cgroupRoot + "/ice"
			os.Mkdir(ice, 0o755)
			os.WriteFile(ice+"/cgroup.procs", []byte("1"), 0)
			os.WriteFile(ice+"/cgroup.freeze", []byte("1"), 0)
		case "hang": // one of init's parts never gives its lock back
			d.supervisor.Hang()
		}
	}()
}
