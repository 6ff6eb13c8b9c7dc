package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
	m.shareAll()
	m.start("vm", "--headless", "--console", "console.log") // healthy: systemd says running
	st, err := m.status()
	if err != nil {
		t.Fatal(err)
	}
	if st.Host != "running" || st.Configuration != "workbench" || len(st.Warnings) > 0 {
		t.Errorf("status %+v; want a host that runs, and no warnings", st)
	}
	m.eventually("it has come to rest", func() bool {
		st, err := m.status()
		return err == nil && st.Trial != nil && st.Trial.Standing == wire.Settled
	})
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
	m.checkShared()
	m.stop()
	if got := m.console(); !strings.Contains(got, "Power down") {
		t.Errorf("the machine did not power off by itself\n%s", got)
	}
}

// shareAll adds to the example containers that share what a configuration can
// share: links, a network, a device, data, and a need.
func (m *machine) shareAll() {
	m.t.Helper()
	file := filepath.Join(m.project, "instar.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		m.t.Fatal(err)
	}
	out := string(text)
	for _, edit := range [][2]string{
		{"\nconfigurations:\n", `
  source:
    trees: [busybox]
    command: [/usr/bin/busybox, sh, -c, "echo first >>/var/lib/source/list; echo a line >&$INSTAR_LINK_LINES; test -c /dev/cpu_dma_latency && echo latency is $LATENCY; exec /usr/bin/busybox httpd -f -p 8081 -h /var/lib/source"]
    user: 652:652
    cdi: ["latency.json#low"]
    data: [{path: /var/lib/source}]
    stop: {signal: KILL}
  sink:
    trees: [busybox]
    command: [/usr/bin/busybox, sh, -c, "read line <&$INSTAR_LINK_LINES; echo got $line; /usr/bin/busybox wget -q -O - http://10.9.0.1:8081/list; test -c /dev/clock && echo has its clock; exec /usr/bin/busybox sleep 100000"]
    user: 653:653
    stop: {signal: KILL}
    needs: [source]

configurations:
`},
		{"\n    containers: [page, starts]\n", `
    containers: [page, starts, source, sink]
    links:
      - {name: lines, type: pipe, from: source, to: [sink]}
      - {name: level, type: sampling, from: outside, to: [sink], size: 8B, validity: 1h}
    networks:
      field: {members: {source: {addresses: [10.9.0.1/24]}, sink: {addresses: [10.9.0.2/24]}}}
    devices:
      - {name: clock, container: sink, match: {subsystem: rtc, name: rtc0}, to: /dev/clock, required: true}
`},
	} {
		if !strings.Contains(out, edit[0]) {
			m.t.Fatalf("the example has no %q", edit[0])
		}
		out = strings.Replace(out, edit[0], edit[1], 1)
	}
	const cdi = `{"cdiVersion": "0.6.0", "kind": "example.org/latency", "devices": [
		{"name": "low", "containerEdits": {"deviceNodes": [{"path": "/dev/cpu_dma_latency"}], "env": ["LATENCY=low"]}}]}`
	for name, text := range map[string]string{file: out, filepath.Join(m.project, "latency.json"): cdi} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			m.t.Fatal(err)
		}
	}
}

// checkShared holds that units have what the service holds for them, that a unit
// goes and comes with the one that it needs, and that data in use is safe.
func (m *machine) checkShared() {
	m.t.Helper()
	m.eventually("source has its device of a CDI file", func() bool { return strings.Contains(m.log("source"), "latency is low") })
	for _, want := range []string{"got a line", "first", "has its clock"} {
		m.eventually("the sink says "+want, func() bool { return strings.Contains(m.log("sink"), want) })
	}
	var list []wire.LinkStatus
	if err := json.Unmarshal([]byte(m.must("-o", "json", "link", "ls")), &list); err != nil || len(list) != 2 {
		m.t.Errorf("links %+v, %v; want 2", list, err)
	}
	m.must("link", "write", "level", "17")
	if got := m.must("link", "read", "level"); !strings.Contains(got, "17") {
		m.t.Errorf("the level is %q", got)
	}
	st, err := m.status()
	if err != nil || len(st.Devices) != 2 || st.Devices[0].State != wire.DevicePresent || st.Devices[1].State != wire.DevicePresent || len(st.Networks) != 1 {
		m.t.Errorf("devices %+v, networks %+v, %v", st.Devices, st.Networks, err)
	}
	if got := m.must("data", "ls"); !strings.Contains(got, "/var/lib/source") {
		m.t.Errorf("the data is %q", got)
	}
	if _, errs, code := m.with("", "data", "import", "source"); code == 0 || !strings.Contains(errs, "stop it first") {
		m.t.Errorf("importing data that is in use: %d, %s", code, errs)
	}
	source, sink := m.container("source").PID, m.container("sink").PID
	m.must("kill", "source")
	m.eventually("source and sink begin again", func() bool {
		a, b := m.container("source"), m.container("sink")
		return a.State == wire.Healthy && b.State == wire.Healthy && a.PID != source && b.PID != sink
	})
	m.must("stop", "source")
	m.eventually("sink stops with source", func() bool { return m.container("sink").State == wire.Stopped })
	m.must("start", "sink")
	m.eventually("source starts with sink", func() bool { return healthy(m.container("source")) && healthy(m.container("sink")) })
}

// eventually waits for something that units take their time for.
func (m *machine) eventually(what string, holds func() bool) {
	m.t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !holds(); time.Sleep(300 * time.Millisecond) {
		if time.Now().After(deadline) {
			st, err := m.status()
			m.t.Fatalf("not in time: %s\n%+v, %v\n%s", what, st, err, tail(m.must("logs"), 60))
		}
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
