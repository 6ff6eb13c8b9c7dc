package assemble

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/source/nix"
	"github.com/instar-os/instar/internal/source/nix/narinfo"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/tree"
)

// nixSystems are the names that Nix has for architectures.
var nixSystems = map[string]string{"amd64": "x86_64-linux", "arm64": "aarch64-linux"}

// nixos makes configurations of what NixOS systems say of themselves: a host
// whose trees hold a closure with a boot.json gets that system's init and kernel
// arguments, and stands once more for each of its specialisations. The
// definition stays as it is.
func (b *Builder) nixos(def *config.Definition, arch string, trees map[string]*tree.Tree) (*config.Definition, error) {
	out := *def
	out.Configurations = maps.Clone(def.Configurations)
	for _, name := range slices.Sorted(maps.Keys(def.Configurations)) {
		c := def.Configurations[name]
		if c.Host == nil || c.Host.Init != defaultHostInit {
			continue
		}
		spec, err := b.bootspec(c.Host.Trees, trees)
		if err != nil {
			return nil, fmt.Errorf("host of configuration %s: %w", name, err)
		}
		if spec == nil {
			continue
		}
		if out.Configurations[name], err = booted(c, spec, arch); err != nil {
			return nil, fmt.Errorf("host of configuration %s: %w", name, err)
		}
		for _, special := range slices.Sorted(maps.Keys(spec.Specialisations)) {
			full := name + "-" + special
			switch _, taken := out.Configurations[full]; {
			case taken:
				return nil, fmt.Errorf("host of configuration %s: its specialisation %q would be the configuration %s, which there is already", name, special, full)
			case !configurationName(full):
				return nil, fmt.Errorf("host of configuration %s: its specialisation %q cannot be the configuration %q: lower-case letters, digits and dashes, at most 63; give it another name in NixOS", name, special, full)
			}
			if out.Configurations[full], err = booted(c, spec.Specialisations[special], arch); err != nil {
				return nil, fmt.Errorf("host of configuration %s, specialisation %s: %w", name, special, err)
			}
		}
	}
	return &out, nil
}

// defaultHostInit is what a definition says that names no init.
const defaultHostInit = "/usr/lib/systemd/systemd"

func configurationName(s string) bool {
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return len(s) <= 63
}

// bootspec returns what the closure among the trees says that is a system of
// NixOS, nil when none is.
func (b *Builder) bootspec(names []string, trees map[string]*tree.Tree) (*nix.Bootspec, error) {
	var found *nix.Bootspec
	for _, c := range b.closures {
		if !slices.Contains(names, c.Tree) || trees[c.Tree] == nil {
			continue
		}
		at := path.Join(narinfo.Name(c.Root).Path(), nix.BootspecFile)
		e, ok := trees[c.Tree].Stat(at)
		if !ok || e.Kind != tree.File {
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("tree %s is a second system of NixOS; one runs a machine", c.Tree)
		}
		text, err := b.Store.Bytes(e.Digest, nix.MaxBootspec)
		if err != nil {
			return nil, err
		}
		if found, err = nix.ParseBootspec(text); err != nil {
			return nil, fmt.Errorf("%s of tree %s: %w", at, c.Tree, err)
		}
	}
	return found, nil
}

// booted is a configuration whose host is a system of NixOS.
func booted(c config.Configuration, spec *nix.Bootspec, arch string) (config.Configuration, error) {
	if spec.InitrdSecrets != "" {
		return c, fmt.Errorf("%s adds secrets to the initrd (%s), and a system holds no secret: set boot.initrd.secrets = {} in NixOS, and let what needs them read them from data or make them at its first start", spec.Label, spec.InitrdSecrets)
	}
	if want := nixSystems[arch]; spec.System != "" && spec.System != want {
		return c, fmt.Errorf("%s is a system for %s, the machine is %s (%s)", spec.Label, spec.System, arch, want)
	}
	host := *c.Host
	host.Init = spec.Init
	c.Host = &host
	c.Command = slices.Clone(c.Command)
	for _, p := range append(slices.Clone(spec.KernelParams), noAuto) {
		if key, _, _ := strings.Cut(p, "="); !slices.Contains(ownParams, key) && !strings.HasPrefix(key, "instar.") && !slices.Contains(c.Command, p) {
			c.Command = append(c.Command, p)
		}
	}
	return c, nil
}

// noAuto keeps systemd from looking for partitions, which instar has done. Units
// and generators of NixOS cannot be masked by files: its activation owns /etc.
const noAuto = "systemd.gpt_auto=0"

// ownParams are kernel arguments of NixOS' first stage, in whose place
// instar-init is, and those that the build sets.
var ownParams = []string{"init", "root", "rootfstype", "rootflags", "ro", "rw", "console", "--", "boot.shell_on_fail"}

// nixosInit reports whether a host is a system of NixOS: its init lies in a
// store path, beside the systemd that it starts.
func nixosInit(root *tree.Tree, init string) (systemd string, ok bool) {
	name, _, err := narinfo.Within(init)
	if err != nil {
		return "", false
	}
	at := path.Join(name.Path(), "systemd/lib/systemd/systemd")
	e, ok := root.Stat(at)
	return at, ok && e.Kind == tree.File
}

// localGenerators is a directory of systemd's generators that neither a package
// nor NixOS' activation writes.
const localGenerators = "usr/local/lib/systemd/system-generators"

// nixos adds what instar needs in a system of NixOS. Names and masks in /etc are
// left to its activation.
func (l *hostLayer) nixos(decl *config.Host, arch string) {
	l.programs(decl, arch)
	l.link(localGenerators+"/instar-generator", "/"+system.HostInit)
	for _, p := range []string{"proc", "sys", "dev", "run", "etc", "var", "root", "home", "bin", "usr/bin"} {
		l.dir(p, 0o755)
	}
	l.dir("tmp", 0o1777)
	l.file("etc/machine-id", 0o444, nil)
}
