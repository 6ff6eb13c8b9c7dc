package linux

import (
	"bytes"
	"os"
	"testing"
)

func TestEFIText(t *testing.T) {
	v := EFIText{Dir: t.TempDir(), Name: "LoaderEntryOneShot", Vendor: "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"}
	if got, err := v.Get(); got != "" || err != nil {
		t.Errorf("a variable that is not there: %q, %v", got, err)
	}
	if err := v.Delete(); err != nil {
		t.Error(err)
	}
	for _, text := range []string{"instar-0123456789ab.efi@night", "é𝄞"} {
		os.Remove(v.path()) // efivarfs replaces the content with each write
		if err := v.Set(text); err != nil {
			t.Fatal(err)
		}
		if got, err := v.Get(); got != text || err != nil {
			t.Errorf("got %q, %v; want %q", got, err, text)
		}
	}
	b, err := os.ReadFile(v.path())
	want := []byte{7, 0, 0, 0, 0xe9, 0, 0x34, 0xd8, 0x1e, 0xdd, 0, 0}
	if err != nil || !bytes.Equal(b, want) {
		t.Errorf("% x, %v; want % x", b, err, want)
	}
	if err := v.Delete(); err != nil {
		t.Error(err)
	}
	if got, err := v.Get(); got != "" || err != nil {
		t.Errorf("a variable that was deleted: %q, %v", got, err)
	}
}

func FuzzEFIText(f *testing.F) {
	f.Add([]byte{7, 0, 0, 0, 'a', 0, 0, 0})
	f.Add([]byte{7, 0, 0, 0, 0, 0xd8})
	f.Add([]byte{7})
	f.Fuzz(func(t *testing.T, b []byte) {
		text, err := decodeEFIText(b)
		if err != nil {
			return
		}
		if again, err := decodeEFIText(encodeEFIText(text)); err == nil && again != text {
			t.Errorf("%q became %q", text, again)
		}
	})
}
