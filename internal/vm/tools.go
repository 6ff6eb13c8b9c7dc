// Package vm runs machines in QEMU: it finds the programs, starts a virtual
// machine from a disk image or a kernel, and talks to its console, its control
// port and the emulator itself. No process outlives the VM that started it.
package vm

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
)

// Tools are programs that instar runs, with their libraries and data. They come
// from a tool tree, or from the host when Root is empty.
type Tools struct {
	Root string // directory of an unpacked tool tree; "" for the host's programs
}

// host describes the Debian names of a build host's architecture.
type host struct{ loader, triplet string }

var hosts = map[string]host{
	"amd64": {"lib64/ld-linux-x86-64.so.2", "x86_64-linux-gnu"},
	"arm64": {"lib/ld-linux-aarch64.so.1", "aarch64-linux-gnu"},
}

// Command returns the command that runs a program by its name. A program of a
// tool tree is started through the tree's own dynamic loader with the tree's
// libraries, so that nothing of the host is used, and with a fixed environment,
// so that nothing of the host changes what it does. When the program is not
// there the command's Start fails with an error that names it.
func (t Tools) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	if t.Root == "" {
		return exec.CommandContext(ctx, name, args...)
	}
	loader, libs, program, err := t.locate(name)
	if err != nil {
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Err = err
		return cmd
	}
	full := append([]string{"--inhibit-cache", "--library-path", libs, program}, args...)
	cmd := exec.CommandContext(ctx, loader, full...)
	cmd.Env = []string{
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", "LC_ALL=C", "TZ=UTC",
		"MKE2FS_CONFIG=/dev/null", // else the host's /etc/mke2fs.conf decides what a file system is like
		"QEMU_MODULE_DIR=" + filepath.Join(t.Root, "usr/lib", hosts[runtime.GOARCH].triplet, "qemu"),
	}
	return cmd
}

// locate finds the loader, the library path and the program within the tree.
func (t Tools) locate(name string) (loader, libs, program string, err error) {
	h, ok := hosts[runtime.GOARCH]
	if !ok {
		return "", "", "", fmt.Errorf("tool trees are not made for hosts of %s", runtime.GOARCH)
	}
	if loader, err = t.find(h.loader, "usr/"+h.loader, "usr/lib/"+h.triplet+"/"+path.Base(h.loader)); err != nil {
		return "", "", "", err
	}
	if program, err = t.find("usr/bin/"+name, "usr/sbin/"+name, "bin/"+name, "sbin/"+name); err != nil {
		return "", "", "", err
	}
	dir := filepath.Join(t.Root, "usr/lib", h.triplet)
	libs = dir + string(filepath.ListSeparator) + filepath.Join(t.Root, "lib", h.triplet)
	return loader, libs, program, nil
}

// File returns the first of the named data files that exists, each a path
// below the root of the tools, as "usr/share/OVMF/OVMF_CODE_4M.fd".
func (t Tools) File(names ...string) (string, error) { return t.find(names...) }

func (t Tools) find(names ...string) (string, error) {
	root, where := t.Root, "the tool tree"
	if root == "" {
		root, where = "/", "this host"
	}
	for _, name := range names {
		p := filepath.Join(root, filepath.FromSlash(name))
		if fi, err := os.Stat(p); err == nil && fi.Mode().IsRegular() {
			return p, nil
		}
	}
	return "", fmt.Errorf("%s has no %s: %w", where, names[0], fs.ErrNotExist)
}

// dataDirs are the directories in which QEMU looks for its own firmware.
func (t Tools) dataDirs() []string {
	if t.Root == "" {
		return nil
	}
	var args []string
	for _, d := range []string{"usr/share/qemu", "usr/share/seabios"} {
		args = append(args, "-L", filepath.Join(t.Root, d))
	}
	return args
}
