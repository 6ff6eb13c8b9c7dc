package advisory

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
)

// Bounds of the tracker's file: it has about 70 MB and 5 000 packages.
const (
	maxTracker = 2 << 30 // bytes
	maxIssues  = 1_000_000
)

// tracked is what the tracker says of one vulnerability of one package.
type tracked struct {
	Releases map[string]struct {
		Status  string `json:"status"`        // resolved, open, undetermined
		Fixed   string `json:"fixed_version"` // "0": it never was affected
		Urgency string `json:"urgency"`
		NoDSA   string `json:"nodsa"` // why there is no advisory
	} `json:"releases"`
}

// ReadTracker reads the security tracker's JSON: packages, in them
// vulnerabilities, in them releases. Only packages that want has are kept. It is
// read in one pass; one package at a time is in memory.
func ReadTracker(r io.Reader, want map[string]bool) (*Data, error) {
	limited := &io.LimitedReader{R: r, N: maxTracker}
	dec := json.NewDecoder(limited)
	d := &Data{Form: "tracker", Issues: map[string][]Issue{}}
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.Join(errors.New("security tracker: it does not begin with an object"), err)
	}
	n := 0
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, fmt.Errorf("security tracker: %w", err)
		}
		name, _ := t.(string)
		if !want[name] {
			var skip json.RawMessage
			if err := dec.Decode(&skip); err != nil {
				return nil, fmt.Errorf("security tracker: package %.80q: %w", name, err)
			}
			continue
		}
		var all map[string]tracked
		if err := dec.Decode(&all); err != nil {
			return nil, fmt.Errorf("security tracker: package %.80q: %w", name, err)
		}
		for _, id := range slices.Sorted(maps.Keys(all)) {
			more := all[id].issues(id, name)
			if n += len(more); n > maxIssues {
				return nil, fmt.Errorf("security tracker: more than %d entries", maxIssues)
			}
			d.Issues[name] = append(d.Issues[name], more...)
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil, fmt.Errorf("security tracker: it is cut off: %w", err)
	}
	return d, nil
}

func (t tracked) issues(id, name string) (all []Issue) {
	for _, release := range slices.Sorted(maps.Keys(t.Releases)) {
		e := t.Releases[release]
		i := Issue{ID: id, Package: name, Release: release, Urgency: e.Urgency, Note: e.NoDSA}
		if i.Urgency == "not yet assigned" {
			i.Urgency = ""
		}
		switch {
		case e.Status == "undetermined":
			i.Unclear = true
		case e.Status == "open":
			i.Ranges = []Range{{}}
		case e.Fixed == "0" || e.Fixed == "":
			continue // it never was affected
		default:
			i.Ranges = []Range{{Fixed: e.Fixed}}
		}
		all = append(all, i)
	}
	return all
}
