package assemble

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/kernel"
	"github.com/instar-os/instar/internal/lock"
	"github.com/instar-os/instar/internal/source/deb"
	"github.com/instar-os/instar/internal/source/dpkg"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/tree"
)

// bootPackage holds systemd's UEFI stub and boot loader.
const bootPackage = "systemd-boot-efi"

// bootNames are the UEFI names of each architecture.
var bootNames = map[string]string{"amd64": "x64", "arm64": "aa64"}

// consoles are the serial ports of each architecture's usual machines.
var consoles = map[string][]string{"amd64": {"tty0", "ttyS0"}, "arm64": {"tty0", "ttyAMA0"}}

// maxKernelPackages bounds the walk from a kernel metapackage.
const maxKernelPackages = 8

// kernelPackages returns the package of that name and the linux-* packages it
// depends on: a metapackage leads to the image, from 7.x on the image leads to
// its binary and modules. What else they depend on (initramfs-tools, kmod,
// linux-base) serves installing on a running Debian and is left out.
func kernelPackages(w *deb.World, name string) ([]lock.Package, error) {
	queue, seen := []string{name}, map[string]bool{name: true}
	var out []lock.Package
	for len(queue) > 0 {
		if len(out) == maxKernelPackages {
			return nil, fmt.Errorf("%s leads to more than %d linux-* packages", name, maxKernelPackages)
		}
		p, err := w.Candidate(queue[0])
		if err != nil {
			return nil, err
		}
		out = append(out, p)
		for _, d := range w.Depends(p) {
			if !seen[d] && isKernelPart(d) {
				seen[d] = true
				queue = append(queue, d)
			}
		}
		queue = queue[1:]
	}
	return out, nil
}

func isKernelPart(name string) bool {
	for _, prefix := range []string{"linux-image-", "linux-binary-", "linux-modules-"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// kernel makes the initrd and puts what a boot slot holds into the store. Of a
// kernel package's thousand modules a machine takes a few dozen: the packages
// are unpacked into memory, and the result is remembered.
func (b *Builder) kernel(ctx context.Context, def *config.Definition, lk *lock.Lock, arch string) (system.Kernel, error) {
	def, err := b.withListed(def)
	if err != nil {
		return system.Kernel{}, err
	}
	pkgs, err := bootPackages(lk.Arches[arch])
	if err != nil {
		return system.Kernel{}, err
	}
	init, err := b.Init(arch)
	if err != nil {
		return system.Kernel{}, err
	}
	cache, err := b.kernelCache(def, pkgs, arch, init)
	if err != nil {
		return system.Kernel{}, err
	}
	if k, ok := cache.load(b.Store); ok {
		return k, nil
	}
	contents := memory{}
	all, err := b.unpackInto(ctx, def, pkgs, contents)
	if err != nil {
		return system.Kernel{}, fmt.Errorf("kernel and boot packages: %w", err)
	}
	k := system.Kernel{Command: kernelArguments(def, arch)}
	if err := b.bootFiles(def, all, contents, arch, &k); err != nil {
		return system.Kernel{}, err
	}
	if err := b.initrd(all, contents, def, arch, init, &k); err != nil {
		return system.Kernel{}, err
	}
	return k, cache.save(k)
}

// bootPackages returns the packages of the kernel and of the boot loader.
func bootPackages(in *lock.Inputs) ([]lock.Package, error) {
	var pkgs []lock.Package
	for _, ref := range slices.Concat(in.Kernel, in.Boot) {
		p, ok := in.Find(ref)
		if !ok {
			return nil, fmt.Errorf("the lock names %s for the kernel or the boot loader but does not pin it", ref)
		}
		pkgs = append(pkgs, p)
	}
	return pkgs, nil
}

// unpackInto merges packages into one tree with their contents in memory.
func (b *Builder) unpackInto(ctx context.Context, def *config.Definition, pkgs []lock.Package, contents memory) (*tree.Tree, error) {
	paths, err := b.fetchPackages(ctx, def, pkgs)
	if err != nil {
		return nil, err
	}
	unpacked, err := dpkg.UnpackAll(ctx, &lockedMemory{contents: contents}, nil, b.archives(pkgs, paths), b.parallel())
	if err != nil {
		return nil, err
	}
	all := tree.New()
	for _, p := range unpacked {
		if err := all.Merge(p.Tree, tree.SameOrConflict); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func kernelArguments(def *config.Definition, arch string) []string {
	names := def.Boot.Console
	if len(names) == 0 {
		names = consoles[arch]
	}
	var out []string
	for _, c := range names {
		out = append(out, "console="+c)
	}
	return append(out, def.Kernel.Command...)
}

// bootFiles finds vmlinuz, stub and loader and puts them into the store.
func (b *Builder) bootFiles(def *config.Definition, all *tree.Tree, contents memory, arch string, k *system.Kernel) error {
	for p, e := range all.All() {
		if rel, ok := strings.CutPrefix(p, "boot/vmlinuz-"); ok && e.Kind == tree.File {
			if k.Release != "" {
				return fmt.Errorf("two kernels, %s and %s; one is needed", k.Release, rel)
			}
			if err := b.image(contents[e.Digest], def.Kernel.Repack, k); err != nil {
				return err
			}
			k.Release = rel
		}
	}
	if k.Release == "" {
		return fmt.Errorf("no boot/vmlinuz-* in the kernel's packages")
	}
	const dir = "usr/lib/systemd/boot/efi"
	suffix := bootNames[arch]
	for name, o := range map[string]*system.Object{"linux" + suffix + ".efi.stub": &k.Stub, "systemd-boot" + suffix + ".efi": &k.Loader} {
		e, ok := all.Stat(path.Join(dir, name))
		if !ok {
			return fmt.Errorf("no /%s/%s in package %s", dir, name, bootPackage)
		}
		var err error
		if *o, err = b.putObject(contents[e.Digest]); err != nil {
			return err
		}
	}
	return nil
}

func (b *Builder) initrd(all *tree.Tree, contents memory, def *config.Definition, arch string, init []byte, k *system.Kernel) (err error) {
	if k.Init, err = b.putObject(init); err != nil {
		return err
	}
	set, err := kernel.ReadModules(contents, all, k.Release)
	if err != nil {
		return err
	}
	names := moduleRequest(def)
	if def.Kernel.Modules.Set == "minimal" {
		names = append(set.Minimal(arch), names...)
	}
	modules, err := set.Closure(names)
	if err != nil {
		if need := networkModules(def); len(need) > 0 {
			return fmt.Errorf("kernel.modules, and %s for the configurations' networks: %w", strings.Join(need, ", "), err)
		}
		if file := def.Kernel.Modules.Listed; file != "" {
			return fmt.Errorf("kernel.modules: %w; what %s lists and this kernel does not have can be made a comment there with #", err, file)
		}
		return fmt.Errorf("kernel.modules: %w", err)
	}
	for _, m := range modules {
		k.Modules = append(k.Modules, m.Name)
	}
	cpio, err := kernel.Initrd(init, modules)
	if err != nil {
		return err
	}
	k.Initrd, err = b.putObject(cpio)
	return err
}

// moduleRequest lists the modules that the definition asks for: by name, and by
// its networks.
func moduleRequest(def *config.Definition) []string {
	return append(slices.Clone(def.Kernel.Modules.Add), networkModules(def)...)
}

func (b *Builder) putObject(content []byte) (system.Object, error) {
	d, err := b.Store.PutBytes(content)
	return system.Object{Digest: d, Size: int64(len(content))}, err
}
