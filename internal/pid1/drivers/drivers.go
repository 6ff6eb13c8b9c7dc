// Package drivers says which modules a machine could not do without: what its
// disk, its network and its watchdog hang on, and the file systems that it has
// mounted. A new system that lacks one of them would never be healthy here.
package drivers

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// Machine is what drivers are looked up in.
type Machine struct {
	Sysfs  fs.FS
	Procfs fs.FS
	Disk   string // that store, slots and record are on, as the kernel names it: "vda"
}

// Missing returns a sentence for each driver that is in use on the machine, as
// a module, and not among the modules of a new system; it names the module and
// what needs it. A driver that is built into the running kernel is no module,
// and is taken to be built into the next one as well.
func (m Machine) Missing(modules []string) ([]string, error) {
	b, err := fs.ReadFile(m.Procfs, "modules")
	if err != nil {
		return nil, fmt.Errorf("listing the modules in use: %w", err)
	}
	loaded := map[string]bool{}
	for line := range strings.Lines(string(b)) {
		name, _, _ := strings.Cut(line, " ")
		loaded[canonical(strings.TrimSpace(name))] = true
	}
	has := map[string]bool{}
	for _, name := range modules {
		has[canonical(name)] = true
	}
	var all []string
	used := m.inUse()
	for _, what := range slices.Sorted(maps.Keys(used)) {
		for _, name := range used[what] {
			if loaded[name] && !has[name] {
				all = append(all, fmt.Sprintf("it has no driver %s, which %s needs here", name, what))
			}
		}
	}
	return all, nil
}

// canonical is the name of a module as the kernel writes it.
func canonical(name string) string { return strings.ReplaceAll(name, "-", "_") }

// inUse returns the modules that each part of the machine hangs on.
func (m Machine) inUse() map[string][]string {
	used := map[string][]string{}
	add := func(what, device string) {
		if list := m.modulesOf(device); len(list) > 0 {
			used[what] = list
		}
	}
	add("disk "+m.Disk, "class/block/"+m.Disk)
	for class, what := range map[string]string{"net": "interface ", "watchdog": "watchdog "} {
		entries, _ := fs.ReadDir(m.Sysfs, "class/"+class)
		for _, e := range entries {
			add(what+e.Name(), "class/"+class+"/"+e.Name())
		}
	}
	mounts, _ := fs.ReadFile(m.Procfs, "mounts")
	for line := range strings.Lines(string(mounts)) {
		// proc_pid_mounts(5): source, mount point, type; its module has that name.
		if f := strings.Fields(line); len(f) > 2 {
			used["a mounted "+f[2]] = []string{canonical(f[2])}
		}
	}
	return used
}

// modulesOf follows a device up its bus, as far as sysfs goes, and collects the
// modules of the drivers on the way.
func (m Machine) modulesOf(device string) []string {
	at, err := fs.ReadLink(m.Sysfs, device)
	if err != nil {
		return nil
	}
	var all []string
	for at = path.Join(path.Dir(device), at); strings.HasPrefix(at, "devices/"); at = path.Dir(at) {
		driver, err := fs.ReadLink(m.Sysfs, at+"/driver")
		if err != nil {
			continue
		}
		if module, err := fs.ReadLink(m.Sysfs, path.Join(at, driver)+"/module"); err == nil {
			if name := canonical(path.Base(module)); !slices.Contains(all, name) {
				all = append(all, name)
			}
		}
	}
	return all
}
