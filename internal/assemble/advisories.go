package assemble

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/lock"
	"github.com/instar-os/instar/internal/source/dpkg"
	"github.com/instar-os/instar/internal/tree"
)

// Advisory lists the CVE numbers that a package's own changelog names in the
// entries newer than the version before.
type Advisory struct {
	Package string   `json:"package"`
	Version string   `json:"version"`
	Since   string   `json:"since"`
	CVEs    []string `json:"cves"`
}

// List writes the numbers with commas.
func (a Advisory) List() string { return strings.Join(a.CVEs, ", ") }

// maxChangelog is the largest decompressed changelog that is read, in bytes.
const maxChangelog = 8 << 20

var (
	cveNumber      = regexp.MustCompile(`CVE-\d{4}-\d{4,7}`)
	changelogEntry = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]* \(([^)\s]+)\) `)
)

// Advisories reads the changelogs of the upgraded packages.
func (b *Builder) Advisories(ctx context.Context, def *config.Definition, changes lock.Changes) ([]Advisory, error) {
	out := []Advisory{}
	var upgraded []lock.PackageChange
	var pkgs []lock.Package
	for _, arch := range changes.Arches {
		for _, c := range arch.Changed {
			if c.Old.Version != c.New.Version {
				upgraded, pkgs = append(upgraded, c), append(pkgs, c.New)
			}
		}
	}
	unpacked, err := b.unpack(ctx, def, pkgs)
	if err != nil {
		return nil, err
	}
	for _, u := range upgraded {
		text, err := b.changelog(unpacked[u.New.SHA256])
		if err != nil {
			return nil, err
		}
		if cves := cvesSince(text, u.Old.Version); len(cves) > 0 {
			out = append(out, Advisory{u.New.Name, u.New.Version, u.Old.Version, cves})
		}
	}
	slices.SortFunc(out, func(x, y Advisory) int { return strings.Compare(x.Package, y.Package) })
	return slices.CompactFunc(out, func(x, y Advisory) bool { return x.Package == y.Package && x.Version == y.Version }), nil
}

// changelog returns the package's Debian changelog, "" when it has none.
func (b *Builder) changelog(p *dpkg.Package) (string, error) {
	dir := path.Join("usr/share/doc", p.Control.Name)
	for _, name := range []string{"changelog.Debian.gz", "changelog.gz"} {
		e, ok := p.Tree.Stat(path.Join(dir, name))
		if !ok || e.Kind != tree.File || e.Size == 0 {
			continue
		}
		packed, err := b.Store.Bytes(e.Digest, maxChangelog)
		if err != nil {
			return "", err
		}
		r, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			return "", nil // not a changelog that can be read; there is nothing to report
		}
		text, err := io.ReadAll(io.LimitReader(r, maxChangelog))
		if err != nil {
			return "", nil
		}
		return string(text), nil
	}
	return "", nil
}

// cvesSince collects the numbers of all entries above the one of version since,
// which may be a binary rebuild ("1.2-3+b1" of "1.2-3").
func cvesSince(changelog, since string) []string {
	since, _, _ = strings.Cut(since, "+b")
	var out []string
	for line := range strings.Lines(changelog) {
		if m := changelogEntry.FindStringSubmatch(line); m != nil && m[1] == since {
			break
		}
		out = append(out, cveNumber.FindAllString(line, -1)...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
