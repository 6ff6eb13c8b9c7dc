package launch

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/system"
)

// Paths of files that the runtime provides in a container.
const (
	hostsFile    = "/etc/hosts"
	hostnameFile = "/etc/hostname"
	resolvFile   = "/etc/resolv.conf"
	controlFile  = "/run/instar/control.sock"
)

// MountPoint is a path that a container's image must have, because its root
// cannot be written when the container starts.
type MountPoint struct {
	Path string // in a tree's form, as "etc/hosts"
	File bool   // a regular file, which may be empty; else a directory
}

// MountPoints returns the paths that must be in the image of c, in path order:
// directories for what is mounted, and regular files in place of /etc/hosts,
// /etc/hostname and, with the host's network or name servers of its own, /etc/resolv.conf. What lies below
// /dev, /run, /tmp or a declared tmpfs is made at the start and is not listed.
func MountPoints(c *system.Container) []MountPoint {
	points := []MountPoint{{"/dev", false}, {"/proc", false}, {"/sys", false},
		{hostnameFile, true}, {hostsFile, true}}
	if c.Network == system.HostNetwork || len(c.DNS) > 0 {
		points = append(points, MountPoint{resolvFile, true})
	}
	for _, m := range memory(c) {
		points = append(points, MountPoint{m.Path, false})
	}
	for _, d := range c.Data {
		points = append(points, MountPoint{path.Clean(d.Path), false})
	}
	points = slices.DeleteFunc(points, func(p MountPoint) bool {
		_, below := memoryAbove(c, p.Path)
		return below
	})
	for i := range points {
		points[i].Path = strings.TrimPrefix(points[i].Path, "/")
	}
	slices.SortFunc(points, func(a, b MountPoint) int { return cmp.Compare(a.Path, b.Path) })
	return slices.Compact(points)
}

// memory returns the container's memory file systems, the ones that every
// container has included, outer ones first.
func memory(c *system.Container) []system.Tmpfs {
	list := []system.Tmpfs{{Path: "/tmp", Mode: 0o1777}, {Path: "/run", Mode: 0o755}}
	for _, t := range c.Tmpfs {
		t.Path = path.Clean(t.Path)
		list = slices.DeleteFunc(list, func(o system.Tmpfs) bool { return o.Path == t.Path })
		list = append(list, t)
	}
	slices.SortFunc(list, func(a, b system.Tmpfs) int { return cmp.Compare(a.Path, b.Path) })
	return list
}

// memoryAbove returns the innermost memory file system that a path lies below,
// not at.
func memoryAbove(c *system.Container, p string) (string, bool) {
	found := ""
	for _, m := range memory(c) {
		if strings.HasPrefix(p, m.Path+"/") && len(m.Path) > len(found) {
			found = m.Path
		}
	}
	return found, found != ""
}
