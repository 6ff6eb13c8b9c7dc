package trust

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func key(t *testing.T, fill byte) Private {
	t.Helper()
	k, err := NewKey(bytes.NewReader(bytes.Repeat([]byte{fill}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestFiles(t *testing.T) {
	k := key(t, 1)
	back, err := ParsePrivate(string(k.File()))
	if err != nil || !bytes.Equal(back.File(), k.File()) || back.Public() != k.Public() {
		t.Fatalf("read back: %v", err)
	}
	p, err := ParsePublic(" " + k.Public().String() + "\n")
	if err != nil || p != k.Public() {
		t.Fatalf("public half: %v", err)
	}
	if s := k.String(); strings.Contains(string(k.File()), s) || !strings.Contains(s, p.ID().String()) {
		t.Errorf("String is %q", s)
	}
	for _, bad := range []string{"", "instar-public-1:", "instar-public-1:AAAA", k.Public().String() + "A",
		string(k.File()), "instar-public-1:" + strings.Repeat("!", 43), strings.Repeat("x", MaxFile+1)} {
		if _, err := ParsePublic(bad); err == nil {
			t.Errorf("%q is a public key", bad)
		}
	}
	if _, err := NewKey(strings.NewReader("short")); err == nil {
		t.Error("a key of 5 random bytes")
	}
}

func TestVerify(t *testing.T) {
	a, b, c := key(t, 1), key(t, 2), key(t, 3)
	keys, err := ParseKeys([]string{a.Public().String(), b.Public().String()})
	if err != nil {
		t.Fatal(err)
	}
	msg := []byte("message")
	sa, sb, sc := a.Sign("p", msg), b.Sign("p", msg), c.Sign("p", msg)
	for _, s := range [][]Signature{{sa}, {sc, sb}, {sb, sa}} {
		if _, err := keys.Verify("p", msg, s); err != nil {
			t.Errorf("signed by a trusted key: %v", err)
		}
	}
	forged := sa
	forged.Bytes[5] ^= 1
	renamed := sc
	renamed.Key = sa.Key
	for name, s := range map[string][]Signature{"another key": {sc}, "nobody": nil, "forged": {forged},
		"forged beside a good one": {forged, sb}, "another's under a trusted name": {renamed}} {
		if _, err := keys.Verify("p", msg, s); err == nil {
			t.Errorf("%s: verified", name)
		}
	}
	if _, err := keys.Verify("q", msg, []Signature{sa}); err == nil {
		t.Error("a signature for another purpose")
	}
	if _, err := keys.Verify("p", []byte("messagf"), []Signature{sa}); err == nil {
		t.Error("a signature of another message")
	}
	if _, err := Keys(nil).Verify("p", msg, []Signature{sa}); !errors.Is(err, ErrUntrusted) {
		t.Errorf("nobody trusted: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("instar-public-1:" + strings.Repeat("A", 43))
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePublic(s)
		if err == nil && strings.TrimSpace(s) != p.String() {
			t.Errorf("%q reads as %q", s, p)
		}
	})
}
