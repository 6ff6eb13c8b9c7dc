package narinfo_test

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	theirhash "github.com/nix-community/go-nix/pkg/narinfo"
	"github.com/nix-community/go-nix/pkg/narinfo/signature"
	"github.com/nix-community/go-nix/pkg/nixbase32"

	"github.com/instar-os/instar/internal/source/nix/narinfo"
)

// The example of the Nix manual, signed by the key of the public cache.
const sample = `StorePath: /nix/store/00bgd045z0d4icpbc2yyz4gx48ak44la-net-tools-1.60_p20170221182432
URL: nar/1094wph9z4nwlgvsd53abfz8i117ykiv5dwnq9nnhz846s7xqd7d.nar.xz
Compression: xz
FileHash: sha256:1094wph9z4nwlgvsd53abfz8i117ykiv5dwnq9nnhz846s7xqd7d
FileSize: 114980
NarHash: sha256:0lxjvvpr59c2mdram7ympy5ay741f180kv3349hvfc3f8nrmbqf6
NarSize: 464152
References: 7gx4kiv5m0i7d7qkixq2cwzbr10lvxwc-glibc-2.27
Deriver: 10dx1q4ivjb115y3h90mipaaz533nr0d-net-tools-1.60_p20170221182432.drv
Sig: cache.nixos.org-1:sn5s/RrqEI+YG6/PjwdbPjcAC7rcta7sJU4mFOawGvJBLsWkyLtBrT2EuFt/LJjWkTZ+ZWOI9NTtjo/woMdvAg==
Sig: hydra.other.net-1:JXQ3Z/PXf0EZSFkFioa4FbyYpbbTbHlFBtZf4VqU0tuMTWzhMD7p9Q7acJjLn3jofOtilAAwRILKIfVuyrbjAA==
`

const nixosKey = "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY="

func parse(t testing.TB, text string) *narinfo.Info {
	t.Helper()
	in, err := narinfo.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func key(t testing.TB, s string) narinfo.Key {
	t.Helper()
	k, err := narinfo.ParseKey(s)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestParse(t *testing.T) {
	in := parse(t, sample)
	if got := string(in.Format()); got != sample {
		t.Errorf("written back:\n%s", got)
	}
	if in.Name.Rest() != "net-tools-1.60_p20170221182432" || in.NarHash.Base32() != "0lxjvvpr59c2mdram7ympy5ay741f180kv3349hvfc3f8nrmbqf6" {
		t.Errorf("%+v", in)
	}
	if k, ok := in.SignedBy([]narinfo.Key{key(t, nixosKey)}); !ok || k.Name != "cache.nixos.org-1" {
		t.Error("a good signature does not verify")
	}
	for what, change := range map[string]func(*narinfo.Info){
		"size":  func(in *narinfo.Info) { in.NarSize++ },
		"hash":  func(in *narinfo.Info) { in.NarHash[3] ^= 1 },
		"name":  func(in *narinfo.Info) { in.Name += "x" },
		"refs":  func(in *narinfo.Info) { in.References = nil },
		"bytes": func(in *narinfo.Info) { in.Signatures[0].Bytes[0] ^= 1 },
		"by":    func(in *narinfo.Info) { in.Signatures = in.Signatures[1:] },
	} {
		in := parse(t, sample)
		change(in)
		if _, ok := in.SignedBy([]narinfo.Key{key(t, nixosKey)}); ok {
			t.Errorf("with another %s the signature verifies", what)
		}
	}
	// How the cache holds it may change.
	in.URL, in.Compression, in.FileHash = "x", "none", nil
	if _, ok := in.SignedBy([]narinfo.Key{key(t, nixosKey)}); !ok {
		t.Error("compressed otherwise, the signature does not verify")
	}
}

func TestRefused(t *testing.T) {
	for what, text := range map[string]string{
		"no url":         strings.Replace(sample, "URL: nar/", "Ulr: nar/", 1),
		"empty url":      strings.Replace(sample, "URL: nar/1094wph9z4nwlgvsd53abfz8i117ykiv5dwnq9nnhz846s7xqd7d.nar.xz", "URL: ", 1),
		"other store":    strings.Replace(sample, "/nix/store", "/gnu/store", 1),
		"twice":          sample + "NarSize: 1\n",
		"negative":       strings.Replace(sample, "NarSize: ", "NarSize: -", 1),
		"huge":           strings.Replace(sample, "NarSize: 464152", "NarSize: 999999999999999", 1),
		"hash":           strings.Replace(sample, "NarHash: sha256:0l", "NarHash: sha256:0e", 1),
		"md5":            strings.Replace(sample, "NarHash: sha256:", "NarHash: md5:", 1),
		"reference":      strings.Replace(sample, "References: 7", "References: ../7", 1),
		"signature":      strings.Replace(sample, "Sig: cache.nixos.org-1:sn", "Sig: cache.nixos.org-1:s", 1),
		"path within":    strings.Replace(sample, "20170221182432\nURL", "20170221182432/bin\nURL", 1),
		"no colon":       sample + "x\n",
		"blank":          "",
		"dotted":         strings.Replace(sample, "-net-tools-1.60_p20170221182432\nURL", "-../x\nURL", 1),
		"short of names": strings.Replace(sample, "-net-tools-1.60_p20170221182432\nURL", "-\nURL", 1),
	} {
		if _, err := narinfo.Parse([]byte(text)); err == nil {
			t.Errorf("%s is accepted", what)
		}
	}
}

// A key that Nix makes signs as Nix does: the signature is deterministic.
func TestSignAsNix(t *testing.T) {
	seed := bytes.Repeat([]byte{7}, 32)
	s, err := narinfo.NewSecret("test-1", seed)
	if err != nil {
		t.Fatal(err)
	}
	again, err := narinfo.ParseSecret(s.Text() + "\n")
	if err != nil || again.Key().String() != s.Key().String() {
		t.Fatal(err, again.Key())
	}
	theirs, err := signature.LoadSecretKey(s.Text())
	if err != nil {
		t.Fatal(err)
	}
	in := parse(t, sample)
	in.Sign(s)
	in.Sign(s)
	want, err := theirs.Sign(nil, in.Fingerprint())
	if err != nil || len(in.Signatures) != 3 || in.Signatures[2].String() != want.String() {
		t.Errorf("signed %v, go-nix signs %v (%v)", in.Signatures, want, err)
	}
	if _, ok := in.SignedBy([]narinfo.Key{s.Key()}); !ok {
		t.Error("the own signature does not verify")
	}
	for _, bad := range []string{"", "x", "x:", ":AA==", s.Text() + "A", strings.Replace(s.Text(), ":", ":A", 1), s.Key().String()} {
		if _, err := narinfo.ParseSecret(bad); err == nil || (bad != "" && strings.Contains(err.Error(), "Bw")) {
			t.Errorf("secret %q: %v", bad, err)
		}
	}
}

func TestHashForms(t *testing.T) {
	h, err := narinfo.ParseHash("sha256:0lxjvvpr59c2mdram7ympy5ay741f180kv3349hvfc3f8nrmbqf6")
	if err != nil {
		t.Fatal(err)
	}
	if got := nixbase32.EncodeToString(h[:]); got != h.Base32() {
		t.Errorf("base 32 %s, go-nix has %s", h.Base32(), got)
	}
	for _, form := range []string{h.Hex(), "sha256:" + h.Hex(), h.String(), h.Base32()} {
		if got, err := narinfo.ParseHash(form); err != nil || got != h {
			t.Errorf("%s: %v", form, err)
		}
	}
}

// What three generations of Nix print about one path is the same.
func TestPathInfo(t *testing.T) {
	const name = "7gx4kiv5m0i7d7qkixq2cwzbr10lvxwc-glibc-2.27"
	const body = `"deriver":"/nix/store/10dx1q4ivjb115y3h90mipaaz533nr0d-g.drv","narSize":464152,"references":["/nix/store/` + name + `"],"signatures":[]`
	h, _ := narinfo.ParseHash("sha256:0lxjvvpr59c2mdram7ympy5ay741f180kv3349hvfc3f8nrmbqf6")
	sri := "sha256-xrmvt0VjAcbm4Ut/XEMwgI4oM+WMKsRDGOrYpfbuFFs="
	if _, err := narinfo.ParseHash(sri); err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]string{
		"list":      `[{"path":"/nix/store/` + name + `","valid":true,"narHash":"` + h.String() + `",` + body + `}]`,
		"by path":   `{"/nix/store/` + name + `":{"narHash":"` + h.String() + `",` + body + `}}`,
		"versioned": `{"version":2,"storeDir":"/nix/store","info":{"` + name + `":{"narHash":{"algorithm":"sha256","format":"base16","hash":"` + h.Hex() + `"},` + body + `}}}`,
	} {
		got, err := narinfo.ParsePathInfo([]byte(text))
		if err != nil || len(got) != 1 || got[0].Name != name || got[0].NarHash != h || got[0].NarSize != 464152 || len(got[0].References) != 1 || !strings.HasSuffix(got[0].Deriver, "-g.drv") {
			t.Errorf("%s: %+v %v", what, got, err)
		}
	}
	for _, text := range []string{"", "3", `{"/nix/store/` + name + `":null}`, `[{"path":"/x","narHash":"` + h.Hex() + `","narSize":1}]`,
		`[{"path":"/nix/store/` + name + `","valid":false}]`, `[{"path":"/nix/store/` + name + `","narHash":3,"narSize":1}]`} {
		if _, err := narinfo.ParsePathInfo([]byte(text)); err == nil {
			t.Errorf("%s is accepted", text)
		}
	}
}

func TestRegistration(t *testing.T) {
	all := []narinfo.Info{*parse(t, sample), *parse(t, strings.Replace(strings.Replace(sample, "Deriver", "X", 1), "References: 7gx4kiv5m0i7d7qkixq2cwzbr10lvxwc-glibc-2.27", "References:", 1))}
	text := narinfo.Registration(all)
	got, err := narinfo.ParseRegistration(text)
	if err != nil || len(got) != 2 || !bytes.Equal(narinfo.Registration(got), text) {
		t.Fatalf("%v %v\n%s", got, err, text)
	}
	if none, err := narinfo.ParseRegistration(nil); err != nil || len(none) != 0 {
		t.Error(none, err)
	}
	for n := 1; n < len(text)-1; n += 7 {
		if got, err := narinfo.ParseRegistration(text[:n]); err == nil && len(got) == 2 {
			t.Errorf("cut at %d it is whole", n)
		}
	}
}

// The name of a content is that which Nix gives it.
func TestFixedAsNix(t *testing.T) {
	nix, err := exec.LookPath("nix-store")
	if err != nil {
		t.Skip("no nix-store: scripts/test-tools installs nix-bin")
	}
	dir := t.TempDir()
	cmd := exec.Command(nix, "--store", filepath.Join(dir, "s"), "--add", "testdata/one")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	dump, err := exec.Command("sh", "-c", "nix-store --dump testdata/one | sha256sum | cut -d' ' -f1").Output()
	if err != nil {
		t.Fatal(err)
	}
	h, err := narinfo.ParseHash(strings.TrimSpace(string(dump)))
	if err != nil {
		t.Fatal(err)
	}
	got, err := narinfo.Fixed(h, "one")
	if want := strings.TrimSpace(string(out)); err != nil || got.Path() != want {
		t.Errorf("%s, nix-store --add says %s (%v)", got.Path(), want, err)
	}
}

func FuzzNarinfo(f *testing.F) {
	f.Add(sample)
	f.Fuzz(func(t *testing.T, s string) {
		in, err := narinfo.Parse([]byte(s))
		if err != nil {
			return
		}
		again, err := narinfo.Parse(in.Format())
		if err != nil || again.Fingerprint() != in.Fingerprint() {
			t.Fatalf("%v\n%s", err, in.Format())
		}
		if theirs, err := theirhash.Parse(strings.NewReader(s)); err == nil && theirs.Fingerprint() != in.Fingerprint() && len(theirs.References) == len(in.References) && isSorted(theirs.References) {
			t.Fatalf("fingerprint %s, go-nix has %s", in.Fingerprint(), theirs.Fingerprint())
		}
	})
}

func isSorted(all []string) bool {
	for i := 1; i < len(all); i++ {
		if all[i-1] >= all[i] {
			return false
		}
	}
	return true
}

func FuzzRegistration(f *testing.F) {
	f.Add(narinfo.Registration([]narinfo.Info{*parse(f, sample)}))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := narinfo.ParseRegistration(b)
		if err != nil {
			return
		}
		again, err := narinfo.ParseRegistration(narinfo.Registration(got))
		if err != nil || len(again) != len(got) {
			t.Fatalf("%v\n%q", err, b)
		}
	})
}

func FuzzPathInfo(f *testing.F) {
	f.Add([]byte(`[{"path":"/nix/store/7gx4kiv5m0i7d7qkixq2cwzbr10lvxwc-g","narHash":"sha256:0lxjvvpr59c2mdram7ympy5ay741f180kv3349hvfc3f8nrmbqf6","narSize":1}]`))
	f.Add([]byte(`{"version":2,"info":{"7gx4kiv5m0i7d7qkixq2cwzbr10lvxwc-g":{"narHash":{"algorithm":"sha256","hash":"x"},"narSize":1}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := narinfo.ParsePathInfo(b)
		for _, in := range all {
			if err == nil && len(in.Name) <= narinfo.HashLen {
				t.Fatalf("%+v", in)
			}
		}
	})
}
