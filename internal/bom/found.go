package bom

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/instar-os/instar/internal/bom/licence"
	"github.com/instar-os/instar/internal/source/deb/control"
	"github.com/instar-os/instar/internal/tree"
)

// Bounds of what is read of a tree.
const (
	maxStatus = 64 << 20 // bytes of a package manager's list
	maxFound  = 50_000   // packages
	maxLine   = 1 << 20  // bytes of a line of apk's list
)

// A Reader returns the content of a file of a tree, up to limit bytes.
type Reader func(e tree.Entry, limit int64) ([]byte, error)

// Where package managers keep their lists.
const (
	dpkgStatus = "var/lib/dpkg/status"
	dpkgParts  = "var/lib/dpkg/status.d" // of images that were made without dpkg
	apkList    = "lib/apk/db/installed"
)

// Found lists the packages that a tree's package manager knows: of dpkg and of
// apk. known is false when the tree has no list that can be read.
func Found(t *tree.Tree, read Reader) (all []Component, known bool, err error) {
	distro, release := osRelease(t, read)
	if text, ok, err := content(t, read, dpkgStatus); err != nil {
		return nil, false, err
	} else if ok {
		known = true
		if all, err = ParseStatus(text); err != nil {
			return nil, false, fmt.Errorf("/%s: %w", dpkgStatus, err)
		}
	}
	if e, ok := t.Get(dpkgParts); ok && e.Kind == tree.Dir {
		known = true
		for _, name := range t.Children(dpkgParts) {
			if strings.Contains(name, ".") && path.Ext(name) == ".md5sums" {
				continue
			}
			text, ok, err := content(t, read, path.Join(dpkgParts, name))
			if err != nil || !ok {
				return nil, false, err
			}
			more, err := ParseStatus(text)
			if err != nil {
				return nil, false, fmt.Errorf("/%s/%s: %w", dpkgParts, name, err)
			}
			all = append(all, more...)
		}
	}
	for i := range all {
		c := &all[i]
		c.Release = release
		c.PURL = DebPURL(distro, c)
		if err := c.licenceIn(t, read); err != nil {
			return nil, false, err
		}
	}
	text, ok, err := content(t, read, apkList)
	if err != nil || !ok {
		return all, known, err
	}
	more, err := ParseInstalled(text)
	if err != nil {
		return nil, false, fmt.Errorf("/%s: %w", apkList, err)
	}
	for i := range more {
		more[i].PURL = PURL("apk", distro, more[i].Name, more[i].Version, map[string]string{"arch": more[i].Arch})
	}
	return append(all, more...), true, nil
}

func content(t *tree.Tree, read Reader, p string) ([]byte, bool, error) {
	e, ok := t.Stat(p)
	if !ok || e.Kind != tree.File {
		return nil, false, nil
	}
	if e.Size == 0 {
		return nil, true, nil
	}
	b, err := read(e, maxStatus)
	return b, err == nil, err
}

// licenceIn reads the licence of a package from its documentation in the tree.
func (c *Component) licenceIn(t *tree.Tree, read Reader) error {
	e, ok := t.Stat(path.Join("usr/share/doc", c.Name, "copyright"))
	if !ok || e.Kind != tree.File || e.Size == 0 || e.Size > licence.MaxSize {
		return nil
	}
	b, err := read(e, licence.MaxSize)
	if err != nil {
		return err
	}
	c.Licence = licence.Parse(b)
	return nil
}

// osRelease tells the distribution and the codename of its release. What the
// tree does not say is "linux" and "".
func osRelease(t *tree.Tree, read Reader) (distro, release string) {
	distro = "linux"
	for _, p := range []string{"etc/os-release", "usr/lib/os-release"} {
		text, ok, err := content(t, read, p)
		if err != nil || !ok || len(text) > maxLine {
			continue
		}
		for line := range strings.Lines(string(text)) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			value = strings.Trim(value, `"'`)
			switch {
			case key == "ID" && control.IsName(value):
				distro = value
			case key == "VERSION_CODENAME" && control.IsName(value):
				release = value
			}
		}
		return distro, release
	}
	return distro, release
}

// ParseStatus reads dpkg's list of packages; those that are not installed are
// left out.
func ParseStatus(text []byte) ([]Component, error) {
	var all []Component
	for r := control.NewReader(bytes.NewReader(text)); ; {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		if s := p.Get("Status"); s != "" && !strings.HasSuffix(s, " installed") {
			continue
		}
		c, err := DebComponent(p)
		if err != nil {
			return nil, err
		}
		if all = append(all, c); len(all) > maxFound {
			return nil, fmt.Errorf("more than %d packages", maxFound)
		}
	}
}

// DebComponent reads what a paragraph of control says of its package.
func DebComponent(p control.Paragraph) (Component, error) {
	c := Component{Kind: Deb, Name: p.Get("Package"), Version: p.Get("Version"), Arch: p.Get("Architecture"),
		Supplier: oneLine(p.Get("Maintainer")), Homepage: oneLine(p.Get("Homepage"))}
	if !control.IsName(c.Name) || control.CheckVersion(c.Version) != nil {
		return c, fmt.Errorf("%.80q %.80q is no package", c.Name, c.Version)
	}
	c.Source, c.SourceVersion = c.Name, withoutRebuild(c.Version)
	name, rest, _ := strings.Cut(p.Get("Source"), " ")
	if control.IsName(name) {
		c.Source = name
	}
	if v := strings.Trim(rest, " ()"); v != "" && control.CheckVersion(v) == nil {
		c.SourceVersion = v
	}
	return c, nil
}

// withoutRebuild takes the end of a rebuild without changes off a version: the
// source of 1.2-3+b1 is 1.2-3.
func withoutRebuild(v string) string {
	if i := strings.LastIndex(v, "+b"); i > 0 && strings.Trim(v[i+2:], "0123456789") == "" && v[i+2:] != "" {
		return v[:i]
	}
	return v
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// ParseInstalled reads apk's list of packages.
//
// Source: Alpine's wiki, "Apk spec", installed database v2.
func ParseInstalled(text []byte) ([]Component, error) {
	var all []Component
	var c Component
	end := func() error {
		if c.Name == "" && c.Version == "" {
			return nil
		}
		if c.Name == "" || c.Version == "" || len(all) == maxFound {
			return fmt.Errorf("%.80q %.80q is no package, or one of more than %d", c.Name, c.Version, maxFound)
		}
		c.Kind = Apk
		if c.Source == "" {
			c.Source = c.Name
		}
		c.SourceVersion = c.Version
		all = append(all, c)
		c = Component{}
		return nil
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		key, value, ok := strings.Cut(lines.Text(), ":")
		switch {
		case lines.Text() == "":
			if err := end(); err != nil {
				return nil, err
			}
		case !ok:
			return nil, fmt.Errorf("%.80q is no field", lines.Text())
		case key == "P":
			c.Name = value
		case key == "V":
			c.Version = value
		case key == "A":
			c.Arch = value
		case key == "o":
			c.Source = value
		case key == "m":
			c.Supplier = value
		case key == "U":
			c.Homepage = value
		case key == "L":
			c.Licence = licence.Declared(value)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	return all, end()
}
