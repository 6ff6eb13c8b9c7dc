package assemble

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/wiring"
)

func TestNetworks(t *testing.T) {
	declared := map[string]config.Network{
		"field": {Type: "bridge", DNS: []string{"10.9.0.254"}, Gateway: &config.Gateway{Addresses: []string{"10.9.0.254/24"}, Masquerade: true},
			Publish: []config.Publish{{Container: "panel", Port: 80, Protocol: "tcp"}},
			Members: map[string]config.Member{"panel": {Addresses: []string{"10.9.0.1/24", "fd09::1/64"}, MAC: "02:AA:00:00:00:01"}, "sensor": {Addresses: []string{"10.9.0.2/24"}, Interface: "eth0"}}},
		"cable": {Type: "point-to-point", Members: map[string]config.Member{"panel": {Addresses: []string{"10.8.0.0/31"}}, "meter": {Addresses: []string{"10.8.0.1/31"}}}},
		"lent":  {Type: "move", Match: config.Match{Driver: "e1000e"}, Members: map[string]config.Member{"meter": {Addresses: []string{"192.0.2.1/24"}}}},
	}
	list := resolveNetworks("m", declared)
	if len(list) != 3 || list[1].Name != "field" || list[1].Published[0].MachinePort != 80 || list[1].Members[0].MAC != "02:aa:00:00:00:01" ||
		list[1].Members[1].MAC != wiring.MAC("m", "field", "sensor") || list[1].MAC == "" || list[0].MAC != "" || list[2].Members[0].MAC != "" || list[2].Match.Driver != "e1000e" {
		t.Errorf("networks %+v", list)
	}
	for name, want := range map[string]string{
		"panel":  "member; cable/cable field/field; 10.8.0.1 meter meter.cable; 10.9.0.2 sensor sensor.field; 10.9.0.254",
		"sensor": "member; field/eth0; 10.9.0.1 panel panel.field; fd09::1 panel panel.field; 10.9.0.254",
		"meter":  "member; cable/cable lent/lent; 10.8.0.0 panel panel.cable; ",
		"other":  "none; ; ",
	} {
		c := system.Container{Name: name, Network: system.NoNetwork}
		join(&c, list, declared)
		parts := []string{string(c.Network)}
		var ifaces []string
		for _, i := range c.Interfaces {
			ifaces = append(ifaces, i.Network+"/"+i.Name)
		}
		parts = append(parts, strings.Join(ifaces, " "))
		for _, h := range c.Hosts {
			parts = append(parts, h.Address+" "+strings.Join(h.Names, " "))
		}
		parts = append(parts, strings.Join(c.DNS, " "))
		if got := strings.Join(parts, "; "); got != want {
			t.Errorf("%s: %s\nwant %s", name, got, want)
		}
	}
	def := &config.Definition{Configurations: map[string]config.Configuration{"day": {Networks: declared}, "night": {}}}
	if got := nameServers(def, "sensor"); !slices.Equal(got, []string{"10.9.0.254"}) || nameServers(def, "meter") != nil {
		t.Errorf("name servers %v", got)
	}
	want := "[bridge nf_conntrack nf_tables nft_chain_nat nft_ct nft_masq nft_nat veth]"
	if got := fmt.Sprint(networkModules(def)); got != want {
		t.Errorf("modules %s, want %s", got, want)
	}
}
