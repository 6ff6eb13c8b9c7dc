package container

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/system"
)

// TestSpare holds that a container that starts in a spare is the one that it
// would be without, that a spare is taken once, and that spares that are not
// wanted leave nothing.
func TestSpare(t *testing.T) {
	w := newWorld(t)
	w.Cgroup = cgroup2(t)
	c := w.container(t, nil)
	other := *c // of another configuration: the same name at the same time
	bad := *c
	bad.Image.Digest = digest.Of([]byte("no such image"))
	keep := func(which ...*system.Container) {
		t.Helper()
		if err := w.KeepSpares(func(c *system.Container) bool { return slices.Contains(which, c) }); err != nil {
			t.Error(err)
		}
	}
	usual := w.sandbox(t, c)
	before := leftovers(t, w)
	want := lasting(t, usual)
	var e error
	if e = w.Spare(&bad); e == nil {
		t.Error("there is a spare without an image")
	}
	for range 2 { // the second time does nothing
		if err := w.Spare(&other); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(spareNames(t, w)); n != 1 {
		t.Errorf("%d spares, want 1", n)
	}
	keep(&other)
	if err := usual.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := w.Prepare(&other, "night")
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Base(s.place) != spareNames(t, w)[0] {
		t.Errorf("the spare was not taken: %s", s.place)
	}
	if s.cgroup == nil || filepath.Base(s.cgroup.dir) != c.Name {
		t.Error("the spare did not get its control group")
	}
	enforced(t, s)
	for key, got := range lasting(t, s) {
		if want[key] != got {
			t.Errorf("%s in a spare:\n%s\nwithout:\n%s", key, got, want[key])
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = w.Prepare(&other, "night"); err != nil || filepath.Base(s.place) != c.Name {
		t.Fatalf("the second Prepare: %v", err)
	}
	if err := errors.Join(w.Spare(&other), w.Spare(c)); err != nil {
		t.Error(err)
	}
	if n := len(spareNames(t, w)); n != 2 {
		t.Errorf("%d spares, want 2", n)
	}
	keep()
	if after := leftovers(t, w); after != before {
		t.Errorf("%s before, %s after", before, after)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// lasting returns what a process sees in a sandbox, without what two processes
// never have in common.
func lasting(t *testing.T, s *Sandbox) map[string]string {
	t.Helper()
	var all map[string]json.RawMessage
	if err := json.Unmarshal([]byte(succeed(t, s.Start, "report")), &all); err != nil {
		t.Fatal(err)
	}
	delete(all, "Status")
	delete(all, "FDs")
	out := map[string]string{}
	for key, value := range all {
		out[key] = string(value)
	}
	if out["Mounts"] == "" {
		t.Error("no mounts are reported")
	}
	return out
}

// TestNoSpare has containers whose sandboxes cannot wait.
func TestNoSpare(t *testing.T) {
	w := newWorld(t)
	for _, edit := range []func(*system.Container){
		func(c *system.Container) { c.Data = []system.Data{{Path: "/var/lib/x", Version: 1, Mode: 0o750}} },
		func(c *system.Container) { c.Network = system.MemberNetwork },
	} {
		c := &system.Container{Name: "probe"}
		edit(c)
		if CanSpare(c) || w.Spare(c) != nil || len(spareNames(t, w)) != 0 {
			t.Errorf("%+v can wait", c)
		}
	}
}

// spareNames returns the mount points of spares.
func spareNames(t *testing.T, w *world) (names []string) {
	t.Helper()
	list, err := os.ReadDir(w.State)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if e.Name()[0] == '.' {
			names = append(names, e.Name())
		}
	}
	return names
}
