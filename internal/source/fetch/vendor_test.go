package fetch

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestVendor(t *testing.T) {
	content := []byte("pinned content")
	sum := sha256.Sum256(content)
	name := hex.EncodeToString(sum[:])
	c := &Client{Dir: t.TempDir(), Vendor: t.TempDir(), Offline: true}
	req := Request{URL: "http://127.0.0.1:1/x", SHA256: name, Size: int64(len(content)), What: "x"}
	if _, err := c.Get(t.Context(), req); !errors.As(err, new(*Missing)) {
		t.Fatalf("without the file: %v, want *Missing", err)
	}
	at := filepath.Join(c.Vendor, "files", name[:2], name)
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at, []byte("damaged content"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(t.Context(), req); !errors.As(err, new(*Mismatch)) {
		t.Fatalf("with a damaged file: %v, want *Mismatch", err)
	}
	if err := os.WriteFile(at, content, 0o644); err != nil {
		t.Fatal(err)
	}
	path, err := c.Get(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != string(content) {
		t.Fatalf("got %q, %v", got, err)
	}
}
