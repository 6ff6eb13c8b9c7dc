package assemble

import (
	"context"
	"fmt"
	"strings"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/tree"
)

// Where systemd has its parts.
const (
	systemdProgram    = "usr/lib/systemd/systemd"
	systemdGenerators = "usr/lib/systemd/system-generators"
	unitOverrides     = "etc/systemd/system"
	generatorMasks    = "etc/systemd/system-generators"
)

// usedHostTrees returns the trees of all hosts.
func usedHostTrees(def *config.Definition) []string {
	var out []string
	for _, c := range def.Configurations {
		if c.Host != nil {
			out = append(out, c.Host.Trees...)
		}
	}
	return out
}

// hosts makes the image of every host and puts it into its configuration.
func (b *Builder) hosts(ctx context.Context, def *config.Definition, arch string, trees map[string]*tree.Tree, confs []system.Configuration) error {
	for i := range confs {
		decl := def.Configurations[confs[i].Name].Host
		if decl == nil {
			continue
		}
		h, err := b.host(ctx, def, decl, arch, trees)
		if err != nil {
			return fmt.Errorf("host of configuration %s: %w", confs[i].Name, err)
		}
		confs[i].Host = h
	}
	return nil
}

func (b *Builder) host(ctx context.Context, def *config.Definition, decl *config.Host, arch string, trees map[string]*tree.Tree) (*system.Userland, error) {
	root := tree.New()
	for _, t := range decl.Trees {
		if err := root.Merge(trees[t], tree.LastWins); err != nil {
			return nil, fmt.Errorf("laying tree %s over the ones before it: %w", t, err)
		}
	}
	if err := b.prove(root, "host", nil, b.goneFrom(decl.Trees)); err != nil {
		return nil, err
	}
	if err := b.register(root, def, decl.Trees); err != nil {
		return nil, err
	}
	if err := b.checkProgram(root, decl.Init, arch, 0); err != nil {
		return nil, fmt.Errorf("init %s: %w", decl.Init, err)
	}
	l := hostLayer{root: root, b: b}
	e, debian := root.Stat(systemdProgram)
	switch _, nixos := nixosInit(root, decl.Init); {
	case nixos:
		l.nixos(decl, arch)
	case debian && e.Kind == tree.File:
		l.programs(decl, arch)
		l.identity(hostname(def))
		l.quiet()
	default:
		return nil, fmt.Errorf("its trees do not hold systemd (/%s), whose units the containers become", systemdProgram)
	}
	if l.err != nil {
		return nil, l.err
	}
	image, err := b.Store.PutImage(ctx, root)
	return &system.Userland{Image: image, Init: decl.Init, Kept: decl.Root == "kept", Agent: decl.Agent}, err
}

// A hostLayer adds to a host's tree what instar needs there. The first error
// stays.
type hostLayer struct {
	root *tree.Tree
	b    *Builder
	err  error
}

// put adds an entry where there is nothing.
func (l *hostLayer) put(p string, e tree.Entry) {
	at, there := l.root.Resolve(p)
	if _, link := l.root.Get(p); l.err != nil || there || link {
		return
	}
	e.MTime, e.Owner = l.b.epoch, "instar"
	if err := l.root.Put(at, e); err != nil {
		l.err = fmt.Errorf("/%s: %w", p, err)
	}
}

func (l *hostLayer) dir(p string, mode uint16) { l.put(p, tree.Entry{Kind: tree.Dir, Mode: mode}) }

func (l *hostLayer) link(p, target string) {
	l.put(p, tree.Entry{Kind: tree.Symlink, Mode: 0o777, Target: target})
}

func (l *hostLayer) file(p string, mode uint16, content []byte) {
	if l.err != nil {
		return
	}
	e := tree.Entry{Kind: tree.File, Mode: mode, Size: int64(len(content))}
	if len(content) > 0 {
		o, err := l.b.putObject(content)
		if err != nil {
			l.err = err
			return
		}
		e.Digest = o.Digest
	}
	l.put(p, e)
}

// programs adds instar-init, which is also the generator of the containers'
// units, and the agent.
func (l *hostLayer) programs(decl *config.Host, arch string) {
	l.program(system.HostInit, arch, l.b.Init)
	l.link(systemdGenerators+"/instar-generator", "../../instar/instar-init")
	if decl.Agent != "" {
		l.program(system.HostAgent, arch, l.b.Agent)
	}
}

func (l *hostLayer) program(p, arch string, read func(arch string) ([]byte, error)) {
	content, err := read(arch)
	if err != nil && l.err == nil {
		l.err = err
	}
	if l.file(p, 0o755, content); l.err == nil {
		if e, ok := l.root.Stat(p); !ok || e.Owner != "instar" {
			l.err = fmt.Errorf("/%s is in its trees already (of %s)", p, e.Owner)
		}
	}
}

// identity adds mount points, and the machine's names where the trees give none. An
// empty machine-id is filled before init starts: systemd takes a missing one
// for a first boot, and would apply presets once more.
func (l *hostLayer) identity(hostname string) {
	for _, p := range []string{"proc", "sys", "dev", "run"} {
		l.dir(p, 0o755)
	}
	l.dir("tmp", 0o1777)
	l.file("etc/machine-id", 0o444, nil)
	l.file("etc/hostname", 0o644, []byte(hostname+"\n"))
	l.file("etc/hosts", 0o644, []byte("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n127.0.1.1 "+hostname+"\n"))
	l.link("etc/resolv.conf", "/run/instar/resolv.conf")
}

// quiet keeps systemd from what makes no sense on a root file system that is
// made anew: looking for partitions to mount, which instar has done; updating
// caches of an /etc that is as old as /usr; and units whose program is not
// there.
func (l *hostLayer) quiet() {
	l.link(generatorMasks+"/systemd-gpt-auto-generator", "/dev/null")
	for _, m := range unitPrograms {
		for _, unit := range m.units {
			if !l.has(m.program) {
				l.link(unitOverrides+"/"+unit, "/dev/null")
			}
		}
	}
	usr, _ := l.root.Stat("usr")
	stamp := max(usr.MTime, l.b.epoch) + 1 // seconds
	for _, p := range []string{"etc/.updated", "var/.updated"} {
		l.file(p, 0o644, []byte(fmt.Sprintf("TIMESTAMP_NSEC=%d000000000\n", stamp)))
		if e, ok := l.root.Get(p); ok && l.err == nil {
			e.MTime = stamp
			l.err = l.root.Put(p, e)
		}
	}
}

// unitPrograms are units of the package systemd that run programs of others.
var unitPrograms = []struct {
	program string
	units   []string
}{
	{"agetty", []string{"getty@.service", "serial-getty@.service", "console-getty.service", "container-getty@.service"}},
	{"ldconfig", []string{"ldconfig.service"}},
}

// has reports whether a program is in the usual directories.
func (l *hostLayer) has(name string) bool {
	for dir := range strings.SplitSeq(defaultPath, ":") {
		if _, ok := l.root.Stat(dir + "/" + name); ok {
			return true
		}
	}
	return false
}
