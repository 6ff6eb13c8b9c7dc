package lock

import (
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Changes is the difference of two locks, as instar lock --update prints it.
type Changes struct {
	Suites   []SuiteChange
	Arches   []ArchChange    // architectures of the machine, then of tools
	Files    []FileChange    // downloads of tarball and file trees
	Images   []ImageChange   // of oci trees
	Closures []ClosureChange // of nix trees
	Numbers  []NumberChange  // users and groups
	Download int64           // bytes of all that the old lock does not have
}

// A SuiteChange is a suite that moved. Old or New is "" for one that is new or gone.
type SuiteChange struct {
	Source, Suite string
	Old, New      string // dates
}

// An ArchChange is what changed for one architecture.
type ArchChange struct {
	Arch     string // "amd64", or "tools amd64"
	Added    []Package
	Removed  []Package
	Changed  []PackageChange
	Scripts  []ScriptChange
	Download int64 // bytes of packages that the old lock's architecture does not have
}

// A PackageChange is a package in another version, or the same version with
// other content.
type PackageChange struct{ Old, New Package }

// A ScriptChange is an unexplained maintainer script that is new, gone, has
// other content, or is accepted differently.
type ScriptChange struct {
	Package string
	Script  string
	What    string // new, gone, changed, accepted, no longer accepted
}

// A FileChange is a download that is new, gone or has other content.
type FileChange struct {
	Tree, Arch string
	What       string // new, gone, changed
	Size       int64  // bytes to download
}

// A NumberChange is a user or group whose number is new, gone or another.
type NumberChange struct {
	Kind     string // user, group
	Name     string
	Old, New int64 // -1: none
}

// Empty reports whether nothing changed that a build would see.
func (c Changes) Empty() bool {
	return len(c.Suites) == 0 && len(c.Arches) == 0 && len(c.Files) == 0 && len(c.Images) == 0 && len(c.Closures) == 0 && len(c.Numbers) == 0
}

// Diff compares two locks. old may be nil: everything is new then.
func Diff(old, new *Lock) Changes {
	if old == nil {
		old = &Lock{}
	}
	c := Changes{Suites: suiteChanges(old.Suites, new.Suites)}
	c.arches("", old.Arches, new.Arches)
	c.arches("tools ", old.Tools, new.Tools)
	c.Files = fileChanges(old.Files, new.Files)
	c.Images = imageChanges(old.Images, new.Images)
	c.Closures = closureChanges(old.Nix, new.Nix)
	c.Numbers = append(numberChanges("user", old.Users.UIDs, new.Users.UIDs), numberChanges("group", old.Users.GIDs, new.Users.GIDs)...)
	c.Download = download(old, new)
	return c
}

// download sums the sizes of contents that old does not have, each once.
func download(old, new *Lock) int64 {
	have := map[string]bool{}
	sum := int64(0)
	take := func(l *Lock) {
		count := func(hash string, size int64) {
			if !have[hash] {
				have[hash] = true
				sum += size
			}
		}
		for _, all := range []map[string]*Inputs{l.Arches, l.Tools} {
			for _, in := range all {
				for _, p := range in.Packages {
					count(p.SHA256, p.Size)
				}
			}
		}
		for _, f := range l.Files {
			count(f.SHA256, f.Size)
		}
		for _, i := range l.Images {
			for _, b := range i.Blobs() {
				count(b.SHA256, b.Size)
			}
		}
		for _, c := range l.Nix {
			for _, p := range c.Paths {
				count(p.NarHash, p.NarSize)
			}
		}
	}
	take(old)
	sum = 0
	take(new)
	return sum
}

func suiteChanges(old, new []Suite) []SuiteChange {
	type key struct{ source, suite string }
	dates := map[key][2]string{}
	hash := map[key][2]string{}
	for side, all := range [][]Suite{old, new} {
		for _, s := range all {
			k := key{s.Source, s.Suite}
			d, h := dates[k], hash[k]
			d[side], h[side] = s.Date, s.InRelease
			dates[k], hash[k] = d, h
		}
	}
	var all []SuiteChange
	for k, d := range dates {
		if hash[k][0] != hash[k][1] {
			all = append(all, SuiteChange{k.source, k.suite, d[0], d[1]})
		}
	}
	slices.SortFunc(all, func(a, b SuiteChange) int {
		return strings.Compare(a.Source+"\x00"+a.Suite, b.Source+"\x00"+b.Suite)
	})
	return all
}

// arches appends what changed for each architecture that either lock has.
func (c *Changes) arches(prefix string, old, new map[string]*Inputs) {
	names := append(sorted(old), sorted(new)...)
	slices.Sort(names)
	for _, arch := range slices.Compact(names) {
		var before, after []Package
		if in := old[arch]; in != nil {
			before = in.Packages
		}
		if in := new[arch]; in != nil {
			after = in.Packages
		}
		a := archChange(before, after)
		if a.Arch = prefix + arch; len(a.Added)+len(a.Removed)+len(a.Changed)+len(a.Scripts) > 0 {
			c.Arches = append(c.Arches, a)
		}
	}
}

// archChange pairs the packages of two lists by name and architecture. Those
// that are the same are taken out first, so that of several versions of a name
// only the ones that differ are paired.
func archChange(old, new []Package) ArchChange {
	var a ArchChange
	same := map[string]Package{}
	for _, p := range old {
		same[p.String()+p.SHA256] = p
	}
	left := map[string][]Package{}
	for _, p := range slices.SortedFunc(slices.Values(new), compare) {
		if q, ok := same[p.String()+p.SHA256]; ok {
			delete(same, p.String()+p.SHA256)
			a.scripts(q, p)
			continue
		}
		left[p.Name+":"+p.Arch] = append(left[p.Name+":"+p.Arch], p)
	}
	for _, q := range slices.SortedFunc(maps.Values(same), compare) {
		key := q.Name + ":" + q.Arch
		if len(left[key]) == 0 {
			a.Removed = append(a.Removed, q)
			a.scripts(q, Package{Name: q.Name})
			continue
		}
		p := left[key][0]
		left[key] = left[key][1:]
		a.Changed = append(a.Changed, PackageChange{q, p})
		a.scripts(q, p)
	}
	for _, key := range sorted(left) {
		for _, p := range left[key] {
			a.Added = append(a.Added, p)
			a.scripts(Package{}, p)
		}
	}
	slices.SortFunc(a.Added, compare)
	slices.SortStableFunc(a.Scripts, func(x, y ScriptChange) int {
		return strings.Compare(x.Package+"\x00"+x.Script, y.Package+"\x00"+y.Script)
	})
	a.Download = newBytes(old, new)
	return a
}

// newBytes sums the sizes of contents that old does not have, each once.
func newBytes(old, new []Package) int64 {
	have := map[string]bool{}
	for _, p := range old {
		have[p.SHA256] = true
	}
	sum := int64(0)
	for _, p := range new {
		if !have[p.SHA256] {
			have[p.SHA256] = true
			sum += p.Size
		}
	}
	return sum
}

// scripts appends what changed in the unexplained scripts of a package.
func (a *ArchChange) scripts(old, new Package) {
	find := func(all []Script, name string) (Script, bool) {
		i := slices.IndexFunc(all, func(s Script) bool { return s.Name == name })
		if i < 0 {
			return Script{}, false
		}
		return all[i], true
	}
	for _, s := range new.Scripts {
		before, ok := find(old.Scripts, s.Name)
		what := ""
		switch {
		case !ok:
			what = "new"
		case before.SHA256 != s.SHA256 || !reflect.DeepEqual(before.Effects, s.Effects):
			what = "changed"
		case before.Accepted == "" && s.Accepted != "":
			what = "accepted"
		case before.Accepted != "" && s.Accepted == "":
			what = "no longer accepted"
		default:
			continue
		}
		a.Scripts = append(a.Scripts, ScriptChange{new.Name, s.Name, what})
	}
	for _, s := range old.Scripts {
		if _, ok := find(new.Scripts, s.Name); !ok {
			a.Scripts = append(a.Scripts, ScriptChange{new.Name, s.Name, "gone"})
		}
	}
}

func fileChanges(old, new []File) []FileChange {
	key := func(f File) string { return f.Tree + "\x00" + f.Arch }
	before, after := map[string]File{}, map[string]File{}
	for _, f := range old {
		before[key(f)] = f
	}
	for _, f := range new {
		after[key(f)] = f
	}
	var all []FileChange
	for _, k := range sorted(after) {
		f := after[k]
		if b, ok := before[k]; !ok {
			all = append(all, FileChange{f.Tree, f.Arch, "new", f.Size})
		} else if b.SHA256 != f.SHA256 {
			all = append(all, FileChange{f.Tree, f.Arch, "changed", f.Size})
		}
	}
	for _, k := range sorted(before) {
		if _, ok := after[k]; !ok {
			all = append(all, FileChange{before[k].Tree, before[k].Arch, "gone", 0})
		}
	}
	return all
}

func numberChanges(kind string, old, new map[string]uint32) []NumberChange {
	names := append(sorted(old), sorted(new)...)
	slices.Sort(names)
	number := func(m map[string]uint32, name string) int64 {
		if n, ok := m[name]; ok {
			return int64(n)
		}
		return -1
	}
	var all []NumberChange
	for _, name := range slices.Compact(names) {
		if a, b := number(old, name), number(new, name); a != b {
			all = append(all, NumberChange{kind, name, a, b})
		}
	}
	return all
}
