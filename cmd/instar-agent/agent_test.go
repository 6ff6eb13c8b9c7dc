package main

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/wire"
)

// fake is a supervisor with a given status.
type fake struct {
	wire.Control
	status wire.Status
}

func (f *fake) Status() wire.Status { return f.status }

func (f *fake) RT(wire.RTRequest) (wire.RTReply, error) {
	return wire.RTReply{Tasks: []wire.RTTask{{Task: "valve.control", Jobs: 7}}}, nil
}

func (f *fake) Calibrate(context.Context, wire.CalibrateRequest) (wire.Calibration, error) {
	return wire.Calibration{}, nil
}

func TestTaskMetrics(t *testing.T) {
	code, body, header := ask(t, supervisor(t, sick()), "GET", "/metrics/tasks")
	if code != 200 || !strings.HasPrefix(header.Get("Content-Type"), "application/openmetrics-text") ||
		!strings.Contains(body, "instar_task_jobs_total{task=\"valve.control\"} 7\n") || !strings.HasSuffix(body, "# EOF\n") {
		t.Errorf("%d %v\n%s", code, header, body)
	}
}

// supervisor serves a status on a socket and returns its path.
func supervisor(t *testing.T, st wire.Status) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "control.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- wire.Listen(ctx, l, &fake{status: st}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return path
}

func ask(t *testing.T, socket, method, path string) (int, string, http.Header) {
	t.Helper()
	w := httptest.NewRecorder()
	(&reporter{socket: socket}).handler().ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w.Code, w.Body.String(), w.Header()
}

func sick() wire.Status {
	code := 137
	return wire.Status{
		Machine: `green"house`, System: "ab", Configuration: "day", Kernel: "6.12", Uptime: 90 * time.Second, Ready: 1500 * time.Millisecond,
		Warnings: []string{"x"},
		Interfaces: []wire.InterfaceStatus{
			{Name: "lan", State: "up", Addresses: []string{"192.0.2.1/24"}},
			{Name: "wan", State: "missing"},
		},
		Containers: []wire.ContainerStatus{
			{Name: "broker", State: wire.Healthy, Memory: 4096, StartTime: 2 * time.Millisecond},
			{Name: "keys", State: wire.Done},
			{Name: "panel", State: wire.Backoff, Restarts: 3, ExitCode: &code, Detail: "ended\nbadly"},
		},
	}
}

func TestStatus(t *testing.T) {
	code, body, header := ask(t, supervisor(t, sick()), "GET", "/status")
	var got wire.Status
	if err := json.Unmarshal([]byte(body), &got); err != nil || code != 200 || header.Get("Content-Type") != "application/json" {
		t.Fatalf("%d %v: %v", code, header, err)
	}
	if got.Machine != `green"house` || len(got.Containers) != 3 || *got.Containers[2].ExitCode != 137 {
		t.Errorf("got %+v", got)
	}
}

func TestHealth(t *testing.T) {
	code, body, _ := ask(t, supervisor(t, sick()), "GET", "/healthz")
	if code != 503 || body != "container panel is backoff: ended badly\ninterface wan is missing\n" {
		t.Errorf("%d %q", code, body)
	}
	code, body, _ = ask(t, supervisor(t, wire.Status{Healthy: true}), "GET", "/healthz")
	if code != 200 || body != "healthy\n" {
		t.Errorf("%d %q", code, body)
	}
	code, body, _ = ask(t, filepath.Join(t.TempDir(), "none"), "GET", "/healthz")
	if code != 503 || !strings.Contains(body, "connecting to the supervisor") {
		t.Errorf("without a supervisor: %d %q", code, body)
	}
}

func TestMetrics(t *testing.T) {
	_, body, header := ask(t, supervisor(t, sick()), "GET", "/metrics")
	if !strings.HasPrefix(header.Get("Content-Type"), "text/plain; version=0.0.4") {
		t.Errorf("content type %q", header.Get("Content-Type"))
	}
	for _, want := range []string{
		`instar_info{machine="green\"house",system="ab",configuration="day",kernel="6.12"} 1`,
		"instar_healthy 0", "instar_uptime_seconds 90", "instar_ready_seconds 1.5", "instar_warnings 1",
		`instar_container_state{container="panel",state="backoff"} 1`,
		`instar_container_restarts_total{container="panel"} 3`,
		`instar_container_memory_bytes{container="broker"} 4096`,
		`instar_container_start_seconds{container="broker"} 0.002`,
		`instar_container_exit_code{container="panel"} 137`,
		`instar_interface_up{interface="wan"} 0`,
	} {
		if strings.Count(body, want+"\n") != 1 {
			t.Errorf("metrics without %s:\n%s", want, body)
		}
	}
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		if name, _, _ := strings.Cut(strings.TrimSpace(line), " "); !strings.HasPrefix(name, "instar_") {
			t.Errorf("line %q", line)
		}
	}
}

func TestOtherRequests(t *testing.T) {
	socket := supervisor(t, sick())
	for _, row := range []struct {
		method, path string
		code         int
	}{{"POST", "/status", 405}, {"GET", "/", 404}, {"GET", "/poweroff", 404}} {
		if code, _, _ := ask(t, socket, row.method, row.path); code != row.code {
			t.Errorf("%s %s: %d", row.method, row.path, code)
		}
	}
}

func TestServeEndsGracefully(t *testing.T) {
	socket := supervisor(t, wire.Status{Healthy: true})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- serve(ctx, l, &reporter{socket: socket}) }()
	resp, err := http.Get("http://" + l.Addr().String() + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || resp.StatusCode != 200 || string(b) != "healthy\n" {
		t.Errorf("%d %q, %v", resp.StatusCode, b, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("serve: %v", err)
	}
}
