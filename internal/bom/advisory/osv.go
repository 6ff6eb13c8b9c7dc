package advisory

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Bounds of OSV's records. Debian's archive has about 100 000 of them.
const (
	maxRecord  = 64 << 20 // bytes
	maxRecords = 2_000_000
)

// releases are Debian's codenames by the number that OSV calls them by.
var releases = map[string]string{
	"10": "buster", "11": "bullseye", "12": "bookworm", "13": "trixie", "14": "forky", "15": "duke",
}

// record is the part of an OSV record that is read.
type record struct {
	ID        string `json:"id"`
	Withdrawn string `json:"withdrawn"`
	Affected  []struct {
		Package struct {
			Ecosystem string `json:"ecosystem"` // Debian, or Debian:13
			Name      string `json:"name"`      // source package
		} `json:"package"`
		Ranges []struct {
			Type   string              `json:"type"`
			Events []map[string]string `json:"events"`
		} `json:"ranges"`
		Versions []string `json:"versions"`
		Specific struct {
			Urgency string `json:"urgency"`
		} `json:"ecosystem_specific"`
	} `json:"affected"`
}

// ReadOSV reads all records, *.json, of a directory or a zip archive, and keeps
// what they say of Debian's packages that want has.
func ReadOSV(fsys fs.FS, want map[string]bool) (*Data, error) {
	d := &Data{Form: "osv", Issues: map[string][]Issue{}}
	n := 0
	err := fs.WalkDir(fsys, ".", func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || path.Ext(p) != ".json" {
			return err
		}
		if n++; n > maxRecords {
			return fmt.Errorf("more than %d records", maxRecords)
		}
		f, err := fsys.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := d.AddOSV(f, want); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("OSV: %w", err)
	}
	if n == 0 {
		return nil, errors.New("OSV: there is no record, *.json")
	}
	d.sort()
	return d, nil
}

// ReadOSVFile reads one record.
func ReadOSVFile(r io.Reader, want map[string]bool) (*Data, error) {
	d := &Data{Form: "osv", Issues: map[string][]Issue{}}
	if err := d.AddOSV(r, want); err != nil {
		return nil, fmt.Errorf("OSV: %w", err)
	}
	d.sort()
	return d, nil
}

func (d *Data) sort() {
	for _, all := range d.Issues {
		slices.SortStableFunc(all, func(a, b Issue) int { return strings.Compare(a.ID+"\x00"+a.Release, b.ID+"\x00"+b.Release) })
	}
}

// AddOSV reads one record. A record that was withdrawn says nothing.
func (d *Data) AddOSV(r io.Reader, want map[string]bool) error {
	text, err := io.ReadAll(io.LimitReader(r, maxRecord+1))
	if err != nil {
		return err
	}
	if len(text) > maxRecord {
		return fmt.Errorf("more than %d bytes", maxRecord)
	}
	var rec record
	if err := json.Unmarshal(text, &rec); err != nil {
		return err
	}
	if rec.ID == "" {
		return errors.New("it has no id")
	}
	if rec.Withdrawn != "" {
		return nil
	}
	for _, a := range rec.Affected {
		distro, number, _ := strings.Cut(a.Package.Ecosystem, ":")
		if distro != "Debian" || !want[a.Package.Name] {
			continue
		}
		release := number
		if name, ok := releases[number]; ok {
			release = name
		}
		i := Issue{ID: strings.TrimPrefix(rec.ID, "DEBIAN-"), Package: a.Package.Name, Release: release, Versions: a.Versions, Urgency: a.Specific.Urgency}
		if i.Urgency == "not yet assigned" {
			i.Urgency = ""
		}
		for _, rg := range a.Ranges {
			if rg.Type == "ECOSYSTEM" {
				i.Ranges = append(i.Ranges, ranges(rg.Events)...)
			}
		}
		d.Issues[a.Package.Name] = append(d.Issues[a.Package.Name], i)
	}
	return nil
}

// ranges reads events in their order: introduced begins a range, fixed or
// last_affected ends it.
func ranges(events []map[string]string) (all []Range) {
	open := -1
	for _, e := range events {
		switch {
		case e["introduced"] != "":
			all = append(all, Range{From: e["introduced"]})
			open = len(all) - 1
		case open < 0:
		case e["fixed"] != "":
			all[open].Fixed, open = e["fixed"], -1
		case e["last_affected"] != "":
			all[open].Through, open = e["last_affected"], -1
		}
	}
	return all
}

// IsOSV tells whether what begins so is a record: the tracker's file has
// packages at its top, never these words.
func IsOSV(head []byte) bool {
	dec := json.NewDecoder(bytes.NewReader(head))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return false
	}
	key, err := dec.Token()
	word, ok := key.(string)
	return err == nil && ok && slices.Contains(topWords, word)
}

// topWords are the words that a record may begin with.
var topWords = []string{"id", "schema_version", "modified", "published", "affected", "summary", "details", "aliases", "upstream", "related", "severity", "references"}
