package launch

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/system"
	"golang.org/x/sys/unix"
)

// sysctls sets kernel parameters of the namespaces that the process is in: what
// /proc/sys shows of them depends on who looks. Who runs the program closes the
// files: see Program.Check.
func (b *builder) sysctls(set map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(set)) {
		file := "/proc/sys/" + strings.ReplaceAll(name, ".", "/")
		fd := b.slot(b.do("opening "+file, Openat, imm(atCWD), b.str(file), imm(unix.O_WRONLY|unix.O_CLOEXEC)))
		b.do(fmt.Sprintf("setting %s to %s", name, set[name]), Write, fd, b.str(set[name]), imm(len(set[name])))
	}
}

// checkSysctls refuses what is not of a container's own namespaces.
func checkSysctls(c *system.Container) error {
	for name, value := range c.Sysctls {
		own := name == "kernel.domainname" || name == "kernel.sem" || strings.HasPrefix(name, "kernel.shm") ||
			strings.HasPrefix(name, "kernel.msg") || strings.HasPrefix(name, "fs.mqueue.") ||
			strings.HasPrefix(name, "net.") && c.Network != system.HostNetwork
		if !own || strings.ContainsAny(name, "/\x00") || strings.Contains(name, "..") {
			return fmt.Errorf("kernel parameter %q is not one of its own namespaces", name)
		}
		if strings.IndexByte(value, 0) >= 0 || value == "" {
			return fmt.Errorf("kernel parameter %s: no value %q", name, value)
		}
	}
	return nil
}
