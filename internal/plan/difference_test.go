package plan_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/plan"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/tree"
)

func TestDiffer(t *testing.T) {
	w := newWorld(t)
	first := w.system(nil)
	other := tree.New()
	put := func(p, content string, mode uint16, uid uint32) {
		d, err := w.s.PutBytes([]byte(content))
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Put(p, tree.Entry{Kind: tree.File, Mode: mode, UID: uid, Size: int64(len(content)), Digest: d}); err != nil {
			t.Fatal(err)
		}
	}
	put("bin/a", strings.Repeat("a", 1000), 0o4755, 7)
	put("etc/new", "new", 0o644, 0)
	if err := other.Put("etc/conf", tree.Entry{Kind: tree.Symlink, Mode: 0o777, Target: "new"}); err != nil {
		t.Fatal(err)
	}
	image, err := w.s.PutImage(t.Context(), other)
	if err != nil {
		t.Fatal(err)
	}
	second := w.system(func(m *system.Manifest) {
		m.Machine = "another" // two machines may be compared
		m.Configurations[0].Containers[0].Image = image
		m.Kernel.Modules = []string{"ext4", "xfs"}
		m.Packages = []system.Package{{Name: "a", Version: "2"}}
		m.Configurations = append(m.Configurations, system.Configuration{Name: "night", Containers: m.Configurations[0].Containers[1:]})
	})
	d, err := plan.Differ(w.s, first, second)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range d.Files {
		got = append(got, fmt.Sprintf("%s %s %s %v %s > %s", f.Container, f.Path, f.Act, f.What, f.From, f.To))
	}
	want := []string{
		"c0 /bin/a changed [mode owner] 0644, 0:0 > 4755, 7:0",
		"c0 /etc/conf changed [kind mode] file, 0644 > symlink, 0777",
		"c0 /etc/gone removed []  > ", "c0 /etc/new added []  > ",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if fmt.Sprint(d.Images) != "[{c0 1000 0 3 1} {c1 1000 0 0 0}]" || fmt.Sprint(d.Modules) != "[{virtio_net removed} {xfs added}]" ||
		fmt.Sprint(d.Configurations) != "[{night added}]" || fmt.Sprint(d.Packages) != "[{a 1 2} {b 1 }]" {
		t.Errorf("%v %v %v %v", d.Images, d.Modules, d.Configurations, d.Packages)
	}
	if d.Shared <= 0 || d.A.Bytes != d.Shared+d.A.Alone || d.B.Bytes != d.Shared+d.B.Alone || d.Same() {
		t.Errorf("%+v", d)
	}
	if d, err = plan.Differ(w.s, first, first); err != nil || !d.Same() || len(d.Files)+len(d.Packages)+len(d.Kernel) > 0 || d.A.Alone != 0 {
		t.Errorf("%+v, %v", d, err)
	}
}
