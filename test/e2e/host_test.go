package e2e

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/wire"
)

// TestHost boots the example whose machine systemd runs: up to multi-user.target
// without a failed unit, containers as units, and down again.
func TestHost(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("cp", "-r", filepath.Join(root(t), "examples/systemd-host")+"/.", dir).CombinedOutput(); err != nil {
		t.Fatalf("copying the example: %v\n%s", err, out)
	}
	m := newMachine(t, dir)
	m.start("vm", "--headless", "--console", "console.log") // healthy: systemd says running
	st, err := m.status()
	if err != nil {
		t.Fatal(err)
	}
	if st.Host != "running" || st.Configuration != "workbench" || len(st.Warnings) > 0 {
		t.Errorf("status %+v; want a host that runs, and no warnings", st)
	}
	if c := m.container("starts"); c.State != wire.Done {
		t.Errorf("starts: %+v; want it done", c)
	}
	if c := m.container("page"); c.State != wire.Healthy || c.Memory == 0 {
		t.Errorf("page: %+v; want it healthy, its memory counted", c)
	}
	if body, err := get("http://" + m.forward("http") + "/"); err != nil || !strings.Contains(body, "systemd watches over") {
		t.Errorf("the page is %q, %v", body, err)
	}
	if body, err := get("http://" + m.forward("agent") + "/healthz"); err != nil || body != "healthy\n" {
		t.Errorf("the agent says %q, %v", body, err)
	}
	m.checkHostLogs()
	m.checkUnitStops()
	m.stop()
	if got := m.console(); !strings.Contains(got, "Power down") {
		t.Errorf("the machine did not power off by itself\n%s", got)
	}
}

// checkHostLogs holds that lines of the first stage, of units and of containers
// are in one log.
func (m *machine) checkHostLogs() {
	m.t.Helper()
	all := m.must("logs")
	for _, want := range []string{"handing over to /usr/lib/systemd/systemd", "lan is up with", "page: healthy after", "starts: 1"} {
		if !strings.Contains(all, want) {
			m.t.Errorf("the log has no %q:\n%s", want, all)
		}
	}
	if got := m.log("starts"); strings.TrimSpace(got) == "" || strings.Contains(got, "handing over") {
		m.t.Errorf("the log of starts is %q", got)
	}
}

// checkUnitStops stops a container by way of its unit, which is no failure of
// the host, and starts it again.
func (m *machine) checkUnitStops() {
	m.t.Helper()
	if got := m.must("exec", "page", "--", "/usr/bin/busybox", "cat", "/proc/1/comm"); strings.TrimSpace(got) != "busybox" {
		m.t.Errorf("the container's first process is %q", got)
	}
	m.must("stop", "page")
	if c := m.container("page"); c.State != wire.Stopped {
		m.t.Errorf("page: %+v; want it stopped", c)
	}
	m.must("start", "page")
	m.must("status", "--wait", "2m")
}
