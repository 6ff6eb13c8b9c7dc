// Package e2e boots real machines: the inspected machine, whose containers
// check the runtime's promises from inside, on amd64 and, emulated, on arm64,
// and the same system as containers on this host. Each boot is shared by many
// checks.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/wire"
)

// bootLimit is how long a machine may take until it is healthy; machines may
// be emulated on two busy processors.
const bootLimit = 6 * time.Minute

// machine is a running machine and how to ask it.
type machine struct {
	t       *testing.T
	project string
	env     []string
	cmd     *exec.Cmd
	output  *syncBuffer
	ended   chan error
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "out/instar")); err != nil {
		t.Fatalf("these tests run out/instar; make build makes it: %v", err)
	}
	return dir
}

// project copies the inspected machine and builds its program for both
// architectures.
func project(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("cp", "-r", "machine/.", dir).CombinedOutput(); err != nil {
		t.Fatalf("copying the project: %v\n%s", err, out)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=",
			"-o", filepath.Join(dir, "bin", arch, "inspect"), "./machine/cmd/inspect")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+arch)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("building inspect for %s: %v\n%s", arch, err, out)
		}
	}
	return dir
}

func newMachine(t *testing.T, project string) *machine {
	t.Helper()
	run, err := os.MkdirTemp("", "e")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(run) })
	return &machine{t: t, project: project, output: &syncBuffer{}, ended: make(chan error, 1),
		env: append(os.Environ(), "PATH="+filepath.Join(root(t), "out")+":"+os.Getenv("PATH"), "XDG_RUNTIME_DIR="+run)}
}

// instar runs a command to its end and returns its standard output.
func (m *machine) instar(args ...string) (string, error) {
	cmd := exec.Command(filepath.Join(root(m.t), "out/instar"), args...)
	cmd.Dir, cmd.Env = m.project, m.env
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("instar %s: %w\n%s%s", strings.Join(args, " "), err, out, &errs)
	}
	return string(out), err
}

func (m *machine) must(args ...string) string {
	m.t.Helper()
	out, err := m.instar(args...)
	if err != nil {
		m.t.Fatalf("%v\nthe machine said:\n%s", err, tail(m.output.String(), 60))
	}
	return out
}

// start starts a machine in the background and waits until it is healthy.
func (m *machine) start(args ...string) {
	m.t.Helper()
	m.cmd = exec.Command(filepath.Join(root(m.t), "out/instar"), args...)
	m.cmd.Dir, m.cmd.Env = m.project, m.env
	m.cmd.Stdout, m.cmd.Stderr = m.output, m.output
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	go func() { m.ended <- m.cmd.Wait(); close(m.ended) }()
	m.t.Cleanup(m.kill)
	deadline := time.Now().Add(bootLimit)
	for {
		st, err := m.status()
		if err == nil && st.Healthy {
			return
		}
		select {
		case err := <-m.ended:
			m.t.Fatalf("the machine ended before it was healthy: %v\n%s\n%s", err, m.output, m.console())
		case <-time.After(300 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("not healthy after %v: %v\nstatus: %+v\n%s\n%s", bootLimit, err, st, m.output, m.console())
		}
	}
}

func (m *machine) console() string {
	text, err := os.ReadFile(filepath.Join(m.project, "console.log"))
	if err != nil {
		return ""
	}
	return "console:\n" + tail(string(text), 80)
}

func tail(s string, n int) string {
	lines := strings.Split(s, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

func (m *machine) status() (wire.Status, error) {
	var st wire.Status
	out, err := m.instar("-o", "json", "status")
	if out != "" {
		err = json.Unmarshal([]byte(out), &st)
	}
	return st, err
}

// stop asks the machine to end and waits for the command that runs it.
func (m *machine) stop() {
	m.t.Helper()
	m.must("stop")
	select {
	case err := <-m.ended:
		if err != nil {
			m.t.Errorf("the machine's command ended with %v\n%s\n%s", err, m.output, m.console())
		}
	case <-time.After(90 * time.Second):
		m.t.Errorf("the machine does not end\n%s\n%s", m.output, m.console())
	}
}

func (m *machine) kill() {
	if m.cmd.ProcessState == nil {
		m.cmd.Process.Signal(os.Interrupt)
		select {
		case <-m.ended:
		case <-time.After(60 * time.Second):
			m.cmd.Process.Kill()
		}
	}
}

func (m *machine) log(container string) string { return m.must("logs", container) }

// forward returns where a forwarded port is, as instar vm has printed it.
func (m *machine) forward(name string) string {
	found := regexp.MustCompile(`(?m)^` + name + `: (\S+:\d+)\s*$`).FindStringSubmatch(m.output.String())
	if found == nil {
		m.t.Fatalf("no forward %s in:\n%s", name, m.output)
	}
	return found[1]
}

// container asks again when there is no answer: a machine under load may be late.
func (m *machine) container(name string) wire.ContainerStatus {
	m.t.Helper()
	st, err := m.status()
	for end := time.Now().Add(time.Minute); err != nil && time.Now().Before(end); st, err = m.status() {
		time.Sleep(time.Second)
	}
	if err != nil {
		m.t.Fatal(err)
	}
	i := slices.IndexFunc(st.Containers, func(c wire.ContainerStatus) bool { return c.Name == name })
	if i < 0 {
		m.t.Fatalf("no container %s in %+v", name, st)
	}
	return st.Containers[i]
}

// TestMachine boots the machine with a disk that lasts, checks it, boots it
// again, and then boots the fallback.
func TestMachine(t *testing.T) {
	m := newMachine(t, project(t))
	m.must("lock")
	vm := []string{"vm", "--headless", "--console", "console.log", "--disk", "disk.raw"}
	if !t.Run("first boot", func(t *testing.T) {
		m.t = t
		m.start(append(vm, "--monitor", m.monitorPath())...)
		m.checks()
		m.checkVM("1")
		m.checkPlugs()
		m.stop()
	}) {
		return
	}
	t.Run("second boot", func(t *testing.T) {
		again := newMachine(t, m.project)
		again.start(vm...)
		if got := again.log("counter"); !strings.Contains(got, "start 3") {
			t.Errorf("data did not last: %s", got)
		}
		again.stop()
	})
	t.Run("fallback", func(t *testing.T) {
		again := newMachine(t, m.project)
		again.start(append(vm, "--configuration", "rescue")...)
		st, err := again.status()
		if err != nil || st.Configuration != "rescue" || len(st.Containers) != 1 {
			t.Errorf("status %+v, %v; want the rescue configuration with one container", st, err)
		}
		again.stop()
	})
}

// TestForeignArchitecture boots the system that this host's builder made for
// the other architecture.
func TestForeignArchitecture(t *testing.T) {
	arch := map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]
	m := newMachine(t, project(t))
	m.must("lock")
	m.start("vm", "--arch", arch, "--headless", "--console", "console.log")
	m.checks()
	m.checkVM("1")
	m.stop()
}

// TestContained runs the same system as containers on this host.
func TestContained(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("instar run needs root")
	}
	m := newMachine(t, project(t))
	m.must("lock")
	m.start("run", "--data", filepath.Join(m.project, "data"))
	m.checks()
	st, err := m.status()
	if err != nil || !st.Contained {
		t.Errorf("status %+v, %v; want one that says contained", st, err)
	}
	m.stop()
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || bytes.Contains(text, []byte("inspected")) {
		t.Errorf("mounts are left behind (%v):\n%s", err, text)
	}
}

// seen is what inspect report prints.
type seen struct {
	PID, UID, GID int
	Groups        []int
	Dir, Hostname string
	Env           map[string]string
	Status        map[string]string
	Interfaces    []string
	NoFile        uint64
	RootWrite     string
	TmpWrite      string
	Kcore         int
	Devices       []string
	Mounts        []string
	Mknod, Mount  string
	UIDMap        string
}

// checks holds wherever the system runs.
func (m *machine) checks() {
	t := m.t
	var s seen
	text := m.log("plain")
	if at := strings.Index(text, "{"); at < 0 || json.Unmarshal([]byte(strings.SplitN(text[at:], "\n", 2)[0]), &s) != nil {
		t.Fatalf("plain did not report: %q", text)
	}
	for _, c := range []struct {
		what string
		ok   bool
	}{
		{"is process 1", s.PID == 1},
		{"runs as tester", s.UID == 1234 && s.GID == 1235},
		{"has its supplementary group", slices.Contains(s.Groups, 1300)},
		{"starts in its directory", s.Dir == "/tmp"},
		{"has its environment", s.Env["GREETING"] == "hello" && s.Env["HOME"] == "/home/tester" && s.Env["PATH"] != ""},
		{"has its host name", s.Hostname == "plain"},
		{"has no capability", s.Status["CapEff"] == "0000000000000000" && s.Status["CapBnd"] == "0000000000000000"},
		{"gains no privileges", s.Status["NoNewPrivs"] == "1"},
		{"is filtered", s.Status["Seccomp"] == "2"},
		{"sees no network", slices.Equal(s.Interfaces, []string{"lo"})},
		{"has its limit of open files", s.NoFile == 777},
		{"cannot write its root", strings.Contains(s.RootWrite, "read-only") || strings.Contains(s.RootWrite, "permission denied")},
		{"can write /tmp", s.TmpWrite == ""},
		{"reads nothing of /proc/kcore", s.Kcore == 0},
		{"has /dev/null and no disk", slices.Contains(s.Devices, "null") && !slices.ContainsFunc(s.Devices, func(d string) bool { return strings.HasPrefix(d, "vd") })},
		{"cannot make devices", strings.Contains(s.Mknod, "not permitted")},
		{"has users of its own", strings.HasPrefix(s.UIDMap, "0 ") && strings.HasSuffix(s.UIDMap, " 65536") && s.UIDMap != "0 0 65536"},
		{"cannot mount", strings.Contains(s.Mount, "not permitted")},
	} {
		if !c.ok {
			t.Errorf("plain: not so: %s\n%+v", c.what, s)
		}
	}
	if c := m.container("clumsy"); c.State != wire.Healthy || c.Restarts < 2 {
		t.Errorf("clumsy: %+v; want it healthy after two falls", c)
	}
	if c := m.container("later"); c.State != wire.Done {
		t.Errorf("later: %+v; want it done", c)
	}
	if got := m.log("later"); !strings.Contains(got, "alone:") {
		t.Errorf("later says %q", got)
	}
	if got := m.log("watcher"); !strings.Contains(got, "supervisor says") {
		t.Errorf("watcher says %q", got)
	}
	if got := m.log("counter"); !strings.Contains(got, "start ") {
		t.Errorf("counter says %q", got)
	}
	m.keeps()
	if got := m.must("ps"); !strings.Contains(got, "server") || strings.Count(got, "\n") != m.containers()+1 {
		t.Errorf("ps prints:\n%s", got)
	}
	m.checkLinks()
	m.checkOperate()
	m.checkLife()
	m.checkNetworks()
}

// keeps checks data and devices.
func (m *machine) keeps() {
	t := m.t
	if got := m.log("owner"); !strings.Contains(got, "opened /dev/own/latency") {
		t.Errorf("owner says %q", got)
	}
	if got := m.log("forger"); !strings.Contains(got, "operation not permitted") {
		t.Errorf("forger says %q", got)
	}
	st, err := m.status()
	if err != nil || len(st.Devices) != 1 || st.Devices[0].State != wire.DevicePresent || st.Devices[0].Container != "owner" {
		t.Errorf("devices %+v, %v", st.Devices, err)
	}
	archive := filepath.Join(m.project, "counter.tar")
	m.must("data", "export", "counter", "--to", archive)
	m.must("data", "import", "counter", "--from", archive, "--version", "1")
	if got := m.must("data", "snapshots", "counter"); !strings.Contains(got, "before import") {
		t.Errorf("snapshots of counter:\n%s", got)
	}
	m.must("start", "counter") // version 2 finds version 1, and a snapshot is made
	if got := m.must("data", "snapshots", "counter"); !strings.Contains(got, "before upgrade") {
		t.Errorf("snapshots of counter after an upgrade:\n%s", got)
	}
}

// containers returns how many the machine runs.
func (m *machine) containers() int {
	m.t.Helper()
	st, err := m.status()
	if err != nil {
		m.t.Fatal(err)
	}
	return len(st.Containers)
}

// checkVM holds in a virtual machine.
func (m *machine) checkVM(start string) {
	t := m.t
	body, err := get("http://" + m.forward("http") + "/")
	if err != nil || !strings.Contains(body, "inspected on 6.12") {
		t.Errorf("the server answers %q, %v", body, err)
	}
	if body, err := get("http://" + m.forward("door") + "/"); err != nil || body != "the door is open\n" {
		t.Errorf("behind the door is %q, %v", body, err)
	}
	if body, err := get("http://" + m.forward("press") + "/"); err != nil || !strings.Contains(body, "inspected on 6.12") {
		t.Errorf("the published port answers %q, %v", body, err)
	}
	if got := m.log("counter"); !strings.Contains(got, "start "+start) {
		t.Errorf("counter says %q, want start %s", got, start)
	}
	m.checkMemory()
	m.checkDisk()
	if log := m.log("init"); strings.Contains(log, "making a spare") { // those of what a switch would start are there by now
		t.Errorf("a spare could not be made:\n%s", tail(log, 40))
	}
	st, err := m.status()
	if err != nil {
		t.Fatal(err)
	}
	if len(st.Warnings) > 0 {
		t.Errorf("warnings on a machine of our own: %q", st.Warnings)
	}
	if !slices.ContainsFunc(st.Interfaces, func(i wire.InterfaceStatus) bool { return i.Name == "lan" && len(i.Addresses) > 0 }) {
		t.Errorf("interfaces: %+v; want lan with an address", st.Interfaces)
	}
	if c := m.container("server"); c.Memory == 0 {
		t.Errorf("server: no memory is accounted: %+v", c)
	}
	if got := m.log("hoarder"); !regexp.MustCompile(`stashed (9|10)\d\d KiB: .*quota exceeded`).MatchString(got) {
		t.Errorf("hoarder says %q; want it to stop at 1 MiB", got)
	}
	if st.Ready == 0 {
		t.Errorf("no time from the kernel's start to init's: %+v", st)
	}
}

func get(url string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if resp.StatusCode != http.StatusOK {
		err = errors.Join(err, errors.New(resp.Status))
	}
	return string(b), err
}
