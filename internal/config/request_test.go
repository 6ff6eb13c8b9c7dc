package config

import (
	"strings"
	"testing"
	"testing/fstest"
)

const requestBase = `machine: m
sources: {debian: {archive: debian, suites: [trixie]}}
kernel: {from: debian, package: linux-image-cloud-amd64}
trees:
  t: {from: debian, packages: [busybox, tzdata]}
  d: {from: dir, path: a}
  u: {from: tarball, url: "https://example.org/a.tar"}
containers: {c: {trees: [t], command: [/bin/x]}}
configurations: {r: {fallback: true, containers: [c]}}
default: r
`

func requestOf(t *testing.T, text string) string {
	t.Helper()
	f, err := Read(fstest.MapFS{"site.yaml": {Data: []byte(text)}}, "site.yaml")
	if err != nil {
		t.Fatal(err)
	}
	d, err := RequestDigest(f.Definition)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestRequestDigest(t *testing.T) {
	base := requestOf(t, requestBase)
	// A changed value here means that every lock there is asks to be made anew.
	if want := "d933248158921bfe96961d00843905139c7cddc7b2d5f41e8e8e9d5a419b68c7"; base != want {
		t.Errorf("digest of the base is %s, want %s", base, want)
	}
	for _, row := range []struct {
		old, new string
		moves    bool
	}{
		{"command: [/bin/x]", "command: [/bin/y], memory: 64MiB", false},
		{"machine: m", "machine: other", false},
		{"path: a", "path: b", false},
		{"from: dir, path: a", "from: file, path: a, to: /a", false},
		{"[busybox, tzdata]", "[tzdata, busybox]", false},
		{"suites: [trixie]}", "suites: [trixie], components: [main], priority: 500}", false},
		{"package: linux-image-cloud-amd64", "package: {amd64: linux-image-cloud-amd64, arm64: x1}", false},
		{"package: linux-image-cloud-amd64", "package: linux-image-cloud-amd64, command: [quiet]", false},
		{"default: r", "default: r\nboot: {from: debian, slots: 3}\ntools: {from: debian}\narch: [amd64]", false},
		{"packages: [busybox, tzdata]", "packages: [busybox, tzdata], prune: [docs]", false},
		{"machine: m", "machine: m\narch: [amd64, arm64]", true},
		{"package: linux-image-cloud-amd64", "package: linux-image-amd64", true},
		{"suites: [trixie]", "suites: [trixie, trixie-updates]", true},
		{"archive: debian", "archive: debian-security", true},
		{"suites: [trixie]", "suites: [trixie], keyring: own.asc", true},
		{"default: r", "default: r\ntools: {from: host}", true},
		{"[busybox, tzdata]", "[busybox]", true},
		{"[busybox, tzdata]", "[busybox, tzdata], essential: true", true},
		{"[busybox, tzdata]", "[busybox, tzdata], without: [dpkg]", true},
		{"[busybox, tzdata]", "[busybox, tzdata], recommends: true", true},
		{"[busybox, tzdata]", "[busybox, tzdata], accept: [dbus]", true},
		{"[busybox, tzdata]", "[busybox, tzdata], effects: none", true},
		{"example.org/a.tar", "example.org/b.tar", true},
		{"  t: {", "  tt: {from: debian, packages: [busybox]}\n  t: {", true},
	} {
		if !strings.Contains(requestBase, row.old) {
			t.Fatalf("the base has no %q", row.old)
		}
		if got := requestOf(t, strings.Replace(requestBase, row.old, row.new, 1)); (got != base) != row.moves {
			t.Errorf("%s -> %s: moves the digest: %v", row.old, row.new, !row.moves)
		}
	}
}
