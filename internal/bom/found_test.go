package bom

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/store/storetest"
	"github.com/instar-os/instar/internal/tree"
)

const status = `Package: libssl3t64
Status: install ok installed
Architecture: amd64
Source: openssl (3.5.1-1)
Version: 3.5.1-1+b2
Maintainer: Somebody <a@b.example>

Package: gone
Status: deinstall ok config-files
Version: 1

Package: mawk
Status: install ok installed
Architecture: amd64
Version: 1.3.4-1+b1
`

const installed = "C:Q1\nP:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\no:musl\nF:lib\nR:x\n\nP:libcrypto3\nV:3.3.1-r0\no:openssl\nL:Apache-2.0\n"

func found(t *testing.T, files map[string]string) ([]Component, bool) {
	t.Helper()
	st, err := store.Open(filepath.Join(t.TempDir(), "store"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	all, known, err := Found(storetest.PutTree(t, st, files), func(e tree.Entry, limit int64) ([]byte, error) { return st.Bytes(e.Digest, limit) })
	if err != nil {
		t.Fatal(err)
	}
	return all, known
}

func TestFound(t *testing.T) {
	const release = "ID=debian\nVERSION_CODENAME=trixie\n"
	for _, row := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"dpkg", map[string]string{"var/lib/dpkg/status": status, "etc/os-release": release,
			"usr/share/doc/mawk/copyright": "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: GPL-2\n"},
			"pkg:deb/debian/libssl3t64@3.5.1-1%2Bb2?arch=amd64&distro=trixie&upstream=openssl%403.5.1-1 ; pkg:deb/debian/mawk@1.3.4-1%2Bb1?arch=amd64&distro=trixie&upstream=mawk%401.3.4-1 GPL-2.0-only"},
		{"without dpkg", map[string]string{"var/lib/dpkg/status.d/mawk": "Package: mawk\nVersion: 1\n", "var/lib/dpkg/status.d/mawk.md5sums": "x"}, "pkg:deb/linux/mawk@1 "},
		{"apk", map[string]string{"lib/apk/db/installed": installed, "etc/os-release": "ID=alpine\n"},
			"pkg:apk/alpine/musl@1.2.5-r0?arch=x86_64 MIT; pkg:apk/alpine/libcrypto3@3.3.1-r0 Apache-2.0"},
		{"nothing", map[string]string{"bin/a": "x"}, "unknown"},
	} {
		all, known := found(t, row.files)
		var got []string
		for _, c := range all {
			got = append(got, c.PURL+" "+c.Licence.Expression)
		}
		if !known {
			got = append(got, "unknown")
		}
		if strings.Join(got, "; ") != row.want {
			t.Errorf("%s: %s\nwant %s", row.name, strings.Join(got, "; "), row.want)
		}
	}
}

func TestSource(t *testing.T) {
	all, err := ParseStatus([]byte(status))
	if err != nil || len(all) != 2 {
		t.Fatal(all, err)
	}
	if c := all[0]; c.Source != "openssl" || c.SourceVersion != "3.5.1-1" {
		t.Errorf("%+v", c)
	}
	if c := all[1]; c.Source != "mawk" || c.SourceVersion != "1.3.4-1" {
		t.Errorf("%+v", c)
	}
}

func FuzzLists(f *testing.F) {
	f.Add([]byte(status))
	f.Add([]byte(installed))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, parse := range []func([]byte) ([]Component, error){ParseStatus, ParseInstalled} {
			all, err := parse(b)
			if err != nil {
				continue
			}
			for _, c := range all {
				if c.Name == "" || c.Version == "" || c.Source == "" {
					t.Fatalf("%+v", c)
				}
			}
		}
	})
}

func TestPURL(t *testing.T) {
	if got := PURL("generic", "a b/c", "x+y", "1:2~3", map[string]string{"k": "a/b?c", "empty": ""}); got != "pkg:generic/a%20b/c/x%2By@1:2~3?k=a%2Fb%3Fc" {
		t.Error(got)
	}
}

func TestNewID(t *testing.T) {
	if a, b := NewID("deb", "g++", "1"), NewID("deb", "g--", "1"); a == b || NewID("deb", "a", "1") != "deb-a-1" {
		t.Error(a, b)
	}
}
