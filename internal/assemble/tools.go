package assemble

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/durable"
	"github.com/instar-os/instar/internal/image"
	"github.com/instar-os/instar/internal/lock"
	"github.com/instar-os/instar/internal/source/deb"
	"github.com/instar-os/instar/internal/source/dpkg"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/tree"
	"github.com/instar-os/instar/internal/vm"
)

// toolHosts are the build host architectures that every lock pins tools for,
// so that one lock serves all who build, and the host at hand.
func toolHosts(host string) []string {
	hosts := []string{"amd64", host}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// Tool trees, by the name they have in the lock.
const filesystemTools = "filesystem"

func vmTools(arch string) string { return "vm-" + arch }

// toolRequests are the packages of each tool tree: what makes file systems, and
// QEMU with firmware for each architecture of the machine.
func toolRequests(arches []string) map[string][]string {
	qemu := map[string][]string{
		"amd64": {"qemu-system-x86", "ovmf"},
		"arm64": {"qemu-system-arm", "qemu-efi-aarch64"},
	}
	out := map[string][]string{filesystemTools: {"e2fsprogs", "libarchive13t64"}}
	for _, arch := range arches {
		out[vmTools(arch)] = qemu[arch]
	}
	return out
}

// lockTools pins the tool trees. Their packages' scripts are never considered:
// nothing is installed, files are run from where they are unpacked.
func (b *Builder) lockTools(def *config.Definition, worlds map[string]*deb.World, lk *lock.Lock) error {
	if def.Tools.From == "host" {
		return nil
	}
	requests := toolRequests(def.Arch)
	for _, host := range toolHosts(b.HostArch) {
		in := newInputs()
		for _, name := range slices.Sorted(maps.Keys(requests)) {
			sol, err := worlds[host].Solve(deb.Request{Packages: requests[name]})
			if err != nil {
				return fmt.Errorf("tools %s for %s: %w", name, host, err)
			}
			in.add(name, sol.Packages)
		}
		lk.Tools[host] = in.finish()
	}
	return nil
}

// FilesystemTools returns the programs that make file systems.
func (b *Builder) FilesystemTools(ctx context.Context, def *config.Definition, lk *lock.Lock) (vm.Tools, error) {
	if def.Tools.From == "host" {
		return vm.Tools{}, checkMke2fs(ctx, vm.Tools{})
	}
	return b.tools(ctx, def, lk, filesystemTools)
}

// mke2fsVersion is how mke2fs -V names itself.
var mke2fsVersion = regexp.MustCompile(`mke2fs (\d+)\.(\d+)\.?(\d*)`)

// leastMke2fs is the first version that fills a file system from a tar archive
// and takes its times from SOURCE_DATE_EPOCH.
var leastMke2fs = [3]int{1, 47, 2}

// checkMke2fs refuses programs of the host that cannot do what is needed.
func checkMke2fs(ctx context.Context, tools vm.Tools) error {
	out, err := tools.Command(ctx, "mke2fs", "-V").CombinedOutput()
	if err != nil {
		return fmt.Errorf("tools.from is host, and mke2fs of this host does not run: %w", err)
	}
	m := mke2fsVersion.FindStringSubmatch(string(out))
	if m == nil {
		return fmt.Errorf("tools.from is host, and mke2fs of this host does not say its version: %.80q", out)
	}
	var have [3]int
	for i := range have {
		have[i], _ = strconv.Atoi(m[i+1]) // digits, or "" for 0
	}
	if slices.Compare(have[:], leastMke2fs[:]) < 0 {
		return fmt.Errorf("tools.from is host, and this host has %s; %d.%d.%d is needed, or no tools.from: then the lock's is used",
			m[0], leastMke2fs[0], leastMke2fs[1], leastMke2fs[2])
	}
	return nil
}

// VMTools returns QEMU and firmware for machines of an architecture.
func (b *Builder) VMTools(ctx context.Context, def *config.Definition, lk *lock.Lock, arch string) (vm.Tools, error) {
	return b.tools(ctx, def, lk, vmTools(arch))
}

// tools returns a tool tree, unpacked from the lock into the cache, or the
// host's own programs when the definition says so. Nothing is downloaded when
// it is there.
func (b *Builder) tools(ctx context.Context, def *config.Definition, lk *lock.Lock, name string) (vm.Tools, error) {
	if def.Tools.From == "host" {
		return vm.Tools{}, nil
	}
	in, ok := lk.Tools[b.HostArch]
	if !ok || len(in.Trees[name]) == 0 {
		return vm.Tools{}, fmt.Errorf("the lock pins no %s tools for a build host of %s; run instar lock here", name, b.HostArch)
	}
	set := in.Tree(name)
	dir := filepath.Join(b.Cache, "tools", name+"-"+toolKey(set))
	if _, err := os.Stat(dir); err == nil {
		return vm.Tools{Root: dir}, nil
	}
	unpacked, err := b.unpack(ctx, def, set)
	if err != nil {
		return vm.Tools{}, err
	}
	var pkgs []*dpkg.Package
	for _, p := range set {
		pkgs = append(pkgs, unpacked[p.SHA256])
	}
	t, err := dpkg.Merge(pkgs)
	if err != nil {
		return vm.Tools{}, fmt.Errorf("tool tree %s: %w", name, err)
	}
	if _, err := t.Prune([]string{"usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/icons", "etc", "var"}, nil); err != nil {
		return vm.Tools{}, err
	}
	b.report(Event{Stage: "tools", Item: name})
	return vm.Tools{Root: dir}, b.Export(t, dir)
}

func toolKey(set []lock.Package) string {
	h := sha256.New()
	for _, p := range set {
		fmt.Fprintln(h, p.SHA256)
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

// Export writes a tree as ordinary files of the calling user: a fresh directory
// beside dir, renamed when it is whole. Owners, devices and setuid bits are
// dropped, so that it needs no rights and gives none.
func (b *Builder) Export(t *tree.Tree, dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), ".export-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	for p, e := range t.All() {
		if err := b.exportOne(tmp, p, e); err != nil {
			return fmt.Errorf("writing a tree to %s: %w", dir, err)
		}
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	if err := durable.SyncFS(tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

func (b *Builder) exportOne(dir, p string, e tree.Entry) error {
	at := filepath.Join(dir, filepath.FromSlash(p))
	switch e.Kind {
	case tree.Dir:
		return os.MkdirAll(at, 0o755)
	case tree.Symlink:
		return os.Symlink(e.Target, at)
	case tree.Hardlink:
		return os.Link(filepath.Join(dir, filepath.FromSlash(e.Target)), at)
	case tree.File:
		return b.exportFile(at, e)
	}
	return nil
}

func (b *Builder) exportFile(at string, e tree.Entry) error {
	f, err := os.OpenFile(at, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fs.FileMode(e.Mode&0o777|0o400))
	if err != nil {
		return err
	}
	defer f.Close()
	if e.Size > 0 {
		src, err := b.Store.Open(e.Digest)
		if err != nil {
			return err
		}
		defer src.Close()
		if _, err := io.Copy(f, src); err != nil {
			return err
		}
	}
	return f.Close()
}

// dataTemplate is the data partition as it begins, made once for each mkfs.
func (b *Builder) dataTemplate(ctx context.Context, def *config.Definition, lk *lock.Lock) (system.Object, error) {
	tools, err := b.FilesystemTools(ctx, def, lk)
	if err != nil {
		return system.Object{}, err
	}
	content, err := image.DataTemplate(ctx, tools.Command)
	if err != nil {
		return system.Object{}, err
	}
	return b.putObject(content)
}
