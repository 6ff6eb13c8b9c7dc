package lock

import (
	"strings"
	"testing"
)

func TestDiff(t *testing.T) {
	new := sample()
	new.Suites[1].Date, new.Suites[1].InRelease = "2026-11-21T08:00:00Z", hash("0")
	in := new.Arches["amd64"]
	in.Packages[0].Scripts[0].Accepted = ""
	in.Packages[0].Scripts[1].SHA256 = hash("2")
	in.Packages[1] = Package{Name: "libc6", Version: "2.41-13", Arch: "amd64", SHA256: hash("4"), Size: 3 << 20}
	in.Packages[3] = Package{Name: "mosquitto", Version: "2.0.21-1", Arch: "amd64", SHA256: hash("8"), Size: 500, Scripts: []Script{{Name: "postinst", SHA256: hash("8")}}}
	new.Tools["amd64"].Packages[0].SHA256 = hash("3")
	new.Tools["arm64"] = &Inputs{Packages: []Package{{Name: "libc6", Version: "2.41-13", Arch: "amd64", SHA256: hash("4"), Size: 3 << 20}}}
	new.Users.UIDs = map[string]uint32{"mosquitto": 991, "_apt": 42, "sshd": 8}
	new.Files = []File{{Tree: "panel", SHA256: hash("0"), Size: 2048}}
	const want = `suite debian/trixie-updates: 2026-11-20T20:11:05Z -> 2026-11-21T08:00:00Z
amd64: 1 added, 1 removed, 1 changed, 3.0 MiB to download
  + mosquitto 2.0.21-1, 500 B
  - tzdata 2025b
  ~ libc6 2.41-12 -> 2.41-13, 3.0 MiB
  ! postinst of dbus: no longer accepted
  ! triggers of dbus: changed
  ! postinst of mosquitto: new
tools amd64: 0 added, 0 removed, 1 changed, 5 B to download
  ~ qemu-system-x86 1:10.0.2+ds-2 with other content, 5 B
tools arm64: 1 added, 0 removed, 0 changed, 3.0 MiB to download
  + libc6 2.41-13, 3.0 MiB
file of tree panel: changed, 2.0 KiB
file of tree panel (arm64): gone
user mosquitto: 990 -> 991
user sshd: new, 8
user y: gone, was 7
to download: 3.0 MiB
`
	c := Diff(sample(), new)
	if got := c.String(); got != want {
		t.Errorf("got\n%s", got)
	}
	if got := int64(3<<20 + 500 + 5 + 2048); c.Download != got {
		t.Errorf("download %d, want %d: each content counts once", c.Download, got)
	}
	if c := Diff(sample(), sample()); !c.Empty() || c.String() != "nothing changed\n" || c.Download != 0 {
		t.Errorf("a lock differs from itself: %s", c)
	}
	if c := Diff(nil, sample()); len(c.Arches) != 2 || len(c.Arches[0].Added) != 4 || !strings.Contains(c.String(), "suite debian/trixie: new, ") {
		t.Errorf("from nothing: %s", c)
	}
}
