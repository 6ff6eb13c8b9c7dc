package assemble

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"testing"

	"github.com/instar-os/instar/internal/digest"
)

// Objects are found by the SHA-256 of their content, damaged ones are not.
func TestContents(t *testing.T) {
	st := newWorld(t).b.Store
	bodies := []string{"one content", "two content", "another size"}
	for _, b := range bodies {
		if _, err := st.PutBytes([]byte(b)); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.Commit(); err != nil {
		t.Fatal(err)
	}
	damaged := st.ObjectPath(digest.Of([]byte(bodies[1])))
	if err := os.Remove(damaged); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(damaged, []byte("tw0 content"), 0o555); err != nil {
		t.Fatal(err)
	}
	c := &contents{store: st}
	find := func(body string, size int64) bool {
		sum := sha256.Sum256([]byte(body))
		d, ok := c.lookup(hex.EncodeToString(sum[:]), size)
		return ok && d == digest.Of([]byte(body))
	}
	for body, want := range map[string]bool{bodies[0]: true, bodies[1]: false, bodies[2]: true, "not there": false} {
		for range 2 {
			if got := find(body, int64(len(body))); got != want {
				t.Errorf("%q is found: %v, want %v", body, got, want)
			}
		}
	}
	sum := sha256.Sum256([]byte(bodies[0]))
	if _, ok := (&contents{store: st}).lookup(hex.EncodeToString(sum[:]), 5); ok {
		t.Error("a content of another size is found")
	}
}
