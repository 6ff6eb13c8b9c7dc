package lock

import (
	"path"
	"strings"
)

// SourcePackage returns the source package of p and its version: what advisories
// name. Where the lock does not say it, it follows from the path, as archives
// have them (pool/main/o/openssl/libssl3t64_3.5.1-1_amd64.deb), and from the
// version without the end of a rebuild (1.2-3+b1).
func (p Package) SourcePackage() (name, version string) {
	if name, version, ok := strings.Cut(p.Origin, " "); ok {
		return name, version
	}
	return p.pathSource(), withoutRebuild(p.Version)
}

// SetOrigin takes what an archive's index says in Source, "NAME (VERSION)" or
// "NAME"; "" when it is the package itself.
func (p *Package) SetOrigin(source string) {
	name, rest, _ := strings.Cut(source, " ")
	version := strings.Trim(rest, " ()")
	if name == "" {
		name = p.Name
	}
	if version == "" {
		version = withoutRebuild(p.Version)
	}
	if !packageForm.MatchString(name) || !versionForm.MatchString(version) {
		return // an index that makes no sense here; nothing is built of this
	}
	if name != p.pathSource() || version != withoutRebuild(p.Version) {
		p.Origin = name + " " + version
	}
}

// pathSource is the directory that the archive file lies in, or the package's
// own name where archives have no pool.
func (p Package) pathSource() string {
	parts := strings.Split(p.Path, "/")
	if len(parts) >= 5 && parts[0] == "pool" && packageForm.MatchString(parts[len(parts)-2]) {
		return path.Base(path.Dir(p.Path))
	}
	return p.Name
}

// withoutRebuild takes "+bNUMBER" off the end of a version.
func withoutRebuild(v string) string {
	i := strings.LastIndex(v, "+b")
	if i > 0 && v[i+2:] != "" && strings.Trim(v[i+2:], "0123456789") == "" {
		return v[:i]
	}
	return v
}

// origin writes it on a package's line.
func origin(s string) string {
	if s == "" {
		return ""
	}
	return ", origin: " + scalar(s)
}
