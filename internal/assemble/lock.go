package assemble

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/lock"
	"github.com/instar-os/instar/internal/source/deb"
	"github.com/instar-os/instar/internal/source/dpkg"
	"github.com/instar-os/instar/internal/source/dpkg/effects"
)

// Unexplained says that maintainer scripts do things that no rule explains and
// that the definition does not accept. Nothing was locked.
type Unexplained struct {
	Packages []UnexplainedPackage
}

// UnexplainedPackage is one package of Unexplained.
type UnexplainedPackage struct {
	Name, Version string
	Trees         []string
	Scripts       []lock.Script
}

// Error lists every package, script and command.
func (u *Unexplained) Error() string {
	var s strings.Builder
	s.WriteString("maintainer scripts do what no rule explains:")
	for _, p := range u.Packages {
		fmt.Fprintf(&s, "\n  %s %s (in %s)", p.Name, p.Version, strings.Join(p.Trees, ", "))
		for _, sc := range p.Scripts {
			fmt.Fprintf(&s, "\n    %s, sha256 %s", sc.Name, sc.SHA256)
			for _, e := range sc.Effects {
				fmt.Fprintf(&s, "\n      %s", e)
			}
		}
	}
	return s.String()
}

// LockOptions tells Lock what the command line asked for.
type LockOptions struct {
	Old  *lock.Lock                        // numbers of users are kept from it; nil for none
	Now  time.Time                         // against which Valid-Until is held
	Keys func(file string) ([]byte, error) // reads a keyring that the definition names
	// Accept names packages whose accepted scripts may have changed since the
	// old lock; others ask again.
	Accept []string
}

// Lock resolves every input of the definition and pins it by digest. It
// downloads all packages, because their maintainer scripts must be read.
func (b *Builder) Lock(ctx context.Context, def *config.Definition, opts LockOptions) (*lock.Lock, error) {
	if err := b.reach(def); err != nil {
		return nil, err
	}
	request, err := config.RequestDigest(def)
	if err != nil {
		return nil, err
	}
	lk := &lock.Lock{
		Version: lock.Version, Machine: def.Machine, Request: request,
		Arches: map[string]*lock.Inputs{}, Tools: map[string]*lock.Inputs{},
	}
	worlds := map[string]*deb.World{}
	for _, arch := range lockArches(def, b.HostArch) {
		b.report(Event{Stage: "archive", Item: arch})
		w, err := deb.Load(ctx, b.Fetch, b.sources(def, opts), arch, opts.Now)
		if err != nil {
			return nil, err
		}
		worlds[arch] = w
		lk.Suites = mergeSuites(lk.Suites, w.Suites())
		lk.Epoch = max(lk.Epoch, w.Epoch())
	}
	for _, arch := range def.Arch {
		if lk.Arches[arch], err = resolveInputs(def, worlds[arch], arch); err != nil {
			return nil, fmt.Errorf("%s: %w", arch, err)
		}
	}
	if err := b.lockTools(def, worlds, lk); err != nil {
		return nil, err
	}
	if lk.Files, err = b.lockFiles(ctx, def); err != nil {
		return nil, err
	}
	if lk.Images, err = b.lockImages(ctx, def); err != nil {
		return nil, err
	}
	if lk.Nix, err = b.lockClosures(ctx, def); err != nil {
		return nil, err
	}
	return lk, b.explain(ctx, def, lk, opts)
}

func (b *Builder) sources(def *config.Definition, opts LockOptions) []deb.Source {
	var out []deb.Source
	for _, name := range slices.Sorted(maps.Keys(def.Sources)) {
		out = append(out, deb.Source{Name: name, Config: def.Sources[name], Host: b.Host, Keys: opts.Keys})
	}
	return out
}

// lockArches are the machine's architectures and, for the tools, the default
// build host's and this one.
func lockArches(def *config.Definition, host string) []string {
	all := slices.Clone(def.Arch)
	if def.Tools.From != "host" {
		all = append(all, toolHosts(host)...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func mergeSuites(have, more []lock.Suite) []lock.Suite {
	for _, s := range more {
		if !slices.Contains(have, s) {
			have = append(have, s)
		}
	}
	return have
}

// inputs collects the packages of one architecture while trees are solved.
type inputs struct {
	lock.Inputs
	set map[string]lock.Package
}

func newInputs() *inputs {
	return &inputs{lock.Inputs{Trees: map[string][]string{}}, map[string]lock.Package{}}
}

// refs remembers packages and returns their exact references.
func (in *inputs) refs(pkgs ...lock.Package) []string {
	out := []string{}
	for _, p := range pkgs {
		ref := p.Name + "=" + p.Version
		in.set[ref] = p
		out = append(out, ref)
	}
	return out
}

func (in *inputs) add(tree string, pkgs []lock.Package) { in.Trees[tree] = in.refs(pkgs...) }

// finish sorts the packages and shortens references that are unambiguous.
func (in *inputs) finish() *lock.Inputs {
	for _, ref := range slices.Sorted(maps.Keys(in.set)) {
		in.Packages = append(in.Packages, in.set[ref])
	}
	short := func(refs []string) {
		for i, ref := range refs {
			refs[i] = in.Ref(in.set[ref])
		}
	}
	short(in.Kernel)
	short(in.Boot)
	for _, refs := range in.Trees {
		short(refs)
	}
	return &in.Inputs
}

// resolveInputs solves the kernel, the boot loader and every package tree of
// one architecture.
func resolveInputs(def *config.Definition, w *deb.World, arch string) (*lock.Inputs, error) {
	in := newInputs()
	var errs []error
	kernel, err := kernelPackages(w, def.Kernel.Package.For(arch))
	if err != nil {
		errs = append(errs, fmt.Errorf("kernel: %w", err))
	}
	in.Kernel = in.refs(kernel...)
	boot, err := w.Candidate(bootPackage)
	if err != nil {
		errs = append(errs, fmt.Errorf("boot: %w", err))
	}
	in.Boot = in.refs(boot)
	for _, name := range slices.Sorted(maps.Keys(def.Trees)) {
		t := def.Trees[name]
		if !isPackages(t) {
			continue
		}
		sol, err := w.Solve(deb.Request{Packages: t.Packages, Essential: t.Essential, Recommends: t.Recommends, Without: t.Without})
		if err != nil {
			errs = append(errs, fmt.Errorf("tree %s: %w", name, err))
			continue
		}
		in.add(name, sol.Packages)
	}
	return in.finish(), errors.Join(errs...)
}

// lockFiles downloads the files of tarball and file trees and pins them.
func (b *Builder) lockFiles(ctx context.Context, def *config.Definition) ([]lock.File, error) {
	var out []lock.File
	for _, name := range slices.Sorted(maps.Keys(def.Trees)) {
		urls := def.Trees[name].URL
		for _, arch := range slices.Sorted(maps.Keys(urls)) {
			got, err := b.Fetch.Pin(ctx, urls[arch], "tree "+name)
			if err != nil {
				return nil, err
			}
			out = append(out, lock.File{Tree: name, Arch: arch, URL: urls[arch], SHA256: got.SHA256, Size: got.Size})
		}
	}
	return out, nil
}

// explain reads every maintainer script of the packages with declared effects,
// fixes the numbers of the users they make, and fails with *Unexplained when
// no rule and no acceptance covers one.
func (b *Builder) explain(ctx context.Context, def *config.Definition, lk *lock.Lock, opts LockOptions) error {
	var users []*dpkg.Package
	bad := map[string]UnexplainedPackage{}
	for _, arch := range def.Arch {
		in := lk.Arches[arch]
		installed := installedPackages(in)
		unpacked, err := b.unpack(ctx, def, installed)
		if err != nil {
			return err
		}
		explainArch(def, in, unpacked, opts, bad)
		for _, p := range installed {
			users = append(users, unpacked[p.SHA256])
		}
	}
	if err := b.Store.Commit(); err != nil {
		return err
	}
	if len(bad) > 0 {
		u := &Unexplained{}
		for _, k := range slices.Sorted(maps.Keys(bad)) {
			u.Packages = append(u.Packages, bad[k])
		}
		return u
	}
	var before lock.Users
	if opts.Old != nil {
		before = opts.Old.Users
	}
	var err error
	lk.Users, err = effects.Users(b.Store, users, before)
	return err
}

// installedPackages are those of any tree. Of kernel and boot packages files are
// taken, nothing is installed.
func installedPackages(in *lock.Inputs) []lock.Package {
	var out []lock.Package
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(in.Trees)) {
		for _, p := range in.Tree(name) {
			if !seen[p.SHA256] {
				seen[p.SHA256] = true
				out = append(out, p)
			}
		}
	}
	return out
}

// explainArch records the scripts that no rule explains, and adds those that
// are not accepted to bad.
func explainArch(def *config.Definition, in *lock.Inputs, unpacked map[string]*dpkg.Package, opts LockOptions, bad map[string]UnexplainedPackage) {
	for i, p := range in.Packages {
		if unpacked[p.SHA256] == nil {
			continue
		}
		scripts := effects.Explain(unpacked[p.SHA256])
		holders, refused := scriptHolders(def, in, p)
		if len(scripts) == 0 || len(holders) == 0 {
			continue
		}
		if len(refused) == 0 && !slices.Contains(opts.Accept, p.Name) {
			refused = changed(opts.Old, p.Name, scripts, holders)
		}
		if len(refused) > 0 {
			bad[p.Name+"="+p.Version] = UnexplainedPackage{p.Name, p.Version, refused, scripts}
		}
		for j := range scripts {
			scripts[j].Accepted = strings.Join(holders, ", ")
		}
		in.Packages[i].Scripts = scripts
	}
}

// changed returns the holders when the old lock has accepted another content of
// one of the scripts.
func changed(old *lock.Lock, name string, scripts []lock.Script, holders []string) []string {
	if old == nil {
		return nil
	}
	for _, in := range old.Arches {
		for _, p := range in.Packages {
			if p.Name != name {
				continue
			}
			for _, was := range p.Scripts {
				if slices.ContainsFunc(scripts, func(s lock.Script) bool { return s.Name == was.Name && s.SHA256 != was.SHA256 }) {
					return holders
				}
			}
		}
	}
	return nil
}

// scriptHolders returns the trees with declared effects that hold a package,
// and those of them that do not accept its scripts.
func scriptHolders(def *config.Definition, in *lock.Inputs, p lock.Package) (holders, refused []string) {
	for _, name := range slices.Sorted(maps.Keys(in.Trees)) {
		t := def.Trees[name]
		if t.Effects != "declared" || !slices.ContainsFunc(in.Tree(name), func(q lock.Package) bool { return q.SHA256 == p.SHA256 }) {
			continue
		}
		holders = append(holders, name)
		if !slices.Contains(t.Accept, p.Name) {
			refused = append(refused, name)
		}
	}
	return holders, refused
}

// KeyFile reads a keyring below the definition's directory.
func (b *Builder) KeyFile(name string) ([]byte, error) {
	return os.ReadFile(filepath.Join(b.Dir, filepath.FromSlash(name)))
}
