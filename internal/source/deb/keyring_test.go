package deb

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/source/deb/debtest"
)

// Every pinned key is in the file that is built in, and no other.
func TestDebianKeyring(t *testing.T) {
	k, err := DebianKeyring()
	if err != nil {
		t.Fatal(err)
	}
	want := slices.Sorted(slices.Values(debianPins[:]))
	if got := k.Fingerprints(); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	stranger, err := ReadKeyring(debtest.NewKey().Public())
	if err != nil {
		t.Fatal(err)
	}
	more := bytes.NewBuffer(slices.Clone(debianKeys))
	if err := stranger.entities[0].Serialize(more); err != nil {
		t.Fatal(err)
	}
	if k, err := pinned(more.Bytes()); err != nil || !slices.Equal(k.Fingerprints(), want) {
		t.Errorf("a key that is not pinned counts: %v", err)
	}
	all, err := ReadKeyring(debianKeys)
	if err != nil || len(all.entities) != len(want) {
		t.Errorf("%d keys in the file: %v", len(all.entities), err)
	}
}

func TestReadKeyring(t *testing.T) {
	a, b := debtest.NewKey(), debtest.NewKey()
	two := append([]byte("Keys of the archive\n"), append(a.Public(), b.Public()...)...)
	k, err := ReadKeyring(two)
	want := []string{a.Fingerprint(), b.Fingerprint()}
	slices.Sort(want)
	if err != nil || !slices.Equal(k.Fingerprints(), want) {
		t.Errorf("%v, %v", k, err)
	}
	signed := debtest.Sign("x\n", debtest.Date, a)
	for name, data := range map[string][]byte{
		"empty": nil, "nonsense": []byte("nonsense"), "cut": two[:len(two)-100], "no key": signed, "large": make([]byte, maxKeyring+1),
	} {
		if _, err := ReadKeyring(data); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestVerify(t *testing.T) {
	a, b, c := debtest.NewKey(), debtest.NewKey(), debtest.NewKey()
	k, err := ReadKeyring(append(a.Public(), b.Public()...))
	if err != nil {
		t.Fatal(err)
	}
	text := "Suite: x\n- dashes\nlast\n"
	many := make([]*debtest.Key, maxSignatures+1)
	for i := range many {
		many[i] = c
	}
	for name, row := range map[string]struct {
		file []byte
		by   string
	}{
		"one":             {debtest.Sign(text, debtest.Date, a), a.Fingerprint()},
		"second of two":   {debtest.Sign(text, debtest.Date, c, b), b.Fingerprint()},
		"first of two":    {debtest.Sign(text, debtest.Date, b, c), b.Fingerprint()},
		"stranger":        {debtest.Sign(text, debtest.Date, c), ""},
		"no signatures":   {bytes.Split(debtest.Sign(text, debtest.Date, a), []byte("-----BEGIN PGP SIGNATURE"))[0], ""},
		"of another text": {swap(debtest.Sign("Suite: y\n", debtest.Date, a), debtest.Sign(text, debtest.Date, a)), ""},
		"too many":        {debtest.Sign(text, debtest.Date, many...), ""},
		"empty":           {nil, ""},
		"just the start":  {[]byte("-----BEGIN PGP SIGNED MESSAGE-----\n"), ""},
	} {
		v, err := k.Verify(row.file, debtest.Now)
		switch {
		case row.by == "" && err == nil:
			t.Errorf("%s: accepted", name)
		case row.by != "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case row.by != "" && (v.SignedBy != row.by || strings.TrimRight(string(v.Text), "\n") != strings.TrimRight(text, "\n")):
			t.Errorf("%s: %s signed %q", name, v.SignedBy, v.Text)
		}
	}
}

// swap puts the signature of one file under the text of another.
func swap(text, signature []byte) []byte {
	mark := []byte("-----BEGIN PGP SIGNATURE")
	return append(slices.Clone(text[:bytes.Index(text, mark)]), signature[bytes.Index(signature, mark):]...)
}

func FuzzVerify(f *testing.F) {
	key := debtest.NewKey()
	k, err := ReadKeyring(key.Public())
	if err != nil {
		f.Fatal(err)
	}
	good := debtest.Sign("Suite: x\nDate: Fri, 02 Jan 2026 03:04:05 UTC\nSHA256:\n "+strings.Repeat("0", 64)+" 1 a\n", debtest.Date, key)
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Fuzz(func(t *testing.T, file []byte) {
		if _, err := k.Verify(file, debtest.Now); err != nil {
			return
		}
		if _, err := ReadRelease(file, k, debtest.Now, false); err == nil && !bytes.Contains(file, []byte("Suite: x")) {
			t.Error("a text that was never signed")
		}
	})
}

func FuzzReadKeyring(f *testing.F) {
	f.Add(debtest.NewKey().Public())
	f.Add(debianKeys[:2000])
	f.Fuzz(func(t *testing.T, data []byte) {
		if k, err := ReadKeyring(data); err == nil {
			k.Fingerprints()
		}
	})
}

func FuzzParseRelease(f *testing.F) {
	f.Add([]byte("Suite: x\nDate: Fri, 02 Jan 2026 03:04:05 UTC\nValid-Until: Fri, 09 Jan 2026 03:04:05 +0000\nSHA256:\n " + strings.Repeat("0", 64) + " 1 a\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if r, err := parseRelease(text); err == nil && (r.Date.IsZero() && r.Date.Location() != time.UTC || len(r.files) == 0) {
			t.Errorf("%+v", r)
		}
	})
}

func FuzzPackages(f *testing.F) {
	f.Add([]byte("Package: a\nVersion: 1\nArchitecture: all\nFilename: pool/a.deb\nSize: 1\nSHA256: " + strings.Repeat("0", 64) + "\nDepends: b | c (>= 1)\nProvides: v (= 2)\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		ps, err := parsePackages(bytes.NewReader(text), &suite{release: &Release{}})
		if err != nil {
			return
		}
		w := &World{arch: "amd64", goarch: "amd64"}
		if w.fill([][]*Package{ps}) != nil {
			return
		}
		for _, p := range ps {
			if _, err := w.Solve(Request{Packages: []string{p.Name}, Recommends: true}); err != nil && err.Error() == "" {
				t.Error("an empty error")
			}
		}
	})
}
