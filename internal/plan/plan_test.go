package plan_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/plan"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/store/storetest"
	"github.com/instar-os/instar/internal/system"
)

// world is a store with a first system, and others made of it by a change.
type world struct {
	t *testing.T
	s *store.Store
}

func newWorld(t *testing.T) *world {
	s, err := store.Open(filepath.Join(t.TempDir(), "store"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return &world{t, s}
}

func (w *world) image(files map[string]string) system.Object {
	w.t.Helper()
	o, err := w.s.PutImage(w.t.Context(), storetest.PutTree(w.t, w.s, files))
	if err != nil {
		w.t.Fatal(err)
	}
	return o
}

func (w *world) system(change func(m *system.Manifest)) digest.Digest {
	w.t.Helper()
	one := w.image(map[string]string{"bin/a": strings.Repeat("a", 1000), "etc/conf": "day", "etc/gone": "x"})
	two := w.image(map[string]string{"bin/b": strings.Repeat("b", 1000)})
	m := storetest.Manifest(w.t, w.s, one, two)
	m.Epoch = 1000
	m.Packages = []system.Package{{Name: "a", Version: "1"}, {Name: "b", Version: "1"}}
	m.Kernel.Modules = []string{"ext4", "virtio_net"}
	m.Configurations[0].Containers[0].Data = []system.Data{{Path: "/data", Version: 2}}
	if change != nil {
		change(m)
	}
	d, err := w.s.PutSystem(m)
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

func TestCompare(t *testing.T) {
	w := newWorld(t)
	first := w.system(nil)
	for _, row := range []struct {
		name   string
		change func(m *system.Manifest)
		want   []string
	}{
		{"nothing but the name of the build", func(m *system.Manifest) { m.Epoch++ }, []string{"c0 kept []", "c1 kept []"}},
		{"an image", func(m *system.Manifest) {
			m.Configurations[0].Containers[0].Image = w.image(map[string]string{"bin/a": strings.Repeat("A", 900), "etc/conf": "day", "etc/new": "new"})
		}, []string{"c0 changed [image]", "c1 kept []", "added 1 3", "changed 1 900", "removed 1 1"}},
		{"containers", func(m *system.Manifest) {
			c := &m.Configurations[0]
			c.Containers[1].Name, c.Containers[0].Env = "c2", []string{"A=b"}
		}, []string{"c0 changed [env]", "c2 added []", "c1 removed []", "added 1 1000", "removed 1 1000"}},
		{"packages", func(m *system.Manifest) {
			m.Packages = []system.Package{{Name: "b", Version: "2"}, {Name: "c", Version: "1"}, {Name: "c", Version: "1", Trees: []string{"other"}}}
		}, []string{"c0 kept []", "c1 kept []", "package a 1 -> ", "package b 1 -> 2", "package c  -> 1"}},
		{"what is older", func(m *system.Manifest) {
			m.Epoch, m.Configurations[0].Containers[0].Data[0].Version, m.Kernel.Modules = 10, 1, []string{"ext4"}
		}, []string{"c0 changed [data]", "c1 kept []", "data /data 2 -> 1", "no age", "no data versions", "modules: no longer there: virtio_net; only the machine knows whether it uses them"}},
		{"a configuration", func(m *system.Manifest) {
			m.Configurations = append(m.Configurations, system.Configuration{Name: "night", Containers: m.Configurations[0].Containers[:1]})
		}, []string{"c0 kept []", "c1 kept []", "c0 added []"}},
	} {
		p, err := plan.Compare(w.s, first, w.system(row.change), true)
		if err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		if got := lines(p); !slices.Equal(got, row.want) {
			t.Errorf("%s:\n%s\nwant\n%s", row.name, strings.Join(got, "\n"), strings.Join(row.want, "\n"))
		}
	}
}

func lines(p *plan.Plan) []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, c := range p.Containers {
		add("%s %s %v", c.Name, c.Act, c.Why)
	}
	for _, c := range p.Packages {
		add("package %s %s -> %s", c.Name, c.From, c.To)
	}
	for i, n := range []store.Amount{p.Files.Added, p.Files.Changed, p.Files.Removed} {
		if n.Files > 0 {
			add("%s %d %d", []plan.Act{plan.Added, plan.Changed, plan.Removed}[i], n.Files, n.Bytes)
		}
	}
	for _, d := range p.Data {
		add("data %s %d -> %d", d.Path, d.From, d.To)
	}
	for _, v := range p.Verdicts {
		switch {
		case v.What == "real time": // TestInTime
		case !v.OK:
			add("no %s", v.What)
		case v.Text != "":
			add("%s: %s", v.What, v.Text)
		}
	}
	return out
}

func TestReboot(t *testing.T) {
	w := newWorld(t)
	first := w.system(nil)
	other, err := w.s.PutBytes([]byte("another kernel"))
	if err != nil {
		t.Fatal(err)
	}
	second := w.system(func(m *system.Manifest) {
		m.Kernel.Image = system.Object{Digest: other, Size: 14}
		m.Kernel.Command = []string{"quiet"}
	})
	p, err := plan.Compare(w.s, first, second, false)
	if err != nil || len(p.Reboot) != 3 || p.Reboot[0] != "another kernel" || p.Reboot[1] != "another kernel command line" {
		t.Errorf("%v, %v", p, err)
	}
	strange := w.system(func(m *system.Manifest) { m.Machine = "another" })
	if _, err := plan.Compare(w.s, first, strange, false); err == nil {
		t.Error("systems of two machines")
	}
}
