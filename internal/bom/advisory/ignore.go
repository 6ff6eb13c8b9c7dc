package advisory

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/instar-os/instar/internal/source/deb/control"
)

// Ignore is a line of an ignore file: why a vulnerability does not matter here,
// and until when that is believed.
type Ignore struct {
	ID      string
	Package string // source package, or * for all
	Until   string // last day, as 2027-01-31
	Reason  string
	Line    int
}

// maxIgnores bounds the lines of an ignore file.
const maxIgnores = 100_000

var idForm = regexp.MustCompile(`^[A-Z][A-Za-z0-9-]{1,60}$`)

// ParseIgnores reads an ignore file: a vulnerability, a source package or *, the
// last day that it holds on, and the reason, in one line each. Empty lines and
// those that begin with # do not count. A line without a reason is an error.
func ParseIgnores(text string) ([]Ignore, error) {
	var all []Ignore
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		words := strings.Fields(line)
		if len(words) < 4 {
			return nil, fmt.Errorf("line %d: want ID PACKAGE DATE REASON, as: CVE-2025-1234 openssl 2027-01-31 the server is not started", n)
		}
		if _, err := time.Parse(time.DateOnly, words[2]); err != nil {
			return nil, fmt.Errorf("line %d: %q is no date; write it as 2027-01-31", n, words[2])
		}
		if !idForm.MatchString(words[0]) {
			return nil, fmt.Errorf("line %d: %q names no vulnerability", n, words[0])
		}
		if words[1] != "*" && !control.IsName(words[1]) {
			return nil, fmt.Errorf("line %d: %q is no source package", n, words[1])
		}
		if all = append(all, Ignore{words[0], words[1], words[2], strings.Join(words[3:], " "), n}); len(all) > maxIgnores {
			return nil, fmt.Errorf("more than %d lines", maxIgnores)
		}
	}
	return all, nil
}

// ignore applies the lines to what is open. A line whose day is past makes it
// count again, and is said.
func (r *Report) ignore(all []Ignore, today time.Time) {
	day := today.UTC().Format(time.DateOnly)
	for _, g := range all {
		used := false
		for i := range r.Findings {
			f := &r.Findings[i]
			if f.ID != g.ID || g.Package != "*" && g.Package != f.Source {
				continue
			}
			used = true
			if f.Reason, f.Until = g.Reason, g.Until; g.Until >= day {
				f.Status = Ignored
			}
		}
		text := "line " + strconv.Itoa(g.Line) + ": " + g.ID + " " + g.Package
		switch {
		case !used:
			r.Unused = append(r.Unused, text)
		case g.Until < day:
			r.Expired = append(r.Expired, text+" until "+g.Until)
		}
	}
}

func number(n int) string { return strconv.Itoa(n) }
