package e2e

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/instar-os/instar/internal/wire"
)

// checkLife looks at crowd, whose command stands behind a first process and
// reads what is typed.
func (m *machine) checkLife() {
	t := m.t
	m.await("crowd", healthy)
	if got := m.log("crowd"); !strings.Contains(got, "process 2 behind init, <nil>") {
		t.Errorf("crowd says %q", got)
	}
	out, errs, code := m.with("good morning\n", "attach", "--end-input", "crowd")
	if code != 5 || !strings.Contains(out, "heard good morning\n") {
		t.Errorf("attach: %q, %q, exit code %d", out, errs, code)
	}
	m.await("crowd", func(c wire.ContainerStatus) bool { return healthy(c) && c.Restarts > 0 })
	m.must("stop", "crowd") // TERM comes while nothing handles it, or before
	if c := m.container("crowd"); c.State != wire.Stopped || c.ExitCode == nil || *c.ExitCode == 137 {
		t.Errorf("crowd after a stop: %+v; want it ended by itself", c)
	}
	m.must("start", "crowd")
}

var poured = regexp.MustCompile(`poured in (\d+) ms`)

// checkDisk holds where the disks are the machine's own: three MiB at one a
// second take at least two seconds.
func (m *machine) checkDisk() {
	t := m.t
	found := poured.FindStringSubmatch(m.log("crowd"))
	for range 60 {
		if found != nil {
			break
		}
		m.must("exec", "crowd", "--", "/inspect", "nap")
		found = poured.FindStringSubmatch(m.log("crowd"))
	}
	if found == nil {
		t.Fatalf("crowd says %q", m.log("crowd"))
	}
	if ms, err := strconv.Atoi(found[1]); err != nil || ms < 1900 {
		t.Errorf("three MiB took %d ms (%v), and may not be faster than one MiB a second", ms, err)
	}
	if got := m.must("-o", "json", "stats", "--interval", "10ms"); !strings.Contains(got, `"maxWrite": 1048576`) {
		t.Errorf("stats have no limit of a disk: %s", got)
	}
}
