package lock

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"
)

// maxSize is the largest lock file in bytes: 40 000 packages.
const maxSize = 16 << 20

// Parse reads a lock file. It refuses unknown keys, another version, malformed
// digests, paths that leave the archive, what stands twice, and trees whose
// packages are not pinned. It returns the first error.
func Parse(text []byte) (*Lock, error) {
	if len(text) > maxSize {
		return nil, fmt.Errorf("lock file: larger than %d MiB", maxSize>>20)
	}
	var l Lock
	limits := loaderlimits.New(loaderlimits.AliasFunc(noAliases), loaderlimits.DepthValue(16))
	if err := yaml.Load(text, &l, yaml.WithKnownFields(), yaml.WithPlugin(limits)); err != nil {
		return nil, fmt.Errorf("lock file: %w", err)
	}
	if err := l.check(); err != nil {
		return nil, fmt.Errorf("lock file: %w", err)
	}
	return &l, nil
}

// noAliases refuses aliases, which a lock has no use for.
func noAliases(aliases, _ int) error {
	if aliases > 0 {
		return errors.New("a lock has no aliases")
	}
	return nil
}

// The forms of what a lock holds. Package names and versions are those of
// Debian policy 5.6.1 and 5.6.12.
var (
	hashForm        = regexp.MustCompile(`^[0-9a-f]{64}$`)
	fingerprintForm = regexp.MustCompile(`^([0-9A-Fa-f]{40}|[0-9A-Fa-f]{64})$`)
	nameForm        = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)
	packageForm     = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]*$`)
	versionForm     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.+:~-]*$`)
	archForm        = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`)
	suiteForm       = regexp.MustCompile(`^[a-z0-9][A-Za-z0-9._/-]*$`)
	scriptForm      = regexp.MustCompile(`^[a-z][a-z0-9.-]*$`)
	userForm        = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*\$?$`)
)

// want reports text that does not have its form.
func want(form *regexp.Regexp, what, s string) error {
	if !form.MatchString(s) {
		return fmt.Errorf("%s: %q is malformed", what, s)
	}
	return nil
}

// first returns the first error that is one.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *Lock) check() error {
	if l.Version != Version {
		return fmt.Errorf("version %d is not known, only %d", l.Version, Version)
	}
	if l.Epoch < 0 {
		return fmt.Errorf("epoch: %d is before 1970", l.Epoch)
	}
	if err := first(want(nameForm, "machine", l.Machine), want(hashForm, "request", l.Request), l.checkSuites()); err != nil {
		return err
	}
	for _, arch := range sorted(l.Arches) {
		if err := first(want(archForm, "arches", arch), l.Arches[arch].check("arches."+arch)); err != nil {
			return err
		}
	}
	for _, arch := range sorted(l.Tools) {
		if err := first(want(archForm, "tools", arch), l.Tools[arch].check("tools."+arch)); err != nil {
			return err
		}
	}
	return first(checkNumbers("users.uids", l.Users.UIDs), checkNumbers("users.gids", l.Users.GIDs), l.checkFiles(), l.checkImages(), l.checkClosures())
}

func (l *Lock) checkSuites() error {
	seen := map[string]bool{}
	for _, s := range l.Suites {
		what := "suite " + s.Source + "/" + s.Suite
		if seen[what] {
			return fmt.Errorf("%s: stands twice", what)
		}
		seen[what] = true
		date, err := time.Parse(time.RFC3339, s.Date)
		if err != nil || date.UTC().Format(time.RFC3339) != s.Date {
			return fmt.Errorf("%s: date %q is not RFC 3339 in UTC", what, s.Date)
		}
		err = first(want(nameForm, what+": source", s.Source), want(suiteForm, what+": suite", s.Suite),
			want(hashForm, what+": inrelease", s.InRelease), want(fingerprintForm, what+": signedBy", s.SignedBy))
		if err != nil {
			return err
		}
	}
	return nil
}

func (in *Inputs) check(what string) error {
	if in == nil {
		return fmt.Errorf("%s: has no value", what)
	}
	if err := checkPackages(what, in.Packages); err != nil {
		return err
	}
	find := in.finder()
	if err := first(find.all(what+".kernel", in.Kernel), find.all(what+".boot", in.Boot)); err != nil {
		return err
	}
	for _, tree := range sorted(in.Trees) {
		at := what + ".trees." + tree
		if err := first(want(nameForm, what+".trees", tree), find.all(at, in.Trees[tree])); err != nil {
			return err
		}
	}
	return nil
}

func checkPackages(what string, packages []Package) error {
	seen := map[string]bool{}
	for i := range packages {
		p := &packages[i]
		if err := p.check(); err != nil {
			return fmt.Errorf("%s: package %s: %w", what, p.Name, err)
		}
		if seen[p.String()] {
			return fmt.Errorf("%s: package %s: stands twice", what, p)
		}
		seen[p.String()] = true
	}
	return nil
}

func (p *Package) check() error {
	if p.Size <= 0 {
		return fmt.Errorf("size: %d is no size", p.Size)
	}
	err := first(want(packageForm, "name", p.Name), want(versionForm, "version", p.Version), want(archForm, "arch", p.Arch),
		want(nameForm, "source", p.Source), want(hashForm, "sha256", p.SHA256), checkPath(p.Path))
	if err != nil {
		return err
	}
	if p.Origin != "" {
		name, version, _ := strings.Cut(p.Origin, " ")
		if err := first(want(packageForm, "origin", name), want(versionForm, "origin: version", version)); err != nil {
			return err
		}
	}
	seen := map[string]bool{}
	for _, s := range p.Scripts {
		if err := first(want(scriptForm, "script", s.Name), want(hashForm, "script "+s.Name+": sha256", s.SHA256)); err != nil {
			return err
		}
		if seen[s.Name] {
			return fmt.Errorf("script %s: stands twice", s.Name)
		}
		seen[s.Name] = true
	}
	return nil
}

// checkPath refuses a path that does not stay below the archive's address.
func checkPath(p string) error {
	if p == "" || path.IsAbs(p) || path.Clean(p) != p || p == ".." || strings.HasPrefix(p, "../") || strings.ContainsAny(p, "\\?#\x00\n") {
		return fmt.Errorf("path: %q is no path within an archive", p)
	}
	return nil
}

// checkNumbers refuses a number that two names have, and 2^32-1, which stands
// for none (chown(2)).
func checkNumbers(what string, numbers map[string]uint32) error {
	names := map[uint32]string{}
	for _, name := range sorted(numbers) {
		n := numbers[name]
		if err := want(userForm, what, name); err != nil {
			return err
		}
		if n == math.MaxUint32 {
			return fmt.Errorf("%s.%s: %d is no number", what, name, n)
		}
		if other, ok := names[n]; ok {
			return fmt.Errorf("%s: %s and %s are both %d", what, other, name, n)
		}
		names[n] = name
	}
	return nil
}

func (l *Lock) checkFiles() error {
	seen := map[[2]string]bool{}
	for _, f := range l.Files {
		what := "file of tree " + f.Tree
		u, err := url.Parse(f.URL)
		if err != nil || u.Host == "" || !slices.Contains([]string{"http", "https"}, u.Scheme) {
			return fmt.Errorf("%s: url %q is malformed", what, f.URL)
		}
		if f.Size < 0 {
			return fmt.Errorf("%s: size: %d is no size", what, f.Size)
		}
		if f.Arch != "" {
			err = want(archForm, what+": arch", f.Arch)
		}
		if err := first(err, want(nameForm, what, f.Tree), want(hashForm, what+": sha256", f.SHA256)); err != nil {
			return err
		}
		if seen[[2]string{f.Tree, f.Arch}] {
			return fmt.Errorf("%s: stands twice", what)
		}
		seen[[2]string{f.Tree, f.Arch}] = true
	}
	return nil
}
