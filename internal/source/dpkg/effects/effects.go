// Package effects declares what the maintainer scripts of Debian packages do to
// a tree, without running them. Scripts are followed as a fresh installation
// would run them; each command is claimed by a rule, which does its effect to
// the tree in Go, or shows up in Explain. What packages declare in sysusers.d,
// tmpfiles.d, [Install] sections and the like is done for the whole tree.
package effects

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/lock"
	"github.com/instar-os/instar/internal/source/dpkg"
	"github.com/instar-os/instar/internal/tree"
)

// Options of Apply. The zero value does everything.
type Options struct {
	Arch      string // Debian's name; default: that of the packages
	Epoch     int64  // time of what is made, in seconds since 1970; from the lock
	NoLdCache bool   // leave ld.so.cache out: programs then search directories
}

// Report says what Apply did.
type Report struct {
	Done     []string // for people, in order
	Runtime  []string // lines of tmpfiles.d for directories made anew at each start
	Warnings []string // effects that could not be had, and why
}

func (r *Report) done(format string, args ...any) {
	r.Done = append(r.Done, fmt.Sprintf(format, args...))
}

// Explain returns the scripts of a package with commands that no rule explains,
// each bound to its content. Nil means that every effect is known.
func Explain(p *dpkg.Package) []lock.Script {
	var all []lock.Script
	for _, name := range []string{"preinst", "postinst"} {
		text, ok := p.Scripts[name]
		if !ok {
			continue
		}
		if m := follow(p, name, nil, &wants{}); len(m.open) > 0 {
			sum := sha256.Sum256([]byte(text))
			all = append(all, lock.Script{Name: name, SHA256: hex.EncodeToString(sum[:]), Effects: m.open})
		}
	}
	return all
}

// collect gathers what all packages ask for, in the order of their names.
func collect(objects Objects, pkgs []*dpkg.Package) (*wants, error) {
	w := &wants{}
	for _, p := range ordered(pkgs) {
		for name, e := range p.Tree.All() {
			if !strings.HasSuffix(name, ".conf") || !strings.Contains("/"+name, "lib/sysusers.d/") || e.Kind != tree.File || e.Size == 0 {
				continue
			}
			text, err := objects.Bytes(e.Digest, maxFile)
			if err != nil {
				return nil, fmt.Errorf("package %s: %s: %w", p, name, err)
			}
			if err := parseSysusers(string(text), p.String(), w); err != nil {
				return nil, fmt.Errorf("package %s: %w", p, err)
			}
		}
		for _, s := range []string{"preinst", "postinst"} {
			if p.Scripts[s] != "" {
				follow(p, s, nil, w)
			}
		}
	}
	return w, nil
}

// ordered puts base-files and base-passwd first, on which all others build.
func ordered(pkgs []*dpkg.Package) []*dpkg.Package {
	rank := func(p *dpkg.Package) string {
		if n := p.Control.Name; n == "base-files" || n == "base-passwd" {
			return "\x00" + p.String()
		}
		return p.String()
	}
	sorted := slices.Clone(pkgs)
	slices.SortFunc(sorted, func(a, b *dpkg.Package) int { return strings.Compare(rank(a), rank(b)) })
	return sorted
}

// Users returns have with a number for each user and group that the packages
// create: those that have a number keep it, new ones take the first free one
// from 100 to 999 in the order of names.
func Users(objects Objects, pkgs []*dpkg.Package, have lock.Users) (lock.Users, error) {
	w, err := collect(objects, pkgs)
	if err != nil {
		return have, err
	}
	return allocate(w.accounts, baseAccounts(packageReader(objects, pkgs)), have)
}

// packageReader reads files of packages that are not merged yet.
func packageReader(objects Objects, pkgs []*dpkg.Package) func(p string) ([]byte, error) {
	return func(name string) ([]byte, error) {
		for _, p := range pkgs {
			if e, ok := p.Tree.Inode(name); ok && e.Kind == tree.File {
				return objects.Bytes(e.Digest, maxFile)
			}
		}
		return nil, fmt.Errorf("%s is in no package", name)
	}
}

// Apply does the effects of the packages to their merged tree t, which is
// unspecified after an error. The numbers of accounts come from users. The same
// packages and numbers give the same tree, whatever the order of pkgs.
func Apply(ctx context.Context, objects Objects, t *tree.Tree, pkgs []*dpkg.Package, users *lock.Users, opts Options) (Report, error) {
	var report Report
	want, err := collect(objects, pkgs)
	if err != nil {
		return report, err
	}
	w := &world{tree: t, objects: objects, epoch: opts.Epoch, report: &report}
	w.accounts = baseAccounts(w.read)
	arch := opts.Arch
	if arch == "" {
		arch = archOf(pkgs)
	}
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"accounts", func() error { return w.makeAccounts(want, *users) }},
		{"scripts", func() error { return w.follow(ctx, pkgs) }},
		{"defaults", func() error { return copyDefaults(w) }},
		{"time zone", func() error { return localtime(w) }},
		{"PAM", func() error { return pamCommon(w) }},
		{"shells", func() error { return shells(w) }},
		{"alternatives", func() error { return applyAlternatives(w, want.alternatives) }},
		{"units", func() error { return enableUnits(w, want.units) }},
		{"tmpfiles", func() error { return applyTmpfiles(w) }},
		{"machine-id", func() error { return machineID(w) }},
		{"certificates", func() error { return certificates(w) }},
		{"ld.so.cache", func() error {
			if opts.NoLdCache {
				return nil
			}
			return ldCache(w, arch)
		}},
	} {
		if err := ctx.Err(); err != nil {
			return report, err
		}
		if err := step.do(); err != nil {
			return report, fmt.Errorf("cannot apply effects of packages: %s: %w", step.name, err)
		}
	}
	noSecrets(w)
	return report, t.Check()
}

// archOf is the architecture of the packages that have one.
func archOf(pkgs []*dpkg.Package) string {
	for _, p := range ordered(pkgs) {
		if p.Control.Arch != "all" {
			return p.Control.Arch
		}
	}
	return ""
}

// makeAccounts writes the account files where anything needs them.
func (w *world) makeAccounts(want *wants, users lock.Users) error {
	if !w.has(passwdMaster) && len(want.accounts) == 0 {
		return nil
	}
	if err := w.accounts.create(want, users); err != nil {
		return err
	}
	w.owner = "accounts"
	if err := w.accounts.write(w); err != nil {
		return err
	}
	w.report.done("%d users and %d groups", len(w.accounts.users), len(w.accounts.groups))
	return w.accounts.homes(w, want.accounts)
}

// follow does what the scripts of all packages do to files: preinst before
// postinst, packages in the order of their names.
func (w *world) follow(ctx context.Context, pkgs []*dpkg.Package) error {
	for _, script := range []string{"preinst", "postinst"} {
		for _, p := range ordered(pkgs) {
			if err := ctx.Err(); err != nil {
				return err
			}
			if p.Scripts[script] == "" {
				continue
			}
			if m := follow(p, script, w, nil); m.failed != nil {
				return fmt.Errorf("package %s: %s: %w", p, script, m.failed)
			}
		}
	}
	return nil
}

// sonames remembers what libraries call themselves.
type sonames = map[digest.Digest]soname
