package store

import (
	"errors"
	"os"
	"testing"

	"github.com/instar-os/instar/internal/system"
)

// TestCommitOrder lets either sync of a commit fail: before the first, no
// object may have its name, and after a failure no commit may claim success.
func TestCommitOrder(t *testing.T) {
	broken := errors.New("broken disk")
	for _, test := range []struct {
		fail  int // which sync fails; 0 for none
		named bool
	}{{0, true}, {1, false}, {2, true}} {
		s, err := Open(t.TempDir(), Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		d, err := s.PutBytes([]byte("content"))
		if err != nil {
			t.Fatal(err)
		}
		named := func() bool {
			_, err := os.Stat(s.ObjectPath(d))
			return err == nil
		}
		calls := 0
		s.staging.sync = func(string) error {
			calls++
			if want := calls > 1; named() != want {
				t.Errorf("at sync %d the object has its name: %v", calls, named())
			}
			if calls == test.fail {
				return broken
			}
			return nil
		}
		for range 2 {
			if err := s.Commit(); errors.Is(err, broken) != (test.fail > 0) {
				t.Errorf("sync %d failed: commit says %v", test.fail, err)
			}
		}
		if named() != test.named {
			t.Errorf("sync %d failed: the object has its name: %v", test.fail, named())
		}
		if want := max(test.fail, 1); calls < want || test.fail == 0 && calls != 2 {
			t.Errorf("sync %d failed: %d syncs", test.fail, calls)
		}
		if b, err := s.Bytes(d, 100); err != nil || string(b) != "content" {
			t.Errorf("sync %d failed: %q, %v", test.fail, b, err)
		}
	}
}

// TestSystemWaitsForOthers: an object that another process has given its name
// may not be durable yet, so a system of such objects is preceded by a sync.
func TestSystemWaitsForOthers(t *testing.T) {
	s, err := Open(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	broken := errors.New("broken disk")
	s.staging.sync = func(string) error { return broken }
	if _, err := s.PutSystem(&system.Manifest{Version: system.Version}); !errors.Is(err, broken) {
		t.Errorf("a system without a sync before it: %v", err)
	}
	if list, err := s.Systems(); err != nil || len(list) != 0 {
		t.Errorf("systems %v, %v", list, err)
	}
}
