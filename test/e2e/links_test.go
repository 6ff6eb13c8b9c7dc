package e2e

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/instar-os/instar/internal/wire"
)

// checkLinks looks at meter and gauge, which check links of all types from
// inside, and is the end outside of two of them.
func (m *machine) checkLinks() {
	t := m.t
	t.Helper()
	if got := m.log("gauge"); !strings.Contains(got, "60 messages of 3 lives") {
		t.Errorf("gauge says %q", got)
	}
	if c := m.container("meter"); c.State != wire.Healthy || c.Restarts != 2 {
		t.Errorf("meter: %+v; want it healthy after two falls", c)
	}
	var list []wire.LinkStatus
	if err := json.Unmarshal([]byte(m.must("-o", "json", "link", "ls")), &list); err != nil || len(list) != 9 {
		t.Fatalf("links %+v, %v; want 9", list, err)
	}
	if l := list[0]; l.Name != "water-level" || !l.Valid || l.Written < 60 {
		t.Errorf("the level: %+v", l)
	}
	var v wire.LinkValue
	if err := json.Unmarshal([]byte(m.must("-o", "json", "link", "read", "water-level")), &v); err != nil || len(v.Data) != 16 || v.Sequence < list[0].Written {
		t.Errorf("the level from outside: %+v, %v", v, err)
	}
	if _, err := m.instar("link", "write", "water-level", "x"); err == nil || !strings.Contains(err.Error(), "comes from meter, its only writer") {
		t.Errorf("writing beside the writer: %v", err)
	}
	m.must("link", "write", "commands", "something")
	for range 50 {
		out, err := m.instar("link", "read", "replies", "--raw")
		if err == nil {
			if out != "did something" {
				t.Errorf("the reply is %q", out)
			}
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Error("no reply to a command")
}
