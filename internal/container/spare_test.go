package container

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/launch"
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

// spare makes a spare and takes it.
func (w *world) spare(t *testing.T, c *system.Container) *Sandbox {
	t.Helper()
	if err := w.Spare(c); err != nil {
		t.Fatal(err)
	}
	s, err := w.Prepare(c, "night")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestPoised holds that the first process of a spare is what it would be
// without, and that every way to its end leaves nothing.
func TestPoised(t *testing.T) {
	w := newWorld(t)
	w.Cgroup = cgroup2(t)
	c := w.container(t, nil)

	usual := w.sandbox(t, c)
	want := lasting(t, usual)
	if err := usual.Close(); err != nil {
		t.Fatal(err)
	}
	before := leftovers(t, w) // with the filter that all share
	s := w.spare(t, c)
	if s.poised == nil {
		t.Fatal("no process waits for the start")
	}
	enforced(t, s)
	s.Close()
	s = w.spare(t, c)
	for range 2 { // what waits is the first; the second is made as usual
		for key, got := range lasting(t, s) {
			if want[key] != got {
				t.Errorf("%s in a spare:\n%s\nwithout:\n%s", key, got, want[key])
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}

	s = w.spare(t, c) // killed by somebody while it waits
	if err := errors.Join(unix.Kill(s.poised.pid, unix.SIGKILL), await(s.poised)); err != nil {
		t.Fatal(err)
	}
	if out := succeed(t, s.Start, "report"); out == "" {
		t.Error("nothing runs in place of what was killed")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}

	s = w.spare(t, c) // never started
	if err := s.Close(); err != nil {
		t.Error(err)
	}

	s = w.spare(t, c)
	var e *launch.Error
	if _, err := s.Start([]string{"/no/such"}, nil, nil, nil); !errors.As(err, &e) || e.Errno != unix.ENOENT || e.Op != len(s.start.program.Ops)-1 {
		t.Errorf("a program that is not there: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}

	other := *c // takes the control group of a spare that is not taken
	if err := errors.Join(w.Spare(c), w.Spare(&other)); err != nil {
		t.Fatal(err)
	}
	s, err := w.Prepare(&other, "night")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(spareNames(t, w)); n != 1 {
		t.Errorf("%d spares beside the container, want none but its own", n)
	}
	succeed(t, s.Start, "report")
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if after := leftovers(t, w); after != before {
		t.Errorf("%s before, %s after", before, after)
	}
}

// await waits for the end of a process that waits.
func await(h *poised) error {
	for range 1000 {
		if atomic.LoadUint32(h.tid) == 0 {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return errors.New("it does not end")
}
