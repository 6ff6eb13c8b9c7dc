package trust

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func testKey(t testing.TB, seed string) Private {
	t.Helper()
	k, err := NewKey(strings.NewReader(strings.Repeat(seed, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestEnvelope(t *testing.T) {
	one, two := testKey(t, "1"), testKey(t, "2")
	text, err := Seal([]Private{one, two}, "text/x", []byte("payload"))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []Private{one, two} {
		if got, id, err := (Keys{k.Public()}).OpenEnvelope(text, "text/x"); err != nil || string(got) != "payload" || id != k.Public().ID() {
			t.Errorf("%q %s %v", got, id, err)
		}
	}
	if _, _, err := (Keys{testKey(t, "3").Public()}).OpenEnvelope(text, "text/x"); !errors.Is(err, ErrUntrusted) {
		t.Error(err)
	}
	if _, _, err := (Keys{one.Public()}).OpenEnvelope(text, "text/y"); err == nil {
		t.Error("another type is taken")
	}
	// Each change of what is signed, or of a trusted signature, is found.
	for _, old := range []string{`"cGF5`, `"text/x"`} {
		bad := bytes.Replace(text, []byte(old), []byte(strings.ToUpper(old)), 1)
		if _, _, err := (Keys{one.Public()}).OpenEnvelope(bad, strings.Trim(strings.ToUpper(old), `"`)); err == nil {
			t.Errorf("%s changed is taken", old)
		}
	}
	// A signature of another purpose is none of an envelope.
	if s := one.Sign("DSSEv1", []byte("x")); bytes.Equal(preAuth("a", nil)[:7], purposed("DSSEv1", []byte("x"))[:7]) {
		t.Error("a purpose makes what an envelope signs", s.Key)
	}
}

func FuzzOpenEnvelope(f *testing.F) {
	k := testKey(f, "1")
	text, err := Seal([]Private{k}, "t", []byte("p"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"payloadType": "t", "payload": "", "signatures": [{"keyid": "", "sig": "="}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, _, err := (Keys{k.Public()}).OpenEnvelope(b, "t"); err == nil && string(got) != "p" {
			t.Fatalf("%q is signed", got)
		}
	})
}
