package deb

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/lock"
	"github.com/instar-os/instar/internal/source/deb/debtest"
	"github.com/instar-os/instar/internal/source/fetch"
)

func source(a *debtest.Archive, suites ...string) Source {
	return Source{Name: "test", Config: a.Source(suites...), Keys: a.Keys}
}

func load(t *testing.T, s Source, now time.Time) (*World, error) {
	t.Helper()
	return Load(context.Background(), &fetch.Client{Dir: t.TempDir(), Attempts: 1}, []Source{s}, "amd64", now)
}

var small = []debtest.Package{
	{Name: "broker", Version: "2:1.0-1", Arch: "amd64", Fields: map[string]string{"Depends": "libbroker (>= 1)"}},
	{Name: "libbroker", Version: "1.1", Arch: "amd64"},
	{Name: "broker", Version: "2:1.0-1", Arch: "arm64"},
	{Name: "data"},
}

// A signed archive in every form an index may have, with and without by-hash,
// gives the same world.
func TestLoad(t *testing.T) {
	rows := map[string]debtest.Suite{
		"gz":        {},
		"zst":       {Formats: []string{".zst"}},
		"plain":     {Formats: []string{""}},
		"all":       {Formats: []string{"", ".zst", ".gz"}},
		"no hash":   {NoByHash: true},
		"apart all": {ApartAll: true},
	}
	for name, s := range rows {
		t.Run(name, func(t *testing.T) {
			s.Name, s.Packages = "stable", small
			a := debtest.Serve(t, s)
			w, err := load(t, source(a, "stable"), debtest.Now)
			if err != nil {
				t.Fatal(err)
			}
			sol, err := w.Solve(Request{Packages: []string{"broker", "data"}})
			if got := answer(sol, err); got != "broker=2:1.0-1 data=1.0 libbroker=1.1" {
				t.Error(got)
			}
			asked := strings.Join(a.Asked(), " ")
			if byHash := strings.Contains(asked, "by-hash"); byHash == s.NoByHash {
				t.Errorf("asked for %s", asked)
			}
			want := lock.Package{Name: "broker", Version: "2:1.0-1", Arch: "amd64", Source: "test", Path: small[0].Path(), Size: int64(len(small[0].Deb()))}
			got := sol.Packages[0]
			if want.SHA256 = got.SHA256; got.SHA256 == "" || got.Name != want.Name || got.Path != want.Path || got.Size != want.Size || got.Arch != want.Arch {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestLockOfSuites(t *testing.T) {
	a := debtest.Serve(t, debtest.Suite{Name: "stable", Packages: small}, debtest.Suite{Name: "updates", Date: debtest.Date.Add(time.Hour), Packages: []debtest.Package{{Name: "data", Version: "1.1"}}})
	c := &fetch.Client{Dir: t.TempDir()}
	w, err := Load(context.Background(), c, []Source{source(a, "stable", "updates")}, "arm64", debtest.Now)
	if err != nil {
		t.Fatal(err)
	}
	got := w.Suites()
	if len(got) != 2 || got[1].Suite != "updates" || got[1].Date != "2026-01-02T04:04:05Z" || got[1].SignedBy != a.Key.Fingerprint() || len(got[1].InRelease) != 64 {
		t.Errorf("%+v", got)
	}
	if w.Epoch() != debtest.Date.Add(time.Hour).Unix() || w.Arch() != "arm64" {
		t.Errorf("epoch %d, %s", w.Epoch(), w.Arch())
	}
	if p, err := w.Candidate("data"); err != nil || p.Version != "1.1" {
		t.Errorf("%+v %v", p, err)
	}

	// Offline, the cache answers; the server is not asked.
	a.Asked()
	c = &fetch.Client{Dir: c.Dir, Offline: true}
	again, err := Load(context.Background(), c, []Source{source(a, "stable", "updates")}, "arm64", debtest.Now)
	if err != nil || !slices.Equal(again.Suites(), got) {
		t.Errorf("%v", err)
	}
	var missing *fetch.Missing
	if _, err := Load(context.Background(), c, []Source{source(a, "stable")}, "amd64", debtest.Now); !errors.As(err, &missing) {
		t.Errorf("another architecture offline: %v", err)
	}
	if asked := a.Asked(); len(asked) > 0 {
		t.Errorf("asked for %q", asked)
	}
}

// NotAutomatic suites stand behind, as apt_preferences(5) has it.
func TestNotAutomatic(t *testing.T) {
	a := debtest.Serve(t, debtest.Suite{Name: "stable", Packages: small},
		debtest.Suite{Name: "backports", Fields: map[string]string{"NotAutomatic": "yes", "ButAutomaticUpgrades": "yes"}, Packages: []debtest.Package{{Name: "data", Version: "9"}}})
	w, err := load(t, source(a, "backports", "stable"), debtest.Now)
	if err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]string{"data": "1.0", "data/backports": "9"} {
		if p, err := w.Candidate(ref); err != nil || p.Version != want {
			t.Errorf("%s: %s, %v", ref, p.Version, err)
		}
	}
}

// Each row breaks an archive and says what must be said.
func TestLoadRefuses(t *testing.T) {
	stranger := debtest.NewKey()
	index := "dists/stable/main/binary-amd64/Packages.gz"
	rows := []struct {
		name  string
		suite debtest.Suite
		spoil func(*debtest.Archive)
		ask   func(*Source)
		now   time.Time
		want  string
	}{
		{name: "expired", suite: debtest.Suite{ValidUntil: debtest.Now.Add(-time.Hour)}, want: "it was valid until 2026-01-03T02:04:05Z"},
		{name: "expired, accepted", suite: debtest.Suite{ValidUntil: debtest.Now.Add(-time.Hour)}, ask: func(s *Source) { s.Config.Expired = "accept" }},
		{name: "in the future", now: debtest.Date.Add(-25 * time.Hour), want: "lies in the future"},
		{name: "nearly now", now: debtest.Date.Add(-23 * time.Hour)},
		{name: "unsigned", spoil: func(a *debtest.Archive) { a.Set("dists/stable/InRelease", []byte("Suite: stable\n")) }, want: "it is not clear-signed"},
		{name: "cut", spoil: func(a *debtest.Archive) {
			f := a.File("dists/stable/InRelease")
			a.Set("dists/stable/InRelease", f[:len(f)/2])
		}, want: "the signed text is damaged or cut"},
		{name: "changed", spoil: func(a *debtest.Archive) {
			f := strings.Replace(string(a.File("dists/stable/InRelease")), "Suite: stable", "Suite: Stable", 1)
			a.Set("dists/stable/InRelease", []byte(f))
		}, want: "bad signature"},
		{name: "text behind the signature", spoil: func(a *debtest.Archive) {
			a.Set("dists/stable/InRelease", append(a.File("dists/stable/InRelease"), "Suite: other\n"...))
		}, want: "something stands behind the signature"},
		{name: "text before the signature", spoil: func(a *debtest.Archive) {
			a.Set("dists/stable/InRelease", append([]byte("Suite: other\n"), a.File("dists/stable/InRelease")...))
		}, want: "it is not clear-signed"},
		{name: "another key", spoil: func(a *debtest.Archive) {
			a.Key = stranger
			a.Publish(debtest.Suite{Name: "stable"})
			a.Key = debtest.NewKey()
		}, want: "keys that are not trusted here"},
		{name: "not Debian's key", ask: func(s *Source) { s.Config.Keyring = "debian" }, want: "keys that are not trusted here"},
		{name: "another key as well", spoil: func(a *debtest.Archive) {
			text := suiteText(a)
			a.Set("dists/stable/InRelease", debtest.Sign(text, debtest.Date, stranger, a.Key))
		}},
		{name: "another suite", suite: debtest.Suite{Codename: "stable"}, spoil: func(a *debtest.Archive) { a.Set("dists/old/InRelease", a.File("dists/stable/InRelease")) },
			ask: func(s *Source) { s.Config.Suites = []string{"old"} }, want: `the signed index is that of suite "stable"`},
		{name: "no suite", ask: func(s *Source) { s.Config.Suites = []string{"gone"} }, want: "the archive no longer has"},
		{name: "no component", ask: func(s *Source) { s.Config.Components = []string{"contrib"} }, want: "it has no component contrib for amd64; it has main"},
		{name: "no architecture", suite: debtest.Suite{Arches: []string{"arm64"}}, want: "it has no architecture amd64; it has arm64"},
		{name: "no keyring file", ask: func(s *Source) { s.Config.Keyring = "none.asc" }, want: "none.asc: no such keyring"},
		{name: "by-hash lost", spoil: func(a *debtest.Archive) {
			for _, n := range a.Names() {
				if strings.Contains(n, "by-hash") {
					a.Set(n, nil)
				}
			}
		}},
		{name: "index lost", suite: debtest.Suite{NoByHash: true}, spoil: func(a *debtest.Archive) { a.Set(index, nil) }, want: "the archive no longer has the index of test/stable main/binary-amd64"},
		{name: "index of another size", suite: debtest.Suite{NoByHash: true}, spoil: func(a *debtest.Archive) { a.Set(index, append(a.File(index), 0)) }, want: "is not what was asked for: size"},
		{name: "index changed", suite: debtest.Suite{NoByHash: true}, spoil: func(a *debtest.Archive) {
			f := slices.Clone(a.File(index))
			f[len(f)/2]++
			a.Set(index, f)
		}, want: "is not what was asked for: SHA-256"},
		{name: "no date", suite: debtest.Suite{Raw: "Suite: stable\nCodename: stable\nSHA256:\n " + strings.Repeat("0", 64) + " 1 main/binary-amd64/Packages\n"}, want: `"" is no date in UTC`},
		{name: "no sums", suite: debtest.Suite{Raw: "Suite: stable\nDate: Fri, 02 Jan 2026 03:04:05 UTC\n"}, want: "it lists no files by SHA-256"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			row.suite.Name = "stable"
			if row.suite.Packages == nil {
				row.suite.Packages = small
			}
			a := debtest.Serve(t, row.suite)
			s := source(a, "stable")
			if row.spoil != nil {
				row.spoil(a)
			}
			if row.ask != nil {
				row.ask(&s)
			}
			if row.now.IsZero() {
				row.now = debtest.Now
			}
			_, err := load(t, s, row.now)
			if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
				t.Errorf("got %v, want %q", err, row.want)
			}
			if err != nil && !strings.HasPrefix(err.Error(), "source test: ") && !strings.Contains(err.Error(), "the index of test/stable") {
				t.Errorf("the error names neither source nor suite: %v", err)
			}
		})
	}
}

// suiteText returns the text that stands signed.
func suiteText(a *debtest.Archive) string {
	k, err := ReadKeyring(a.Key.Public())
	if err != nil {
		return err.Error()
	}
	v, err := k.Verify(a.File("dists/stable/InRelease"), debtest.Now)
	if err != nil {
		return err.Error()
	}
	return string(v.Text)
}

// What stands in an index may be signed and yet be nonsense.
func TestPackagesRefuses(t *testing.T) {
	good := map[string]string{"Package": "a", "Version": "1", "Architecture": "all", "Filename": "pool/a.deb", "Size": "1", "SHA256": strings.Repeat("0", 64)}
	rows := []struct{ field, value, want string }{
		{"Package", "A", "name"}, {"Package", "../a", "name"}, {"Version", "x", "version"}, {"Version", "1 2", "version"},
		{"Size", "-1", "size"}, {"Size", "1e3", "parsing"}, {"Size", "99999999999999", "size"},
		{"Filename", "/etc/passwd", "file name"}, {"Filename", "../../x", "file name"}, {"Filename", "a/../../x", "file name"}, {"Filename", "a?b", "file name"},
		{"SHA256", "12", "SHA256"}, {"SHA256", strings.Repeat("G", 64), "SHA256"}, {"Architecture", "a/b", "architecture"},
	}
	for _, row := range append(rows, struct{ field, value, want string }{"Package", "a", ""}) {
		text := ""
		for f, v := range good {
			if f == row.field {
				v = row.value
			}
			text += f + ": " + v + "\n"
		}
		_, err := parsePackages(strings.NewReader(text), nil)
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s %q: %v", row.field, row.value, err)
		}
	}
}
