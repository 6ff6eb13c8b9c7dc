package boot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/wire"
)

func health(h system.Health) *system.Health {
	h.Interval, h.Timeout, h.Within, h.Retries = int64(time.Second), int64(2*time.Second), int64(20*time.Second), 3
	return &h
}

// day is a configuration with each kind of health check.
func day(image system.Object) []system.Configuration {
	web := guest(image, "web", "serve", "127.0.0.1:8080")
	web.Health = health(system.Health{HTTP: "http://localhost:8080/x"})
	port := guest(image, "port", "serve", ":8080")
	port.Health = health(system.Health{TCP: "127.0.0.1:8080"})
	port.After = []string{"web"}
	command := guest(image, "command", "serve", ":1")
	command.Args = []string{"/bin/guest", "serve", ":8081"}
	command.Health = health(system.Health{Exec: []string{"/bin/guest", "check"}})
	file := guest(image, "file", "serve", ":8080")
	file.Health = health(system.Health{File: "/tmp/ready"})
	once := guest(image, "once", "once")
	once.OneShot, once.Restart.Policy = true, system.RestartOnFailure
	count := guest(image, "count", "count")
	count.Prepare = [][]string{{"/bin/guest", "once"}}
	count.Data = []system.Data{{Path: "/data", Version: 1, Mode: 0o755, UID: 1000, GID: 1000}}
	orphans := guest(image, "orphans", "orphans")
	deaf := guest(image, "deaf", "deaf")
	deaf.Stop.Timeout = int64(100 * time.Millisecond)
	return []system.Configuration{
		{Name: "day", Containers: []system.Container{web, port, command, file, once, count, orphans, deaf}},
		{Name: "crashing", Containers: []system.Container{guest(image, "crash", "crash")}},
		{Name: "rescue", Fallback: true, Containers: []system.Container{once}},
	}
}

// A run is an instar-init that runs contained.
type run struct {
	cmd     *exec.Cmd
	dir     string
	console lockedBuffer
	client  *wire.Client
	once    sync.Once
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (w *world) start(t *testing.T, init, configuration string, args ...string) *run {
	t.Helper()
	r := &run{dir: t.TempDir()}
	r.cmd = exec.Command(init, append([]string{"run", "--store", w.dir, "--system", w.system.String(), "--configuration", configuration,
		"--state", filepath.Join(r.dir, "state"), "--control", filepath.Join(r.dir, "control.sock")}, args...)...)
	r.cmd.Stderr = &r.console
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("console:\n%s", r.console.String())
		}
		r.stop()
	})
	for range 200 {
		c, err := wire.Dial(t.Context(), filepath.Join(r.dir, "control.sock"))
		if err == nil {
			r.client = c
			return r
		}
		time.Sleep(25 * time.Millisecond)
	}
	t.Fatal("no control socket")
	return nil
}

// stop ends the machine as Ctrl-C does and returns what it exits with.
func (r *run) stop() error {
	err := errors.New("stopped before")
	r.once.Do(func() {
		if r.client != nil {
			r.client.Close()
		}
		r.cmd.Process.Signal(syscall.SIGTERM)
		err = r.cmd.Wait()
	})
	return err
}

// healthy waits until the machine is healthy.
func (r *run) healthy(t *testing.T) wire.Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		st, err := r.client.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if st.Healthy {
			return st
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("not healthy: %+v", st)
		}
	}
}

func (r *run) logs(t *testing.T, container string) string {
	t.Helper()
	reply, err := r.client.Logs(t.Context(), wire.LogsRequest{Container: container})
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, l := range reply.Lines {
		all = append(all, l.Stream+": "+l.Text)
	}
	return strings.Join(all, "\n")
}

// leftovers says what a machine left on the host, "" for nothing.
func (r *run) leftovers(t *testing.T) string {
	t.Helper()
	m, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	left := ""
	if strings.Contains(string(m), r.dir) {
		left = "mounts below " + r.dir
	}
	for _, root := range []string{cgroupRoot, cgroupRoot + "/unified"} {
		if path := filepath.Join(root, fmt.Sprintf("instar-%d", r.cmd.Process.Pid)); exists(path) {
			left += " cgroup " + path
		}
	}
	return left
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func TestContained(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("running containers needs root")
	}
	w := &world{dir: filepath.Join(t.TempDir(), "store")}
	w.fill(t, nil, day)
	init := build(t, "../../../cmd/instar-init")
	t.Run("day", func(t *testing.T) { testDay(t, w, init) })
	t.Run("power off", func(t *testing.T) {
		r := w.start(t, init, "rescue")
		r.healthy(t)
		if err := r.client.PowerOff(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := r.cmd.Wait(); err != nil {
			t.Errorf("ended with %v", err)
		}
		r.once.Do(func() {})
	})
	t.Run("host network", func(t *testing.T) {
		// The listener of this process is seen by a check in the machine.
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		own := &world{dir: w.dir}
		own.fill(t, nil, func(image system.Object) []system.Configuration {
			c := guest(image, "probe", "deaf")
			c.Network, c.Stop.Signal = system.HostNetwork, int(syscall.SIGKILL)
			c.Health = health(system.Health{TCP: l.Addr().String()})
			return []system.Configuration{{Name: "day", Containers: []system.Container{c}}}
		})
		r := own.start(t, init, "day", "--network", "host")
		r.healthy(t)
		if err := r.stop(); err != nil {
			t.Errorf("ended with %v", err)
		}
	})
	t.Run("killed", func(t *testing.T) {
		r := w.start(t, init, "day")
		st := r.healthy(t)
		if err := r.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		r.cmd.Wait()
		r.once.Do(func() {})
		// Every process goes with it; PIDs are those of the machine's namespace,
		// so the socket tells.
		for range 100 {
			if _, err := r.client.Status(t.Context()); err != nil {
				w.start(t, init, "rescue").stop()
				if left := r.leftovers(t); left != "" {
					t.Errorf("the next run leaves what was left behind: %s", left)
				}
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Errorf("the machine survived its parent: %+v", st)
	})
	t.Run("crashing", func(t *testing.T) {
		r := w.start(t, init, "crashing")
		for {
			st, err := r.client.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if c := st.Containers[0]; c.Restarts >= 2 {
				if c.ExitCode == nil || *c.ExitCode != 3 {
					t.Errorf("status %+v", c)
				}
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		if got := r.logs(t, "crash"); !strings.HasPrefix(got, "stderr: crashing\nstderr: crashing") {
			t.Errorf("logs %s", got)
		}
	})
	t.Run("wrong", func(t *testing.T) {
		for _, row := range []struct{ args, want string }{
			{"--configuration night", `has no configuration "night"`},
			{"--store /nowhere", "could not read the system"},
			{"--system " + strings.Repeat("0", 64), "not in the store"},
			{"--network some", "want private or host"},
			{"more", "no further arguments"},
		} {
			args := []string{"run", "--store", w.dir, "--system", w.system.String(), "--state", filepath.Join(t.TempDir(), "s"),
				"--control", filepath.Join(t.TempDir(), "c")}
			out, err := exec.Command(init, append(args, strings.Fields(row.args)...)...).CombinedOutput()
			if err == nil || !strings.Contains(string(out), row.want) {
				t.Errorf("%s: %v\n%s", row.args, err, out)
			}
		}
	})
}

func testDay(t *testing.T, w *world, init string) {
	data := t.TempDir()
	for boot := 1; boot <= 2; boot++ {
		r := w.start(t, init, "day", "--data", data)
		st := r.healthy(t)
		if st.Machine != "greenhouse" || st.System != w.system.String() || !st.Contained || st.Ready != 0 || len(st.Containers) != 8 {
			t.Errorf("status %+v", st)
		}
		if got := r.logs(t, "once"); !strings.Contains(got, `stdout: once on once with ""`) {
			t.Errorf("once said %q", got)
		}
		// Logs last, too.
		if got := r.logs(t, "count"); strings.Count(got, "once on count") != boot || !strings.Contains(got, fmt.Sprintf("start %d", boot)) {
			t.Errorf("boot %d: count said %q", boot, got)
		}
		ctx := t.Context()
		if err := errors.Join(r.client.Stop(ctx, "web"), r.client.Restart(ctx, "port")); err != nil {
			t.Error(err)
		}
		st, err := r.client.Status(ctx)
		if err != nil || st.Containers[0].State != wire.Stopped || st.Containers[1].State != wire.Waiting {
			t.Errorf("after stopping web: %+v, %v", st.Containers[:2], err)
		}
		if err := r.client.Start(ctx, "web"); err != nil {
			t.Error(err)
		}
		r.healthy(t)
		if err := r.stop(); err != nil {
			t.Errorf("ended with %v", err)
		}
		if left, err := os.ReadDir(r.dir); err != nil || len(left) != 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
		if left := r.leftovers(t); left != "" {
			t.Errorf("left behind: %s", left)
		}
		console := r.console.String()
		for _, want := range []string{"boot: make the mounts private", "all containers of day are healthy", "web: bye", "deaf: has not ended within 100ms, killing it"} {
			if !strings.Contains(console, want) {
				t.Errorf("console without %q", want)
			}
		}
	}
}
