package wiring

import (
	"bytes"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/system"
)

func sample() []system.Network {
	return []system.Network{
		{Name: "cable", Type: system.PointToPoint, Members: []system.Member{
			{Container: "a", Interface: "cable", MAC: "02:00:00:00:00:01", Addresses: []string{"10.9.1.0/31"}},
			{Container: "b", Interface: "cable", MAC: "02:00:00:00:00:02", Addresses: []string{"10.9.1.1/31"}}}},
		{Name: "field", Type: system.Bridge, MAC: "02:00:00:00:00:03", Gateway: []string{"10.9.0.254/24"}, Masquerade: true,
			Members:   []system.Member{{Container: "a", Interface: "eth0", MAC: "02:00:00:00:00:04", Addresses: []string{"10.9.0.1/24", "fd09::1/64"}}},
			Published: []system.Published{{Container: "a", Port: 80, MachinePort: 8080, Protocol: "tcp"}}},
		{Name: "lent", Type: system.Move, Match: system.Match{Driver: "e1000e"}, Routers: []string{"192.0.2.1"},
			Members: []system.Member{{Container: "c", Interface: "lent", Addresses: []string{"192.0.2.9/24"}}}},
		{Name: "share", Type: system.Macvlan, Over: "lan",
			Members: []system.Member{{Container: "c", Interface: "share", MAC: "02:00:00:00:00:05", Addresses: []string{"192.0.2.8/24"}}}},
	}
}

func compiled(t testing.TB) *Program {
	t.Helper()
	p, err := Compile(sample(), []string{"lan"})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// steps returns the labels of a network's steps.
func steps(p *Program, name string) (labels []string) {
	for _, n := range p.Networks {
		if n.Name == name {
			for _, s := range n.Steps {
				labels = append(labels, s.Label)
			}
		}
	}
	return labels
}

func TestCompile(t *testing.T) {
	p := compiled(t)
	var spaces []string
	for _, s := range p.Spaces {
		spaces = append(spaces, s.Container)
	}
	if got := strings.Join(spaces, " "); got != "a b c" {
		t.Errorf("namespaces of %s", got)
	}
	want := []string{"making a cable between a and b",
		"keeping made-up addresses off before raising the interface of a", "raising the interface of a", "adding address 10.9.1.0/31 of a",
		"keeping made-up addresses off before raising the interface of b", "raising the interface of b", "adding address 10.9.1.1/31 of b"}
	if got := steps(p, "cable"); !slices.Equal(got, want) {
		t.Errorf("steps of cable: %q", got)
	}
	if got := strings.Join(steps(p, "lent"), "; "); !strings.HasPrefix(got, "moving the device to c; ") || !strings.HasSuffix(got, "setting the default route of c to 192.0.2.1") {
		t.Errorf("steps of lent: %s", got)
	}
	if got := strings.Join(steps(p, "field"), "; "); !strings.Contains(got, "setting the default route of a to 10.9.0.254") || strings.Contains(got, "fd09::fe") {
		t.Errorf("steps of field: %s", got)
	}
	if len(p.Settings) != 1 || p.Settings[0] != (Setting{"net/ipv4/ip_forward", "1"}) {
		t.Errorf("settings %+v; want IPv4 to be forwarded, as the gateway has no IPv6", p.Settings)
	}
	if p.Rules == nil {
		t.Error("no rules")
	}
}

// TestSame: a network is the same bytes whatever stands beside it.
func TestSame(t *testing.T) {
	whole := compiled(t)
	alone, err := Compile(sample()[1:2], []string{"lan"})
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range alone.Networks[0].Steps {
		if !bytes.Equal(s.Message, whole.Networks[1].Steps[i].Message) {
			t.Errorf("step %q differs", s.Label)
		}
	}
	one, err := whole.Encode()
	if err != nil {
		t.Fatal(err)
	}
	two, err := compiled(t).Encode()
	if err != nil || !bytes.Equal(one, two) {
		t.Errorf("compiled twice, two programs (%v)", err)
	}
}

// TestNoRules: without an end of the machine there is nothing to filter.
func TestNoRules(t *testing.T) {
	all := sample()
	p, err := Compile([]system.Network{all[0], all[2], all[3]}, nil)
	if err != nil || p.Rules != nil || len(p.Settings) > 0 {
		t.Errorf("%d bytes of rules, settings %v, %v", len(p.Rules), p.Settings, err)
	}
}

func TestMAC(t *testing.T) {
	seen := map[string]bool{}
	for _, names := range [][]string{{"m", "n", "a"}, {"m", "n", "b"}, {"m", "na"}, {"mn", "a"}} {
		mac, err := net.ParseMAC(MAC(names...))
		if err != nil || mac[0] != 0x02 || seen[mac.String()] {
			t.Errorf("%q: %v, %v", names, mac, err)
		}
		seen[mac.String()] = true
	}
}

func TestWrong(t *testing.T) {
	for what, change := range map[string]func(*system.Network){
		"unknown type":              func(n *system.Network) { n.Type = "ring" },
		"ends instead of two":       func(n *system.Network) { n.Type = system.PointToPoint; n.Gateway = nil },
		"is not a member":           func(n *system.Network) { n.Published[0].Container = "z" },
		"more than 15 characters":   func(n *system.Network) { n.Members[0].Interface = "a-name-of-16-cha" },
		"invalid MAC":               func(n *system.Network) { n.Members[0].MAC = "x" },
		`ParsePrefix("10.9.0.300/`:  func(n *system.Network) { n.Members[0].Addresses[0] = "10.9.0.300/24" },
		`ParsePrefix("10.9.0.254")`: func(n *system.Network) { n.Gateway[0] = "10.9.0.254" },
	} {
		list := sample()
		change(&list[1])
		if _, err := Compile(list, []string{"lan"}); err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), "invalid MAC address", "invalid MAC"), what) &&
			!strings.Contains(err.Error(), strings.TrimPrefix(what, "Parse")) {
			t.Errorf("want %q, got %v", what, err)
		}
	}
}

func TestDecode(t *testing.T) {
	good, err := compiled(t).Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Decode(good); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Program){
		"reads version 1":       func(p *Program) { p.Version = 2 },
		"two namespaces":        func(p *Program) { p.Spaces[1].Container = "a" },
		"no setting of":         func(p *Program) { p.Settings[0].Path = "net/../kernel/panic" },
		"header says otherwise": func(p *Program) { p.Networks[0].Steps[0].Message[0]++ },
		"which has none":        func(p *Program) { p.Networks[0].Steps[0].Holes[0].Space = "z" },
		"in the namespace of z": func(p *Program) { p.Networks[0].Steps[1].Space = "z" },
		"a hole at byte":        func(p *Program) { p.Networks[0].Steps[0].Holes[0].At = 1 << 31 },
		"does not name":         func(p *Program) { p.Networks[3].Device = Device{} },
		"unknown kind":          func(p *Program) { p.Networks[0].Steps[0].Holes[0].Kind = "x" },
	} {
		p := compiled(t)
		change(p)
		b, err := p.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(b); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	for _, b := range [][]byte{nil, []byte("{}"), append([]byte(" "), good...), append(good[:len(good):len(good)], "{}"...), good[:len(good)/2], make([]byte, MaxSize+1)} {
		if _, err := Decode(b); err == nil {
			t.Errorf("%.20q is read", b)
		}
	}
}

func FuzzDecode(f *testing.F) {
	good, err := compiled(f).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"version":1,"spaces":[],"settings":[],"networks":[]}` + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Decode(b)
		if err != nil {
			return
		}
		for _, n := range p.Networks {
			for _, s := range append(n.Steps, n.Undo...) {
				for _, h := range s.Holes {
					_ = s.Message[h.At : h.At+4]
				}
			}
		}
	})
}
