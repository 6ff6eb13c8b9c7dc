package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/instar-os/instar/internal/wire"
)

// greenhouse copies the example, with a configuration that cannot work.
func greenhouse(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("cp", "-r", root(t)+"/examples/greenhouse/.", dir).CombinedOutput(); err != nil {
		t.Fatalf("copying the example: %v\n%s", err, out)
	}
	frost, err := os.ReadFile("frost.yaml")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "frost.yaml"), frost, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestSwitch boots the greenhouse once and takes it through its configurations
// while a client stays connected to the broker.
func TestSwitch(t *testing.T) {
	m := newMachine(t, greenhouse(t))
	m.must("--patch", "frost.yaml", "lock")
	m.start("--patch", "frost.yaml", "vm", "--headless", "--console", "console.log")
	broker := m.container("broker").PID
	sampler := m.container("sampler").PID
	c := m.connect(m.forward("mqtt"))

	for _, row := range []struct {
		to, containers, page, fails string
	}{
		{to: "night", containers: "broker irrigation sampler"},
		{to: "frost", containers: "broker irrigation sampler", fails: "not healthy within 4s: heater is"},
		{to: "day", containers: "broker panel sampler", page: "greenhouse"},
		{to: "rescue", containers: "broker panel sampler", page: "greenhouse", fails: "rescue is the fallback"},
		{to: "night", containers: "broker irrigation sampler"},
	} {
		out, err := m.instar("switch", row.to, "--within", map[bool]string{true: "4s", false: "60s"}[row.to == "frost"])
		if failed := err != nil; failed != (row.fails != "") || failed && !strings.Contains(err.Error(), row.fails) {
			t.Errorf("switch %s: %v\n%s", row.to, err, out)
		}
		if row.to != "rescue" && !strings.Contains(out, "kept     broker") {
			t.Errorf("switch %s does not keep the broker:\n%s", row.to, out)
		}
		st := m.healthy(t)
		var names []string
		for _, c := range st.Containers {
			names = append(names, c.Name)
		}
		if got := strings.Join(names, " "); got != row.containers {
			t.Errorf("after switch %s: %s run, want %s", row.to, got, row.containers)
		}
		if b, s := m.container("broker"), m.container("sampler"); b.PID != broker || s.PID != sampler || b.Restarts+s.Restarts != 0 {
			t.Errorf("after switch %s: broker and sampler were %d and %d, and are %+v, %+v", row.to, broker, sampler, b, s)
		}
		if page, err := get("http://" + m.forward("http") + "/"); (err == nil) != (row.page != "") || !strings.Contains(strings.ToLower(page), row.page) {
			t.Errorf("after switch %s the panel answers %q, %v", row.to, page, err)
		}
		c.echo(t, "after switch "+row.to)
	}
	if st := m.healthy(t); st.Switch == nil || st.Switch.Outcome != wire.OutcomeDone || st.Configuration != "night" {
		t.Errorf("status %+v, %+v", st, st.Switch)
	}
	if log := m.log("init"); !strings.Contains(log, "not switched from night to frost: could not become healthy") {
		t.Errorf("the log does not say why frost failed:\n%s", tail(log, 40))
	}
	c.close(t)
	m.must("switch", "day") // live: that the reboot runs night is the loader's doing
	m.boots("night", "switch", "night", "--once")
	m.boots("day", "stop", "--reboot")
	m.stop()
}

// boots runs a command that reboots the machine, waits until it is healthy in
// the configuration, and finds that the boot after it would run day.
func (m *machine) boots(to string, command ...string) {
	m.t.Helper()
	before := m.healthy(m.t).Started
	m.must(command...)
	deadline := time.Now().Add(bootLimit)
	for {
		st, err := m.status()
		if err == nil && st.Healthy && st.Started.Sub(before) > time.Second {
			if st.Configuration != to {
				m.t.Errorf("%s booted %s, want %s", strings.Join(command, " "), st.Configuration, to)
			}
			break
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("%s: not healthy again: %+v, %v\n%s", strings.Join(command, " "), st, err, m.console())
		}
		time.Sleep(500 * time.Millisecond)
	}
	var list wire.Configurations
	out := m.must("-o", "json", "switch", "--list")
	if err := json.Unmarshal([]byte(out), &list); err != nil || list.Current != to || list.Next != "day" || list.Once {
		m.t.Errorf("after %s: %v\n%s", strings.Join(command, " "), err, out)
	}
}

// healthy waits until the machine is healthy.
func (m *machine) healthy(t *testing.T) wire.Status {
	t.Helper()
	m.must("status", "--wait", "60s")
	st, err := m.status()
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// A listener is an MQTT client that must never lose its connection.
type listener struct {
	client mqtt.Client
	heard  chan string

	mu   sync.Mutex
	lost []error
	n    int
}

const patience = 30 * time.Second

// connect makes the client and subscribes it to its own echo.
func (m *machine) connect(address string) *listener {
	m.t.Helper()
	l := &listener{heard: make(chan string, 8)}
	o := mqtt.NewClientOptions().AddBroker("tcp://" + address).SetClientID("switch").
		SetAutoReconnect(false).SetConnectTimeout(patience).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.lost = append(l.lost, err)
		})
	l.client = mqtt.NewClient(o)
	done(m.t, "connecting", l.client.Connect())
	done(m.t, "subscribing", l.client.Subscribe("switch/echo", 1, func(_ mqtt.Client, msg mqtt.Message) {
		l.heard <- string(msg.Payload())
	}))
	return l
}

func done(t *testing.T, what string, token mqtt.Token) {
	t.Helper()
	if !token.WaitTimeout(patience) || token.Error() != nil {
		t.Fatalf("MQTT: %s: %v", what, token.Error())
	}
}

// echo publishes a message and receives it over the same connection.
func (l *listener) echo(t *testing.T, when string) {
	t.Helper()
	l.n++
	text := fmt.Sprint("message ", l.n)
	done(t, when+": publishing", l.client.Publish("switch/echo", 1, false, text))
	select {
	case got := <-l.heard:
		if got != text {
			t.Errorf("%s: published %q, heard %q", when, text, got)
		}
	case <-time.After(patience):
		t.Errorf("%s: %q is not heard", when, text)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lost) > 0 {
		t.Fatalf("%s: the connection to the broker was lost: %v", when, l.lost)
	}
}

func (l *listener) close(t *testing.T) {
	t.Helper()
	l.echo(t, "at the end")
	l.client.Disconnect(250)
}
