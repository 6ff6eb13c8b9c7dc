package receive

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/system"
)

// missingDrivers says which modules that this machine's disk and network hang
// on are not among those of a new system. Drivers that are built into the
// running kernel are no modules, and are taken to be built into the next as well.
func (d *device) missingDrivers(m *system.Manifest) []string {
	var all []string
	loaded, err := os.ReadFile("/proc/modules")
	if err != nil {
		return []string{"the modules in use cannot be listed: " + err.Error()}
	}
	for what, modules := range inUse(os.DirFS("/sys"), d.name) {
		for _, name := range modules {
			if isLoaded(string(loaded), name) && !slices.ContainsFunc(m.Kernel.Modules, func(s string) bool { return canonical(s) == name }) {
				all = append(all, fmt.Sprintf("it has no driver %s, which %s needs here", name, what))
			}
		}
	}
	slices.Sort(all)
	return all
}

// isLoaded looks for a module in /proc/modules, where built-in ones are not.
func isLoaded(list, name string) bool {
	return strings.HasPrefix(list, name+" ") || strings.Contains(list, "\n"+name+" ")
}

// canonical is the name of a module as the kernel writes it.
func canonical(name string) string { return strings.ReplaceAll(name, "-", "_") }

// inUse returns the modules that a disk and the network interfaces hang on.
func inUse(sysfs fs.FS, disk string) map[string][]string {
	used := map[string][]string{"the disk": modulesOf(sysfs, "class/block/"+disk)}
	nets, _ := fs.ReadDir(sysfs, "class/net")
	for _, n := range nets {
		if list := modulesOf(sysfs, "class/net/"+n.Name()); len(list) > 0 {
			used["interface "+n.Name()] = list
		}
	}
	return used
}

// modulesOf follows a device up its bus, as far as sysfs goes, and collects the
// modules of the drivers on the way.
func modulesOf(sysfs fs.FS, device string) []string {
	at, err := fs.ReadLink(sysfs, device)
	if err != nil {
		return nil
	}
	var all []string
	for at = path.Join(path.Dir(device), at); strings.HasPrefix(at, "devices/"); at = path.Dir(at) {
		driver, err := fs.ReadLink(sysfs, at+"/driver")
		if err != nil {
			continue
		}
		if module, err := fs.ReadLink(sysfs, path.Join(at, driver)+"/module"); err == nil {
			if name := canonical(path.Base(module)); !slices.Contains(all, name) {
				all = append(all, name)
			}
		}
	}
	return all
}
