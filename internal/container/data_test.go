package container

import (
	"testing"

	"github.com/instar-os/instar/internal/system"
)

// TestSharedData has two configurations with one container: what is shared
// is seen by both, what is not by its own.
func TestSharedData(t *testing.T) {
	w := newWorld(t)
	c := w.container(t, func(c *system.Container) {
		c.Data = []system.Data{{Path: "/var/lib/a-b", Version: 1, Mode: 0o755, Shared: true}}
	})
	place := func(configuration string, shared bool) string {
		t.Helper()
		c.Data[0].Shared = shared
		held, err := w.openData(c, configuration)
		if err != nil {
			t.Fatal(err)
		}
		defer held.release()
		return held.directories()[0]
	}
	if day, night := place("day", true), place("night", true); day != night {
		t.Errorf("shared data is at %s and %s", day, night)
	}
	if day, night := place("day", false), place("night", false); day == night {
		t.Errorf("both configurations keep their own data at %s", day)
	}
}
