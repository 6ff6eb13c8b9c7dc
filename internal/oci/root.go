package oci

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/launch"
	"golang.org/x/sys/unix"
)

// root makes the container's mounts. Sources are opened first; then the process changes its root to the container's, so that no link
// in there leads out, but only for itself: the namespace's root is the host's
// until pivot_root, which hooks rely on.
func (b *compiler) root() error {
	shared := strings.HasSuffix(b.c.Linux.RootfsPropagation, "shared")
	if err := b.take(shared); err != nil {
		return err
	}
	b.Do("keeping mounts from the host", launch.Mount, launch.Value(0), b.Text("/"), launch.Value(0),
		launch.Value(unix.MS_REC|unix.MS_SLAVE))
	root := b.clone(b.f.rootfs, true)
	if shared {
		b.propagate(root, "the root", unix.MS_PRIVATE)
	}
	b.attach(root, b.f.rootfs)
	b.state.oldRoot = b.open("/", unix.O_PATH|unix.O_DIRECTORY)
	b.Do("changing to "+b.f.rootfs, launch.Chdir, b.Text(b.f.rootfs))
	b.Do("making it the process's root", launch.Chroot, b.Text("."))
	for i := range b.mounts {
		b.mount(i)
	}
	if err := b.dev(); err != nil {
		return err
	}
	if p := b.c.Process; p != nil && b.kindInRoot(path.Clean(p.Cwd)) != directory {
		b.mkdirs(path.Clean(p.Cwd))
	}
	if len(b.c.Hooks.CreateContainer) > 0 {
		b.sync(stageMounts, b.plan.wait)
	}
	b.pivot()
	return b.finishRoot()
}

// clone takes a detached copy of a mount of the host, or of all below too.
func (b *compiler) clone(host string, recursive bool) launch.Arg {
	flags := uint64(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	return b.Keep(b.Do("taking "+host, launch.OpenTree, launch.Value(cwdFD), b.Text(host), launch.Value(flags)))
}

// setattr changes a detached mount, or all of a tree.
func (b *compiler) setattr(tree launch.Arg, what string, set, clear, propagation uint64, recursive bool) {
	flags := uint64(unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	b.Do("setting mount attributes of "+what, launch.MountSetattr, tree, b.Text(""), launch.Value(flags),
		b.Words(set, clear|cleared(set), propagation, 0), launch.Value(32))
}

func (b *compiler) propagate(tree launch.Arg, what string, flags uint64) {
	b.setattr(tree, what, 0, 0, flags&^unix.MS_REC, flags&unix.MS_REC != 0)
}

func (b *compiler) attach(tree launch.Arg, at string) {
	b.Do("mounting "+at, launch.MoveMount, tree, b.Text(""), launch.Value(cwdFD), b.Text(at),
		launch.Value(unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_SYMLINKS))
}

// take opens the sources of bind mounts, as the host has them. The mounts are
// taken when it is their turn, for the order of mounts is seen; with shared
// propagation at once, while they are the host's peers.
func (b *compiler) take(shared bool) error {
	b.state.trees = make([]launch.Arg, len(b.mounts))
	for i := range b.mounts {
		m := &b.mounts[i]
		if !m.bind() || m.flags&unix.MS_REMOUNT != 0 {
			continue
		}
		if b.f.host(m.source) == missing {
			return fmt.Errorf("mount at %s: no such file or directory: %s", m.at, m.source)
		}
		b.state.trees[i] = b.open(m.source, unix.O_PATH)
		if shared {
			b.takeTree(i)
		}
	}
	return nil
}

// takeTree puts a detached mount of an opened source in its slot.
func (b *compiler) takeTree(i int) {
	m, tree := &b.mounts[i], b.state.trees[i]
	flags := uint64(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_EMPTY_PATH)
	if m.flags&unix.MS_REC != 0 {
		flags |= unix.AT_RECURSIVE
	}
	b.Do("taking "+m.source, launch.OpenTree, tree, b.Text(""), launch.Value(flags)).Out = uint8(tree.Value)
	if set := attributes(m.flags); set != 0 {
		b.setattr(tree, m.source, set, 0, 0, false)
	}
	if m.attr|m.clearAttr != 0 {
		b.setattr(tree, m.source, m.attr, m.clearAttr, 0, true)
	}
	for _, p := range m.propagation {
		b.propagate(tree, m.source, p)
	}
}

// kindInRoot is what a path is before anything was mounted; below a mount
// nothing is known.
func (b *compiler) kindInRoot(at string) kind {
	for i := range b.mounts {
		if m := &b.mounts[i]; at == m.at || strings.HasPrefix(at, m.at+"/") || m.at == "/" {
			return missing
		}
	}
	return b.f.inRoot(at)
}

// mkdirs makes a directory in the container, and those above it.
func (b *compiler) mkdirs(at string) {
	var dirs []string
	for d := at; d != "/" && d != "."; d = path.Dir(d) {
		dirs = append(dirs, d)
	}
	slices.Reverse(dirs)
	for _, d := range dirs {
		tolerate(b.Do("making "+d, launch.Mkdirat, launch.Value(cwdFD), b.Text(d), launch.Value(0o755)), unix.EEXIST)
	}
}

// target makes a mount point.
func (b *compiler) target(i int) {
	m := &b.mounts[i]
	want := directory
	if m.bind() && b.f.host(m.source) != directory {
		want = other
	}
	above := false // an earlier mount covers it
	for j := range i {
		o := b.mounts[j].at
		above = above || o == m.at || strings.HasPrefix(m.at, o+"/")
	}
	switch {
	case !above && b.f.inRoot(m.at) == want:
	case want == directory:
		b.mkdirs(m.at)
	default:
		b.file(m.at)
	}
}

// file makes an empty file, to mount on.
func (b *compiler) file(at string) {
	b.mkdirs(path.Dir(at))
	tolerate(b.Do("making "+at, launch.Mknodat, launch.Value(cwdFD), b.Text(at), launch.Value(unix.S_IFREG|0o644), launch.Value(0)), unix.EEXIST)
}

// mount makes one of the declared mounts.
func (b *compiler) mount(i int) {
	m := &b.mounts[i]
	if m.flags&unix.MS_REMOUNT != 0 {
		b.sysMount(m.source, m.at, "", m.flags, m.data)
		return
	}
	b.target(i)
	switch {
	case m.bind():
		if !strings.HasSuffix(b.c.Linux.RootfsPropagation, "shared") {
			b.takeTree(i)
		}
		b.attach(b.state.trees[i], m.at)
		return
	case m.fstype == "cgroup" || m.fstype == "cgroup2":
		b.cgroupMount(m)
	case m.fstype == "tmpfs": // read-only only when all is there
		b.sysMount(m.source, m.at, m.fstype, m.flags&^(unix.MS_RDONLY|unix.MS_REC), m.data)
	default:
		b.sysMount(m.source, m.at, m.fstype, m.flags&^unix.MS_REC, m.data)
	}
	if m.copyUp {
		b.warn("tmpcopyup of %s is not done: the file system begins empty", m.at)
	}
	b.propagation(m)
}

func (b *compiler) propagation(m *mounting) {
	for _, p := range m.propagation {
		b.sysMount("", m.at, "", p, "")
	}
}

// sysMount is mount(2).
func (b *compiler) sysMount(source, at, fstype string, flags uint64, data string) *launch.Op {
	text := func(s string) launch.Arg {
		if s == "" {
			return launch.Value(0)
		}
		return b.Text(s)
	}
	what := "mounting " + fstype + " at " + at
	if fstype == "" {
		what = fmt.Sprintf("changing the mount at %s to %#x", at, flags)
	}
	return b.Do(what, launch.Mount, text(source), b.Text(at), text(fstype), launch.Value(flags), text(data))
}

// cgroupMount shows the container its cgroups: the whole of its namespace's, or
// its own directories bound from the host.
func (b *compiler) cgroupMount(m *mounting) {
	if b.f.cgroup == nil {
		b.warn("no cgroup file system at %s: the machine has none", m.at)
		return
	}
	flags := m.flags &^ unix.MS_REC
	own := b.c.makes("cgroup")
	if b.f.cgroup.unified() {
		if own {
			b.sysMount("cgroup", m.at, "cgroup2", flags, "")
			return
		}
		b.hostBind(b.f.cgroup.hierarchies[0].dir, m.at, flags)
		return
	}
	b.sysMount("tmpfs", m.at, "tmpfs", flags&^unix.MS_RDONLY, "mode=755")
	for _, h := range b.f.cgroup.hierarchies {
		at := path.Join(m.at, h.name)
		b.mkdirs(at)
		switch {
		case own && h.controllers == "":
			b.sysMount("cgroup", at, "cgroup2", flags, "")
		case own:
			b.sysMount("cgroup", at, "cgroup", flags, h.controllers)
		default:
			b.hostBind(h.dir, at, flags)
		}
		for _, alias := range h.aliases {
			b.link(h.name, path.Join(m.at, alias))
		}
	}
	if m.flags&unix.MS_RDONLY != 0 {
		b.remount(m.at, flags)
	}
}

// hostBind mounts a host's directory when the root is the container's already.
func (b *compiler) hostBind(host, at string, flags uint64) {
	tree := b.Keep(b.Do("taking "+host, launch.OpenTree, b.state.oldRoot, b.Text(strings.TrimPrefix(host, "/")),
		launch.Value(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)))
	if set := attributes(flags); set != 0 {
		b.setattr(tree, host, set, 0, 0, false)
	}
	b.attach(tree, at)
}

func (b *compiler) remount(at string, flags uint64) {
	b.Do("making "+at+" read-only", launch.MountSetattr, launch.Value(cwdFD), b.Text(at), launch.Value(0),
		b.Words(unix.MOUNT_ATTR_RDONLY, 0, 0, 0), launch.Value(32))
}

func (b *compiler) link(to, at string) {
	tolerate(b.Do("making the link "+at, launch.Symlinkat, b.Text(to), launch.Value(cwdFD), b.Text(at)), unix.EEXIST)
}

// pivot makes the root the namespace's root: pivot_root(2), "pivot_root(".", ".")".
func (b *compiler) pivot() {
	b.Do("changing to the host's root", launch.Fchdir, b.state.oldRoot)
	b.Do("making it the process's root", launch.Chroot, b.Text("."))
	b.Do("changing to "+b.f.rootfs, launch.Chdir, b.Text(b.f.rootfs))
	b.Do("making it the root", launch.PivotRoot, b.Text("."), b.Text("."))
	b.Do("dropping the host's mounts", launch.Umount2, b.Text("."), launch.Value(unix.MNT_DETACH))
	b.Do("changing to the new root", launch.Chdir, b.Text("/"))
}

// finishRoot takes away what the container may not have.
func (b *compiler) finishRoot() error {
	for i := range b.mounts {
		m := &b.mounts[i]
		if m.fstype == "tmpfs" && m.flags&unix.MS_RDONLY != 0 && m.flags&(unix.MS_BIND|unix.MS_REMOUNT) == 0 {
			b.remount(m.at, m.flags)
		}
	}
	if p := b.c.Linux.RootfsPropagation; p != "" {
		b.sysMount("", "/", "", mountOptions[p].propagation, "")
	}
	if b.c.Root.Readonly {
		b.remount("/", 0)
	}
	for _, p := range b.c.Linux.ReadonlyPaths {
		at := path.Clean(p)
		o := b.sysMount(at, at, "", unix.MS_BIND|unix.MS_REC, "")
		o.Label = "making a mount of " + at
		tolerate(o, unix.ENOENT)
		tolerate(b.Do("making "+at+" read-only", launch.MountSetattr, launch.Value(cwdFD), b.Text(at), launch.Value(unix.AT_RECURSIVE),
			b.Words(unix.MOUNT_ATTR_RDONLY, 0, 0, 0), launch.Value(32)), unix.ENOENT)
	}
	for _, p := range b.c.Linux.MaskedPaths {
		b.mask(path.Clean(p))
	}
	return nil
}

// mask hides a path. In /proc and /sys, the host shows what is there; whatever
// nothing is known of is taken for a file, and a failure if it is a directory.
func (b *compiler) mask(at string) {
	is := b.f.inRoot(at)
	if strings.HasPrefix(at, "/proc/") || strings.HasPrefix(at, "/sys/") {
		is = b.f.host(at)
	}
	var o *launch.Op
	if is == directory {
		o = b.sysMount("tmpfs", at, "tmpfs", unix.MS_RDONLY, "size=0k")
	} else {
		o = b.sysMount("/dev/null", at, "", unix.MS_BIND, "")
	}
	o.Label = "hiding " + at
	tolerate(o, unix.ENOENT)
}
