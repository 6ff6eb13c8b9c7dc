package e2e

import (
	"bytes"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/instar-os/instar/internal/wire"
)

// with runs a command of instar with input, and returns its outputs and its
// exit code.
func (m *machine) with(input string, args ...string) (out, errs string, code int) {
	m.t.Helper()
	cmd := exec.Command(filepath.Join(root(m.t), "out/instar"), args...)
	cmd.Dir, cmd.Env = m.project, m.env
	var o, e bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &o, &e
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		m.t.Fatal(err)
	}
	return o.String(), e.String(), cmd.ProcessState.ExitCode()
}

// await waits until a container is as wanted.
func (m *machine) await(name string, as func(wire.ContainerStatus) bool) wire.ContainerStatus {
	m.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		c := m.container(name)
		if as(c) {
			return c
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("%s stays %+v", name, c)
		}
	}
}

func healthy(c wire.ContainerStatus) bool { return c.State == wire.Healthy }

// checkOperate holds wherever the system runs. More than the window of a
// session goes through exec, over the virtual machine's port as well.
func (m *machine) checkOperate() {
	t := m.t
	big := strings.Repeat("0123456789abcdef", 40<<10)
	out, errs, code := m.with(big, "exec", "-e", "WORD=say ", "eater", "--", "/inspect", "repeat")
	if out != "say "+big || errs != "repeated\n" || code != 7 {
		t.Errorf("exec: %d bytes, errors %q, exit code %d", len(out), errs, code)
	}
	if out, errs, code := m.with("", "exec", "--tty", "eater", "--", "/inspect", "terminal"); code != 0 || !strings.Contains(out, "terminal /dev/pts/") {
		t.Errorf("exec --tty: %q, %q, %d", out, errs, code)
	}
	if _, errs, code := m.with("", "shell", "eater"); code != 1 || !strings.Contains(errs, "has no program /bin/bash") {
		t.Errorf("a shell where there is none: %q, %d", errs, code)
	}
	if got := m.log("eater"); !strings.Contains(got, "ip_unprivileged_port_start 81") || !strings.Contains(got, "oom_score_adj 300") {
		t.Errorf("eater says %q", got)
	}
	if got := m.must("top", "eater"); !strings.Contains(got, "/inspect stand") {
		t.Errorf("top prints:\n%s", got)
	}
	if got := m.must("stats", "--interval", "10ms"); !strings.Contains(got, "eater") {
		t.Errorf("stats prints:\n%s", got)
	}

	m.must("pause", "eater")
	if c := m.container("eater"); c.State != wire.Paused {
		t.Errorf("paused: %+v", c)
	}
	m.must("unpause", "eater")
	was := m.container("eater")
	m.must("kill", "eater")
	m.await("eater", func(c wire.ContainerStatus) bool { return healthy(c) && c.Restarts > was.Restarts })

	// What eater needs takes it along.
	m.must("stop", "watcher")
	if c := m.container("eater"); c.State != wire.Waiting || c.PID != 0 {
		t.Errorf("without what it needs: %+v", c)
	}
	m.must("start", "eater")
	m.await("eater", healthy)
	if c := m.container("watcher"); c.State != wire.Healthy {
		t.Errorf("eater runs without what it needs: %+v", c)
	}
}

// checkMemory holds where cgroups have limits: who uses more memory than its
// container has ends, with all of the container, and the status says why.
func (m *machine) checkMemory() {
	t := m.t
	if out, _, code := m.with("", "exec", "eater", "--", "/inspect", "devour", "4"); out != "4 MiB\n" || code != 0 {
		t.Errorf("within its limit: %q, %d", out, code)
	}
	if out, errs, code := m.with("", "exec", "eater", "--", "/inspect", "devour", "64"); code == 0 {
		t.Errorf("beyond its limit: %q, %q, %d", out, errs, code)
	}
	c := m.await("eater", func(c wire.ContainerStatus) bool { return healthy(c) && c.OOMKills > 0 })
	if got := m.log("init"); !strings.Contains(got, "eater: out of memory: the kernel killed") {
		t.Errorf("%+v; init says nothing of it:\n%s", c, tail(got, 20))
	}
	if got := m.must("-o", "json", "stats", "--interval", "10ms"); !strings.Contains(got, `"memoryLimit": 16777216`) {
		t.Errorf("stats: %s", got)
	}
}
