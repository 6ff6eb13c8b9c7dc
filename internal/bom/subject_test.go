package bom

import (
	"strings"
	"testing"
)

func TestQuery(t *testing.T) {
	s := Subject{Kind: Deb, Name: "libssl3t64", Version: "3.5.1-1+b2", Source: "openssl", SourceVersion: "3.5.1-1"}
	for q, want := range map[string]bool{
		"openssl": true, "libssl3t64": true, "OpenSSL": true, "libssl": false, "openssl<3.5.1-1": false, "openssl<=3.5.1-1": true,
		"openssl < 3.5.1-1+deb13u1": true, "libssl3t64>3.5.1-1": true, "openssl>3.5.1-1": false, "openssl=3.5.1-1": true, "openssl>=1:1": false, "openssl<<4": true,
	} {
		p, err := ParseQuery(q)
		if err != nil || p.Matches(s) != want {
			t.Errorf("%s: %v, want %v (%v)", q, p.Matches(s), want, err)
		}
	}
	for _, bad := range []string{"", "<3", "openssl<", "open ssl", "openssl!3", "openssl<3 4"} {
		if _, err := ParseQuery(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if q, _ := ParseQuery("x<9"); q.Matches(Subject{Name: "x"}) {
		t.Error("a version that is not known is less than 9")
	}
}

// What is written is read again, in both forms.
func TestRead(t *testing.T) {
	image := NewID("oci", "x")
	b := &Bill{Machine: "m", Arch: "amd64", Components: []Component{
		{ID: "deb-a", Kind: Deb, Name: "g++", Version: "1:2~rc+b1", Arch: "amd64", Source: "gcc", SourceVersion: "2~rc", Release: "trixie"},
		{ID: image, Kind: Image, Name: "x", PURL: PURL("oci", "", "x", "sha256:0", nil)},
		{ID: image + "-b", Kind: Apk, Name: "b", Version: "1-r0", Within: image, PURL: PURL("apk", "alpine", "b", "1-r0", nil)},
		{ID: "nix-c", Kind: Nix, Name: "c", PURL: PURL("nix", "", "c", "", map[string]string{"path": "/nix/store/c"})},
	}}
	b.Components[0].PURL = DebPURL("debian", &b.Components[0])
	for name, write := range map[string]func() ([]byte, error){"SPDX": b.SPDX, "CycloneDX": b.CycloneDX} {
		text, err := write()
		if err != nil {
			t.Fatal(err)
		}
		of, all, err := Read(text)
		if err != nil || len(all) != 3 || !strings.HasPrefix(of, "m") {
			t.Fatalf("%s: %q %v %v", name, of, all, err)
		}
		if s := all[2]; s.Name != "g++" || s.Version != "1:2~rc+b1" || s.Source != "gcc" || s.SourceVersion != "2~rc" || s.Release != "trixie" || s.Arch != "amd64" {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"spdxVersion": "SPDX-2.3", "name": "x", "packages": [{"externalRefs": [{"referenceType": "purl", "referenceLocator": "pkg:deb/debian/a@1?upstream=b%402"}]}]}`))
	f.Add([]byte(`{"bomFormat": "CycloneDX", "components": [{"purl": "pkg:apk/a/b@1", "components": [{"purl": "pkg:nix/%zz"}]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, all, err := Read(b)
		for _, s := range all {
			if err != nil || s.Name == "" {
				t.Fatal(s, err)
			}
		}
	})
}
