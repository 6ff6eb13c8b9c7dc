package launch

import (
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/system"
)

func TestSysctls(t *testing.T) {
	for _, row := range []struct {
		name, value string
		network     system.NetworkMode
		ok          bool
	}{
		{"net.ipv4.ip_forward", "1", system.NoNetwork, true},
		{"net.ipv4.ip_forward", "1", system.HostNetwork, false},
		{"kernel.shmmax", "1", system.HostNetwork, true},
		{"kernel.msgmax", "1", system.NoNetwork, true},
		{"fs.mqueue.msg_max", "1", system.NoNetwork, true},
		{"kernel.domainname", "x", system.NoNetwork, true},
		{"kernel.panic", "1", system.NoNetwork, false},
		{"vm.swappiness", "1", system.NoNetwork, false},
		{"fs.file-max", "1", system.NoNetwork, false},
		{"net/../kernel/panic", "1", system.NoNetwork, false},
		{"net...kernel.panic", "1", system.NoNetwork, false},
		{"net.ipv4.ip_forward", "", system.NoNetwork, false},
		{"net.ipv4.ip_forward", "1\x00", system.NoNetwork, false},
	} {
		err := checkSysctls(&system.Container{Network: row.network, Sysctls: map[string]string{row.name: row.value}})
		if (err == nil) != row.ok {
			t.Errorf("%s=%q with network %s: %v", row.name, row.value, row.network, err)
		}
	}
	b := newBuilder(&Spec{Arch: "amd64", Container: &system.Container{}})
	b.sysctls(map[string]string{"net.b": "12", "net.a": "3"})
	var labels []string
	for _, o := range b.p.Ops {
		labels = append(labels, o.Label)
	}
	if got := strings.Join(labels, ", "); got != "opening /proc/sys/net/a, setting net.a to 3, opening /proc/sys/net/b, setting net.b to 12" {
		t.Error(got)
	}
}
