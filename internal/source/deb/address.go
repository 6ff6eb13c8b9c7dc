// Package deb reads Debian archives: it verifies their signatures, fetches
// their indices and solves which packages a request needs.
package deb

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/source/deb/control"
)

// The addresses that hold when neither an override nor the build host's apt
// says otherwise: Debian's own names.
const (
	defaultArchive  = "http://ftp.debian.org/debian"
	defaultSecurity = "http://security.debian.org/debian-security"
)

// HostConfig is where the build host takes Debian from. The zero value means
// Debian's own addresses.
type HostConfig struct {
	Archive  string // overrides the address of "debian"; "" is no override
	Security string // overrides that of "debian-security"; "": the sibling of Archive when that is set
	Apt      fs.FS  // the host's /etc/apt; nil for none
}

// Address returns the address of an archive without a slash at its end.
// "debian" and "debian-security" stand for the build host's usual one: the
// override, what apt is configured with, or Debian's own; anything else is a
// URL already.
func Address(archive string, host HostConfig) (string, error) {
	switch archive {
	case "debian":
		return choose(host.Archive, host.Apt, "/debian", defaultArchive)
	case "debian-security":
		override := host.Security
		if base, ok := strings.CutSuffix(strings.TrimRight(host.Archive, "/"), "/debian"); ok && override == "" {
			override = base + "/debian-security"
		}
		return choose(override, host.Apt, "/debian-security", defaultSecurity)
	}
	return checkURL(archive)
}

func choose(override string, apt fs.FS, suffix, fallback string) (string, error) {
	if override != "" {
		return checkURL(override)
	}
	if apt == nil {
		return fallback, nil
	}
	uris, err := aptURIs(apt)
	if err != nil {
		return "", fmt.Errorf("reading the build host's apt configuration: %w", err)
	}
	for _, u := range uris {
		if got, err := checkURL(u); err == nil && strings.HasSuffix(got, suffix) {
			return got, nil
		}
	}
	return fallback, nil
}

func checkURL(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return "", fmt.Errorf("archive %q: it is neither debian, debian-security nor an http or https URL", s)
	}
	return strings.TrimRight(s, "/"), nil
}

// maxAptFile bounds one file of apt's configuration in bytes.
const maxAptFile = 1 << 20

// aptURIs returns the addresses of binary packages in apt's order: sources.list,
// then the files of sources.list.d by name (sources.list(5)). A file that
// cannot be understood is passed over, since apt is not what is configured here.
func aptURIs(apt fs.FS) ([]string, error) {
	names, err := fs.Glob(apt, "sources.list.d/*")
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var out []string
	for _, name := range append([]string{"sources.list"}, names...) {
		ext := path.Ext(name)
		if ext != ".list" && ext != ".sources" {
			continue
		}
		f, err := apt.Open(name)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			continue
		}
		if err != nil {
			return nil, err
		}
		text := io.LimitReader(f, maxAptFile)
		if ext == ".list" {
			out = append(out, listURIs(text)...)
		} else {
			out = append(out, deb822URIs(text)...)
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// listURIs reads lines "deb [options] URI suite component…".
func listURIs(r io.Reader) (out []string) {
	s := bufio.NewScanner(r)
	for s.Scan() {
		line, _, _ := strings.Cut(s.Text(), "#")
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "deb ")
		if rest = strings.TrimSpace(rest); !ok || rest == "" {
			continue
		}
		if rest[0] == '[' {
			_, rest, _ = strings.Cut(rest, "]")
		}
		if f := strings.Fields(rest); len(f) >= 2 {
			out = append(out, f[0])
		}
	}
	return out
}

func deb822URIs(r io.Reader) (out []string) {
	for cr := control.NewReader(r); ; {
		p, err := cr.Next()
		if err != nil {
			return out
		}
		if slices.Contains(strings.Fields(p.Get("Types")), "deb") && !strings.EqualFold(p.Get("Enabled"), "no") {
			out = append(out, strings.Fields(p.Get("URIs"))...)
		}
	}
}
