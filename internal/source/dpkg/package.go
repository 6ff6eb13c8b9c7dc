// Package dpkg turns Debian binary packages into trees: it unpacks archives,
// remembers what they held, and merges them into one tree as dpkg would leave it
// on disk. Maintainer scripts are never run; subpackage effects declares what
// they do.
package dpkg

import (
	"fmt"
	"strings"

	"github.com/instar-os/instar/internal/source/untar"
	"github.com/instar-os/instar/internal/tree"
)

// Objects is the part of a store that unpacking needs.
type Objects = untar.Objects

// Package is one unpacked binary package.
type Package struct {
	Control Control
	Scripts map[string]string // preinst, postinst, triggers, conffiles: those that exist
	Tree    *tree.Tree        // the content of data.tar; paths as the archive has them
}

// String returns "name version arch", the Owner of the package's entries.
func (p *Package) String() string { return p.Control.String() }

// Conffiles returns the paths, in a tree's form, of the package's configuration files.
func (p *Package) Conffiles() []string {
	var all []string
	for line := range strings.SplitSeq(p.Scripts["conffiles"], "\n") {
		line = strings.TrimSpace(strings.TrimPrefix(line, "remove-on-upgrade "))
		if c, err := tree.Clean(line); err == nil && line != "" {
			all = append(all, c)
		}
	}
	return all
}

// Control holds the fields of a control file that matter after the choice of
// packages.
type Control struct {
	Name, Version, Arch string
	Source              string // of the source package; Name when the field is absent
	MultiArch           string
	Essential           bool
	Replaces, Breaks    []Relation
	Provides            []string // names
}

// String returns "name version arch".
func (c Control) String() string { return c.Name + " " + c.Version + " " + c.Arch }

// Relation is "name", or "name (op version)".
type Relation struct {
	Name, Op, Version string
}

// scriptNames are the control members that are kept.
var scriptNames = map[string]bool{"preinst": true, "postinst": true, "triggers": true, "conffiles": true}

// ParseControl reads the first paragraph of a control file.
func ParseControl(b []byte) (Control, error) {
	fields, err := paragraph(string(b))
	if err != nil {
		return Control{}, err
	}
	c := Control{
		Name: fields["package"], Version: fields["version"], Arch: fields["architecture"],
		MultiArch: fields["multi-arch"], Essential: fields["essential"] == "yes",
		Replaces: relations(fields["replaces"]), Breaks: relations(fields["breaks"]),
	}
	c.Source, _, _ = strings.Cut(fields["source"], " ")
	if c.Source == "" {
		c.Source = c.Name
	}
	for _, r := range relations(fields["provides"]) {
		c.Provides = append(c.Provides, r.Name)
	}
	for name, v := range map[string]string{"Package": c.Name, "Version": c.Version, "Architecture": c.Arch} {
		if v == "" || strings.ContainsAny(v, " \t/\x00") {
			return Control{}, fmt.Errorf("control: field %s is %q", name, v)
		}
	}
	return c, nil
}

// paragraph returns the fields of the first paragraph by lower-case name;
// continuation lines are joined by line feeds.
func paragraph(s string) (map[string]string, error) {
	fields := map[string]string{}
	last := ""
	for line := range strings.SplitSeq(s, "\n") {
		switch {
		case strings.TrimSpace(line) == "":
			if len(fields) > 0 {
				return fields, nil
			}
		case line[0] == '#':
		case line[0] == ' ' || line[0] == '\t':
			if last == "" {
				return nil, fmt.Errorf("control: %.40q continues no field", line)
			}
			fields[last] += "\n" + strings.TrimSpace(line)
		default:
			name, v, ok := strings.Cut(line, ":")
			last = strings.ToLower(name)
			if _, dup := fields[last]; !ok || dup {
				return nil, fmt.Errorf("control: %.40q is no field, or one comes twice", line)
			}
			fields[last] = strings.TrimSpace(v)
		}
	}
	return fields, nil
}

// relations reads "a (>> 1), b:any | c [amd64]". Alternatives and restrictions,
// which Replaces and Breaks do not have, count as further relations.
func relations(s string) []Relation {
	var all []Relation
	for item := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == ',' || r == '|' }) {
		head, cond, _ := strings.Cut(item, "(")
		words := strings.Fields(head)
		if len(words) == 0 {
			continue
		}
		name, _, _ := strings.Cut(words[0], ":")
		cond, _, _ = strings.Cut(cond, ")")
		version := strings.TrimLeft(cond, "<>= ")
		op := strings.TrimSpace(cond[:len(cond)-len(version)])
		all = append(all, Relation{name, op, strings.TrimSpace(version)})
	}
	return all
}
