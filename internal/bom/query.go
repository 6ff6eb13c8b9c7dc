package bom

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/instar-os/instar/internal/source/deb/control"
)

// Query asks for packages of a name, with a version or any.
type Query struct {
	Name    string
	Op      string // <, <=, =, >=, >; "" for any version
	Version string
}

var queryForm = regexp.MustCompile(`^\s*([A-Za-z0-9][A-Za-z0-9+._-]*)\s*(?:(<<|<=|<|>>|>=|>|=)\s*([A-Za-z0-9][A-Za-z0-9.+:~_-]*)\s*)?$`)

// ParseQuery reads "openssl", "openssl<3.0.16" or "libssl3 >= 3.5". << and >>
// mean < and >.
func ParseQuery(s string) (Query, error) {
	m := queryForm.FindStringSubmatch(s)
	if m == nil {
		return Query{}, fmt.Errorf("query %q: want a name, or a name, one of < <= = >= > and a version, as openssl<3.0.16", s)
	}
	op := m[2]
	if op == "<<" || op == ">>" {
		op = op[:1]
	}
	return Query{strings.ToLower(m[1]), op, m[3]}, nil
}

// Matches tells whether a package answers: by its own name and version, or by
// those of its source package. Versions are compared as dpkg does.
func (q Query) Matches(s Subject) bool {
	return strings.ToLower(s.Name) == q.Name && q.accepts(s.Version) ||
		strings.ToLower(s.Source) == q.Name && q.accepts(s.SourceVersion)
}

// accepts compares versions. One that is not known answers only who asks for any.
func (q Query) accepts(version string) bool {
	if version == "" {
		return q.Op == ""
	}
	r := control.Relation{Op: q.Op, Version: q.Version}
	if r.Op == "<" || r.Op == ">" {
		r.Op += r.Op // Debian's way to write them; its < means <=
	}
	return r.Accepts(version)
}
