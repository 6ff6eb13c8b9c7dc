package e2e

import (
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/wire"
)

// checkNetworks looks at reader and distant, which checked from inside whom
// they reach and whom not, and at what the machine says of its networks.
func (m *machine) checkNetworks() {
	t := m.t
	for name, want := range map[string][]string{
		"reader":  {"reached press:80", "reached [fd09::1]:80", "did not reach server:80", "did not reach 10.9.0.254:80", "did not reach 127.0.0.1:80"},
		"distant": {"reached press:80", "reached [fd0a::1]:80", "did not reach 10.9.0.1:80", "did not reach reader:80"},
	} {
		if c := m.container(name); c.State != wire.Done {
			t.Errorf("%s: %+v; want it done", name, c)
		}
		got := m.log(name)
		for _, line := range want {
			if !strings.Contains(got, line) {
				t.Errorf("%s says %q, without %q", name, got, line)
			}
		}
	}
	st, err := m.status()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(st.Networks, func(n wire.NetworkStatus) bool { return n.Name == "field" })
	if len(st.Networks) != 2 || i < 0 {
		t.Fatalf("networks: %+v; want cable and field", st.Networks)
	}
	if n := st.Networks[i]; n.State != "up" || len(n.Members) != 2 || n.Members[0].Container != "press" || len(n.Published) != 1 {
		t.Errorf("field: %+v", n)
	}
}
