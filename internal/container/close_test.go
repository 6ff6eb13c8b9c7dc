package container

import (
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/system"
)

// open lists our descriptors and what they are.
func open(t *testing.T) []string {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range list {
		to, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil {
			all = append(all, e.Name()+" "+to)
		}
	}
	return all
}

// TestClosedByHand starts containers, some of which fail at each stage, while
// the garbage collector, which would close what is forgotten, stands still.
func TestClosedByHand(t *testing.T) {
	w := newWorld(t)
	w.Cgroup = cgroup2(t)
	loops := system.Device{Name: "loops", To: "/dev/own/loops", Access: "rw"}
	good := w.container(t, func(c *system.Container) { c.Devices = []system.Device{loops} })
	plain := w.container(t, func(c *system.Container) { c.Name, c.Init = "plain", true })
	succeed(t, w.sandbox(t, plain).Start, "exit", "0") // descriptors of the Go runtime's own are open from here
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))

	rows := []struct {
		name string
		edit func(*system.Container)
	}{
		{"no links", func(c *system.Container) { c.Descriptors = []system.Descriptor{{Link: "x"}} }},
		{"no network", func(c *system.Container) { c.Network = system.MemberNetwork }},
		{"no image", func(c *system.Container) { c.Image.Digest = digest.Of([]byte("no such image")) }},
		{"no range of users", func(c *system.Container) { c.IDs.Base = ^uint32(0) }},
	}
	for _, from := range []*system.Container{good, plain} {
		r := &Runtime{Store: w.Store, Data: w.Data, State: w.State, Cgroup: w.Cgroup}
		before := open(t)
		for _, row := range rows {
			c := *from
			c.Name = "bad"
			row.edit(&c)
			if s, err := r.Prepare(&c, "day"); err == nil {
				t.Errorf("%s: it was prepared", row.name)
				s.Close()
			}
		}
		c := *from
		c.Name = "good"
		s, err := r.Prepare(&c, "day")
		if err != nil {
			t.Fatal(err)
		}
		if len(c.Devices) > 0 {
			if err := s.AddDevice(loops, false, 10, 237); err != nil {
				t.Error(err)
			}
		}
		if _, err := s.Start([]string{"/no/such/program"}, nil, nil, nil); err == nil {
			t.Error("a program that is not there was started")
		}
		p, err := s.Start([]string{"/bin/probe", "exit", "0"}, nil, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Wait(); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if after := open(t); !slices.Equal(before, after) {
			t.Errorf("open before: %q\nafter: %q", before, after)
		}
	}
}
