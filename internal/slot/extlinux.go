package slot

import (
	"fmt"
	"strings"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/disk"
	"github.com/instar-os/instar/internal/pe"
)

// Extlinux is what a slot for U-Boot holds: a system's kernel and initrd, and
// extlinux/extlinux.conf with its configurations (UAPI.1, and U-Boot's
// doc/README.distro). U-Boot's own device tree is used, unless there are others.
type Extlinux struct {
	System         digest.Digest
	Kernel, Initrd pe.Content
	Profiles       []Profile // the first one is booted unless Default names another
	Default        string
	DeviceTrees    bool // below dtb: U-Boot takes the one that its board's fdtfile names
}

// Profile is a configuration and its kernel command line.
type Profile struct{ Name, Command string }

// Files returns the files of the slot.
func (x Extlinux) Files() ([]disk.FATFile, error) {
	if x.Kernel == nil || x.Initrd == nil || x.System.IsZero() || len(x.Profiles) == 0 {
		return nil, fmt.Errorf("boot slot: system %s is not whole", x.System.Short())
	}
	dir := "instar-" + x.System.Short()
	chosen := x.Default
	if chosen == "" {
		chosen = x.Profiles[0].Name
	}
	conf, found := "prompt 0\ndefault "+chosen+"\n", false
	for _, p := range x.Profiles {
		if strings.ContainsAny(p.Name, " \t\r\n") || strings.ContainsAny(p.Command, "\r\n") || p.Name == "" {
			return nil, fmt.Errorf("boot slot: configuration %q or its command line cannot stand in extlinux.conf", p.Name)
		}
		found = found || p.Name == chosen
		conf += "label " + p.Name + "\n\tlinux /" + dir + "/kernel\n\tinitrd /" + dir + "/initrd\n"
		if x.DeviceTrees {
			conf += "\tfdtdir /dtb\n"
		}
		conf += "\tappend " + p.Command + "\n"
	}
	if !found {
		return nil, fmt.Errorf("boot slot: there is no configuration %q", chosen)
	}
	return []disk.FATFile{
		file("extlinux/extlinux.conf", strings.NewReader(conf)), file(dir+"/initrd", x.Initrd), file(dir+"/kernel", x.Kernel),
	}, nil
}
