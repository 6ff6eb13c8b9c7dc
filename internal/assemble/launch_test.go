package assemble

import (
	"testing"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/tree"
)

// TestRangesAreExclusive holds that no two containers of a machine share users,
// whatever configurations they are in.
func TestRangesAreExclusive(t *testing.T) {
	def := &config.Definition{
		Containers: map[string]config.Container{"a": {UserNS: "private"}, "b": {UserNS: "host"}, "c": {UserNS: "private"}, "unused": {}},
		Configurations: map[string]config.Configuration{
			"day": {Containers: []string{"c", "b"}}, "night": {Containers: []string{"a", "c"}},
		},
	}
	for name, want := range map[string]system.IDRange{"a": {Base: 1 << 16, Count: 1 << 16}, "b": {}, "c": {Base: 3 << 16, Count: 1 << 16}} {
		if got := idRange(def, name); got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}

func TestCheckOwners(t *testing.T) {
	tr := tree.New()
	for p, uid := range map[string]uint32{"a": 0, "b": 65535} {
		if err := tr.Put(p, tree.Entry{Kind: tree.Dir, Mode: 0o755, UID: uid}); err != nil {
			t.Fatal(err)
		}
	}
	own := system.IDRange{Base: 1 << 16, Count: 1 << 16}
	if err := checkOwners(tr, own); err != nil {
		t.Error(err)
	}
	if err := tr.Put("c", tree.Entry{Kind: tree.Dir, Mode: 0o755, GID: 65536}); err != nil {
		t.Fatal(err)
	}
	if err := checkOwners(tr, own); err == nil {
		t.Error("a group out of the range")
	}
	if err := checkOwners(tr, system.IDRange{}); err != nil {
		t.Errorf("with the machine's users: %v", err)
	}
}

func TestCheckMember(t *testing.T) {
	own := system.IDRange{Base: 1 << 16, Count: 1 << 16}
	for _, row := range []struct {
		c  system.Container
		ok bool
	}{
		{system.Container{Network: system.MemberNetwork, IDs: own, Capabilities: []string{"CAP_NET_RAW"}}, false},
		{system.Container{Network: system.MemberNetwork, IDs: own, Capabilities: []string{"CAP_CHOWN", "CAP_NET_BIND_SERVICE"}}, true},
		{system.Container{Network: system.MemberNetwork, Capabilities: []string{"CAP_NET_RAW"}}, true},
		{system.Container{Network: system.NoNetwork, IDs: own, Capabilities: []string{"CAP_NET_RAW"}}, true},
	} {
		if err := checkMember(&row.c); (err == nil) != row.ok {
			t.Errorf("%+v: %v", row.c, err)
		}
	}
}
