package store_test

import (
	"testing"

	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/store/storetest"
)

func open(t *testing.T) *store.Store { return openAt(t, t.TempDir()) }

func openAt(t *testing.T, dir string) *store.Store {
	t.Helper()
	s, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestSuite(t *testing.T) { storetest.Run(t, open) }
