// Package advisory reads what is known of vulnerabilities out of files that were
// brought here before: the Debian security tracker's JSON, or OSV's records.
// Nothing is asked of the network.
//
// Sources: the tracker's /tracker/data/json; Open Source Vulnerability format 1.7.
package advisory

import (
	"slices"
	"strings"
	"time"

	"github.com/instar-os/instar/internal/bom"
	"github.com/instar-os/instar/internal/source/deb/control"
)

// Issue is one vulnerability of one source package in one release.
type Issue struct {
	ID       string // CVE-…, DSA-…, TEMP-…
	Package  string // source package
	Release  string // codename; "" for all
	Ranges   []Range
	Versions []string // that are affected beside the ranges
	Unclear  bool     // nobody has determined yet whether it is affected
	Urgency  string   // as the data calls it; "" when it says nothing
	Note     string   // why no advisory came, and the like
}

// Range are affected versions.
type Range struct {
	From    string // first affected; "" or "0" for all before
	Fixed   string // first one that is not; "" when there is none yet
	Through string // last affected; "" when not said
}

// Affects tells whether a version of the source package is affected.
func (i *Issue) Affects(version string) bool {
	if slices.Contains(i.Versions, version) {
		return true
	}
	for _, r := range i.Ranges {
		if r.holds(version) {
			return true
		}
	}
	return false
}

func (r Range) holds(v string) bool {
	switch {
	case r.From != "" && r.From != "0" && control.Compare(v, r.From) < 0:
		return false
	case r.Fixed != "":
		return control.Compare(v, r.Fixed) < 0
	case r.Through != "":
		return control.Compare(v, r.Through) <= 0
	}
	return true
}

// fixed is the first version after v that is not affected, "" for none.
func (i *Issue) fixed(v string) string {
	for _, r := range i.Ranges {
		if r.holds(v) && r.Fixed != "" {
			return r.Fixed
		}
	}
	return ""
}

// Data is what a file says of the packages that were asked for.
type Data struct {
	Form   string // tracker or osv
	Issues map[string][]Issue
}

// Status says what is to be thought of a finding.
type Status string

// The statuses. Only Open ones count.
const (
	Open        Status = "open"
	Unimportant Status = "unimportant" // Debian says that it does no harm
	Unclear     Status = "unclear"
	Ignored     Status = "ignored" // by the ignore file
)

// Finding is a vulnerability that a package has.
type Finding struct {
	ID       string   `json:"id"`
	Source   string   `json:"source"` // package
	Version  string   `json:"version"`
	Release  string   `json:"release"`
	Status   Status   `json:"status"`
	Fixed    string   `json:"fixed,omitempty"` // version of the source package
	Urgency  string   `json:"urgency,omitempty"`
	Note     string   `json:"note,omitempty"`
	Packages []string `json:"packages"` // binary packages of the source
	In       []string `json:"in"`       // trees and containers
	Reason   string   `json:"reason,omitempty"`
	Until    string   `json:"until,omitempty"` // of the ignore file; past: it counts again
}

// Report is what the data says of packages.
type Report struct {
	Form     string    `json:"form"`
	Checked  int       `json:"checked"`           // packages
	Findings []Finding `json:"findings"`          // by source package and ID
	Left     []string  `json:"left,omitempty"`    // kinds of packages that the data does not speak of, with their number
	Unused   []string  `json:"unused,omitempty"`  // lines of the ignore file that nothing needs
	Expired  []string  `json:"expired,omitempty"` // those whose date is past
}

// Open counts findings that are open.
func (r *Report) Open() (n int) {
	for _, f := range r.Findings {
		if f.Status == Open {
			n++
		}
	}
	return n
}

// Origin is the source package and version that advisories name: packages that
// were signed are built from sources of their own, of which nobody speaks.
func Origin(s bom.Subject) (name, version string) {
	switch {
	case strings.HasPrefix(s.Source, "linux-signed-"): // 6.12.107+1 signs 6.12.107-1
		return "linux", strings.Replace(s.SourceVersion, "+", "-", 1)
	case strings.HasPrefix(s.Source, "grub-efi-") && strings.HasSuffix(s.Source, "-signed"): // 1+2.12-9 signs 2.12-9
		_, version, ok := strings.Cut(s.SourceVersion, "+")
		if ok {
			return "grub2", version
		}
	}
	return s.Source, s.SourceVersion
}

// Names are the source packages of the subjects that advisories speak of.
func Names(all []bom.Subject) map[string]bool {
	names := map[string]bool{}
	for _, s := range all {
		if s.Kind == bom.Deb {
			name, _ := Origin(s)
			names[name] = true
		}
	}
	return names
}

// Check compares packages with the data. today decides what is ignored.
func Check(all []bom.Subject, d *Data, ignores []Ignore, today time.Time) *Report {
	r := &Report{Form: d.Form, Findings: []Finding{}}
	found := map[string]*Finding{}
	left := map[bom.Kind]int{}
	for _, s := range all {
		if s.Kind != bom.Deb {
			left[s.Kind]++
			continue
		}
		r.Checked++
		name, version := Origin(s)
		for i := range d.Issues[name] {
			issue := &d.Issues[name][i]
			if issue.Release != "" && issue.Release != s.Release || !issue.Unclear && !issue.Affects(version) {
				continue
			}
			key := strings.Join([]string{name, issue.ID, version, s.Release}, "\x00")
			f := found[key]
			if f == nil {
				f = &Finding{ID: issue.ID, Source: name, Version: version, Release: s.Release, Status: status(issue),
					Fixed: issue.fixed(version), Urgency: issue.Urgency, Note: issue.Note}
				found[key] = f
			}
			f.Packages, f.In = append(f.Packages, s.Name), append(f.In, s.In...)
		}
	}
	for _, f := range found {
		for _, list := range []*[]string{&f.Packages, &f.In} {
			slices.Sort(*list)
			*list = slices.Compact(*list)
		}
		r.Findings = append(r.Findings, *f)
	}
	slices.SortFunc(r.Findings, func(a, b Finding) int {
		return strings.Compare(a.Source+"\x00"+a.ID+"\x00"+a.Version+"\x00"+a.Release, b.Source+"\x00"+b.ID+"\x00"+b.Version+"\x00"+b.Release)
	})
	for _, k := range []bom.Kind{bom.Apk, bom.Nix} {
		if left[k] > 0 {
			r.Left = append(r.Left, number(left[k])+" of "+string(k))
		}
	}
	r.ignore(ignores, today)
	return r
}

func status(i *Issue) Status {
	switch {
	case i.Unclear:
		return Unclear
	case i.Urgency == "unimportant":
		return Unimportant
	}
	return Open
}
