package advisory

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/instar-os/instar/internal/bom"
)

// tracker is in the form of the Debian security tracker; its content is made up.
const tracker = `{
"openssl": {
  "CVE-2031-0001": {"description": "x", "scope": "remote", "releases": {
    "trixie": {"status": "resolved", "repositories": {"trixie": "3.5.1-1"}, "fixed_version": "3.5.1-1+deb13u1", "urgency": "not yet assigned"},
    "bookworm": {"status": "open", "repositories": {"bookworm": "3.0.1-1"}, "urgency": "medium", "nodsa": "Minor issue", "nodsa_reason": "postponed"}}},
  "CVE-2031-0002": {"releases": {"trixie": {"status": "resolved", "fixed_version": "0", "urgency": "unimportant"}}},
  "CVE-2031-0003": {"releases": {"trixie": {"status": "open", "urgency": "unimportant"}}},
  "CVE-2031-0004": {"releases": {"trixie": {"status": "undetermined", "urgency": "not yet assigned"}}}},
"other": {"CVE-2031-0009": {"releases": {"trixie": {"status": "open"}}}},
"linux": {"CVE-2031-0005": {"releases": {"trixie": {"status": "resolved", "fixed_version": "6.12.9-1", "urgency": "not yet assigned"}}}}
}`

// osv says of openssl what tracker says, in OSV's form.
var osv = fstest.MapFS{
	"DEBIAN-CVE-2031-0001.json": {Data: []byte(`{"id": "DEBIAN-CVE-2031-0001", "upstream": ["CVE-2031-0001"], "affected": [
		{"package": {"ecosystem": "Debian:13", "name": "openssl"}, "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "3.5.1-1+deb13u1"}]}]},
		{"package": {"ecosystem": "Debian:12", "name": "openssl"}, "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}]}], "ecosystem_specific": {"urgency": "medium"}},
		{"package": {"ecosystem": "Alpine:v3.20", "name": "openssl"}, "versions": ["3.5.1-1"]}]}`)},
	"a/DEBIAN-CVE-2031-0003.json": {Data: []byte(`{"id": "DEBIAN-CVE-2031-0003", "affected": [
		{"package": {"ecosystem": "Debian:13", "name": "openssl"}, "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}]}], "ecosystem_specific": {"urgency": "unimportant"}}]}`)},
	"DSA-1.json": {Data: []byte(`{"id": "DSA-1-1", "withdrawn": "2031-01-01T00:00:00Z", "affected": [{"package": {"ecosystem": "Debian:13", "name": "openssl"}, "versions": ["3.5.1-1"]}]}`)},
	"README":     {Data: []byte("no record")},
}

func subjects(version, release string) []bom.Subject {
	return []bom.Subject{
		{Kind: bom.Deb, Name: "libssl3", Version: version + "+b1", Source: "openssl", SourceVersion: version, Release: release, In: []string{"broker"}},
		{Kind: bom.Deb, Name: "openssl", Version: version, Source: "openssl", SourceVersion: version, Release: release, In: []string{"panel", "broker"}},
		{Kind: bom.Deb, Name: "linux-image", Version: "6.12.8-1", Source: "linux-signed-amd64", SourceVersion: "6.12.8+1", Release: release},
		{Kind: bom.Nix, Name: "openssl", Version: "1"},
	}
}

func lines(r *Report) (out []string) {
	for _, f := range r.Findings {
		out = append(out, fmt.Sprintf("%s %s %s %s %s in %s", f.ID, f.Source, f.Status, f.Fixed, strings.Join(f.Packages, ","), strings.Join(f.In, ",")))
	}
	return append(out, r.Left...)
}

func TestCheck(t *testing.T) {
	const none = "1 of nix"
	track, err := ReadTracker(strings.NewReader(tracker), Names(subjects("1", "trixie")))
	if err != nil {
		t.Fatal(err)
	}
	records, err := ReadOSV(osv, map[string]bool{"openssl": true})
	if err != nil {
		t.Fatal(err)
	}
	if len(track.Issues["other"]) > 0 {
		t.Error("a package that nobody asked for is kept")
	}
	kernel := "CVE-2031-0005 linux open 6.12.9-1 linux-image in "
	unimportant := "CVE-2031-0003 openssl unimportant  libssl3,openssl in broker,panel"
	for _, row := range []struct {
		name, version, release string
		d                      *Data
		want                   []string
	}{
		{"tracker", "3.5.1-1", "trixie", track, []string{kernel, "CVE-2031-0001 openssl open 3.5.1-1+deb13u1 libssl3,openssl in broker,panel", unimportant,
			"CVE-2031-0004 openssl unclear  libssl3,openssl in broker,panel", none}},
		{"tracker, fixed", "3.5.1-1+deb13u1", "trixie", track, []string{kernel, unimportant, "CVE-2031-0004 openssl unclear  libssl3,openssl in broker,panel", none}},
		{"tracker, no fix yet", "3.0.1-1", "bookworm", track, []string{"CVE-2031-0001 openssl open  libssl3,openssl in broker,panel", none}},
		{"tracker, no such release", "1", "sid", track, []string{none}},
		{"osv", "3.5.1-1", "trixie", records, []string{"CVE-2031-0001 openssl open 3.5.1-1+deb13u1 libssl3,openssl in broker,panel", unimportant, none}},
		{"osv, no fix yet", "9", "bookworm", records, []string{"CVE-2031-0001 openssl open  libssl3,openssl in broker,panel", none}},
	} {
		if got := lines(Check(subjects(row.version, row.release), row.d, nil, time.Time{})); !slices.Equal(got, row.want) {
			t.Errorf("%s:\n%s\nwant\n%s", row.name, strings.Join(got, "\n"), strings.Join(row.want, "\n"))
		}
	}
}

func TestRanges(t *testing.T) {
	i := Issue{Ranges: ranges([]map[string]string{{"introduced": "1"}, {"fixed": "2"}, {"introduced": "3"}, {"last_affected": "3.5"}, {"introduced": "5"}}), Versions: []string{"2.5"}}
	var got []string
	for _, v := range []string{"0.9", "1", "1.9", "2", "2.5", "3", "3.5", "3.6", "5", "9"} {
		if i.Affects(v) {
			got = append(got, v)
		}
	}
	if want := []string{"1", "1.9", "2.5", "3", "3.5", "5", "9"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestIgnores(t *testing.T) {
	all, err := ParseIgnores("# why\nCVE-2031-0001 openssl 2031-05-01 the server is not started\n\nCVE-2031-0005 * 2031-01-01 soon\nCVE-1-1 x 2031-01-01 nothing of ours\n")
	if err != nil {
		t.Fatal(err)
	}
	d, err := ReadTracker(strings.NewReader(tracker), map[string]bool{"openssl": true, "linux": true})
	if err != nil {
		t.Fatal(err)
	}
	at := func(day string) *Report {
		now, err := time.Parse(time.DateOnly, day)
		if err != nil {
			t.Fatal(err)
		}
		return Check(subjects("3.5.1-1", "trixie"), d, all, now)
	}
	for day, open := range map[string]int{"2030-12-31": 0, "2031-01-01": 0, "2031-01-02": 1, "2031-05-01": 1, "2031-05-02": 2} {
		if r := at(day); r.Open() != open || len(r.Unused) != 1 || len(r.Expired) != open && day != "2031-01-02" {
			t.Errorf("%s: %d open, want %d; unused %v, expired %v", day, r.Open(), open, r.Unused, r.Expired)
		}
	}
	for _, bad := range []string{"CVE-1 x 2031-01-01", "CVE-1 x soon because", "CVE-1 X 2031-01-01 because", "cve x 2031-01-01 because"} {
		if _, err := ParseIgnores("\n" + bad); err == nil || !strings.HasPrefix(err.Error(), "line 2: ") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(tracker))
	for _, p := range osv {
		f.Add(p.Data)
	}
	f.Fuzz(func(_ *testing.T, b []byte) {
		want := map[string]bool{"openssl": true, "linux": true}
		for _, read := range []func() (*Data, error){
			func() (*Data, error) { return ReadTracker(bytes.NewReader(b), want) },
			func() (*Data, error) { return ReadOSVFile(bytes.NewReader(b), want) },
		} {
			if d, err := read(); err == nil {
				Check(subjects("3.5.1-1", "trixie"), d, nil, time.Time{})
			}
		}
		_, _ = ParseIgnores(string(b))
	})
}
