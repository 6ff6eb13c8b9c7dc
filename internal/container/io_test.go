package container

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/system"
)

// twoDisks is a machine with two disks, the first of which has the data.
type twoDisks struct {
	t       *testing.T
	weighed int
}

func (d *twoDisks) Find(m *system.DeviceMatch) ([]Disk, error) {
	switch {
	case m == nil:
		return []Disk{{8, 0}}, nil
	case m.Name == "sd?":
		return []Disk{{8, 0}, {8, 16}}, nil
	}
	return nil, errors.New("no disk is name " + m.Name)
}

func (d *twoDisks) Weigh() error { d.weighed++; return nil }

// A fake cgroup takes what is written; the kernel's own is written to in the
// virtual machine of test/e2e.
func TestDiskLimits(t *testing.T) {
	parent := t.TempDir()
	put := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(parent, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("cgroup.subtree_control", "io memory")
	dir, err := os.Open(parent)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	fake := &cgroup{dir: parent, fd: int(dir.Fd())}
	g := fake
	disks := &twoDisks{t: t}
	r := &Runtime{Cgroup: parent, Disks: disks}
	limits := system.Limits{IOWeight: 50, Disks: []system.DiskLimit{{Write: 1 << 20, ReadOps: 7}, {Disk: &system.DeviceMatch{Name: "sdz"}, Read: 1}}}

	want := func(what string, parts ...string) {
		t.Helper()
		got := r.limitDisks(g, limits)
		if len(got) != len(parts) {
			t.Errorf("%s: %q", what, got)
			return
		}
		for i, part := range parts {
			if !strings.Contains(got[i], part) {
				t.Errorf("%s: %q has no %q", what, got[i], part)
			}
		}
	}
	want("a kernel without both", "CONFIG_BLK_CGROUP_IOCOST", "rbps=max wbps=1048576 riops=7 wiops=max is not enforced: the kernel has no limits of disks (CONFIG_BLK_DEV_THROTTLING)", "no disk is name sdz")
	put("io.weight", "default 100")
	put("io.max", "")
	want("an unknown disk", "no disk is name sdz")
	limits.Disks = limits.Disks[:1]
	want("all is there")
	for name, content := range map[string]string{"io.weight": "50fault 100", "io.max": "8:0 rbps=max wbps=1048576 riops=7 wiops=max"} {
		if got, err := os.ReadFile(filepath.Join(parent, name)); err != nil || string(got) != content {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	expect(t, "times that weights were switched on", disks.weighed, 2)
	r.Disks = nil
	want("no disks are known", "not known", "not known")
	put("cgroup.subtree_control", "memory")
	if err := os.Chmod(filepath.Join(parent, "cgroup.subtree_control"), 0o444); err != nil {
		t.Fatal(err)
	}
	g = nil
	want("no cgroup", "it has no cgroup on this machine")
	limits = system.Limits{}
	want("nothing is limited")

	put("io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0\n8:16 rbytes=9\nnonsense\n")
	put("io.max", "8:0 rbps=max wbps=1048576 riops=7 wiops=max\n253:1 rbps=5 wbps=max riops=max wiops=6\n")
	s := &Sandbox{cgroup: fake}
	if got := s.Disks(); !slices.Equal(got, []DiskUse{
		{Disk: Disk{8, 0}, Read: 1, Written: 2, Reads: 3, Writes: 4, MaxWrite: 1 << 20, MaxReads: 7},
		{Disk: Disk{8, 16}, Read: 9},
		{Disk: Disk{253, 1}, MaxRead: 5, MaxWrites: 6},
	}) {
		t.Errorf("%+v", got)
	}
}
