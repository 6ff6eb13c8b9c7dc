package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/pid1/logs"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/wire"
)

// workbench is a configuration with one container of each kind.
func workbench() *system.Configuration {
	ms := func(n int64) int64 { return n * int64(time.Millisecond) }
	return &system.Configuration{
		Name: "workbench", Host: &system.Userland{Agent: "9273", Kept: true},
		Containers: []system.Container{
			{Name: "page", Restart: system.Restart{Policy: system.RestartAlways, Min: ms(100), Max: ms(30000)},
				Health: &system.Health{TCP: "127.0.0.1:80", Interval: ms(5000), Timeout: ms(2000), Within: ms(30000), Retries: 3},
				Stop:   system.Stop{Signal: 15, Timeout: ms(10000)}},
			{Name: "once", OneShot: true, Restart: system.Restart{Policy: system.RestartOnFailure, Min: ms(50), Max: ms(50)},
				Stop: system.Stop{Timeout: ms(500)}, After: []string{"page"}},
			{Name: "plain", Restart: system.Restart{Policy: system.RestartNever}, After: []string{"once", "page"}},
		},
	}
}

func TestGenerate(t *testing.T) {
	files := Generate(workbench(), "/run/instar")
	dir := t.TempDir()
	if err := WriteUnits(dir, files); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"instar.service", "instar-agent.service", "instar-page.service", "instar-once.service", "instar-plain.service"} {
		to, err := os.Readlink(filepath.Join(dir, "multi-user.target.wants", name))
		if err != nil || to != "../"+name {
			t.Errorf("%s is not wanted: %q, %v", name, to, err)
		}
	}
	for _, row := range []struct {
		file string
		want []string
	}{
		{"instar.service", []string{"Type=notify", "ExecStart=/usr/lib/instar/instar-init host", "Restart=always"}},
		{"instar-agent.service", []string{"ExecStart=/usr/lib/instar/instar-agent --listen 127.0.0.1:9273", "DynamicUser=yes", "CapabilityBoundingSet="}},
		{"instar-page.service", []string{"Type=notify", "TimeoutStartSec=51s", "TimeoutStopSec=25s", "Delegate=yes", "DelegateSubgroup=supervisor",
			"KillMode=mixed", "ExecStart=/usr/lib/instar/instar-init start page", "After=instar.service", "Wants=instar.service",
			"Restart=always", "RestartSec=100000us", "RestartMaxDelaySec=30000000us", "RestartSteps=9", "StartLimitIntervalSec=0"}},
		{"instar-once.service", []string{"Type=oneshot", "RemainAfterExit=yes", "Restart=on-failure", "RestartSec=50000us", "TimeoutStopSec=16s",
			"After=instar.service instar-page.service", "Wants=instar.service instar-page.service"}},
		{"instar-plain.service", []string{"Type=notify", "TimeoutStartSec=infinity", "Restart=no", "After=instar.service instar-once.service instar-page.service"}},
		{"run-instar-store.mount.d/instar.conf", []string{"DefaultDependencies=no"}},
		{"run-instar-data.mount.d/instar.conf", []string{"DefaultDependencies=no"}},
	} {
		b, err := os.ReadFile(filepath.Join(dir, row.file))
		if err != nil {
			t.Error(err)
			continue
		}
		lines := strings.Split(string(b), "\n")
		for _, w := range row.want {
			if !contains(lines, w) {
				t.Errorf("%s has no line %q:\n%s", row.file, w, b)
			}
		}
	}
	if text := files["instar-once.service"]; strings.Contains(text, "RestartSteps") {
		t.Errorf("a constant delay has steps:\n%s", text)
	}
}

func contains(lines []string, want string) bool {
	for _, l := range lines {
		if l == want {
			return true
		}
	}
	return false
}

// TestNeeds holds that units require what they cannot be without, and are bound
// to what is not started again.
func TestNeeds(t *testing.T) {
	c := &system.Configuration{Host: &system.Userland{}, Containers: []system.Container{
		{Name: "broker", Restart: system.Restart{Policy: system.RestartAlways, Min: 1e9, Max: 1e9}},
		{Name: "once", Restart: system.Restart{Policy: system.RestartNever}},
		{Name: "panel", After: []string{"broker", "once"}, Needs: []string{"broker", "once"}},
		{Name: "linked", Descriptors: []system.Descriptor{{Link: "x"}}},
		{Name: "member", Network: system.MemberNetwork},
	}}
	files := Generate(c, "/run/instar")
	for name, want := range map[string][3]string{ // what it requires, is bound to, and comes after
		"broker": {"", "", "instar.service"},
		"panel":  {"instar-broker.service", "instar-once.service", "instar.service instar-broker.service instar-once.service"},
		"linked": {"instar.service", "", "instar.service"},
		"member": {"instar.service", "", "instar.service"},
	} {
		got := map[string]string{}
		for line := range strings.Lines(files[unitName(name)]) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			got[key] = value
		}
		if have := [3]string{got["Requires"], got["BindsTo"], got["After"]}; have != want {
			t.Errorf("%s: got %q, want %q", name, have, want)
		}
	}
}

func TestNothingThatIsNotDeclared(t *testing.T) {
	c := workbench()
	c.Host = &system.Userland{}
	files := Generate(c, "/run/instar")
	for _, name := range []string{"instar-agent.service", "run-instar-data.mount.d/instar.conf"} {
		if _, ok := files[name]; ok {
			t.Errorf("there is %s", name)
		}
	}
}

func TestRecord(t *testing.T) {
	dir := t.TempDir()
	want := Record{System: digest.Of([]byte("x")), Configuration: "workbench", Ready: 5, Data: true, Warnings: []string{"w"}}
	if err := want.Write(dir); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadRecord(dir); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := ReadRecord(t.TempDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a record: %v", err)
	}
}

func TestNotify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := Notify(path, "READY=1"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	n, err := l.Read(b)
	if err != nil || string(b[:n]) != "READY=1" {
		t.Errorf("told %q, %v", b[:n], err)
	}
	if Notify(filepath.Join(t.TempDir(), "none"), "READY=1") == nil {
		t.Error("nobody listens and that is no error")
	}
	if err := Notify("", "READY=1"); err != nil {
		t.Error(err)
	}
}

// TestLines sends output of containers to a log by way of the socket.
func TestLines(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "lines.sock")
	var out, errs bytes.Buffer
	lines := &Lines{Path: path, Out: &out, Err: &errs}
	early := lines.Output("page", "stdout") // before anybody listens
	fmt.Fprintln(early, "lost to the log")

	book := logs.New(new(bytes.Buffer), time.Now, time.Now())
	l, err := ListenLines(path, book)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("others may write lines: %v, %v", st.Mode(), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- l.Serve(ctx) }()
	fmt.Fprintln(early, "kept")
	failing := lines.Output("page", "stderr")
	fmt.Fprint(failing, "half a line")
	failing.Close()
	early.Close()
	lines.Printf("%s: started", "page")
	wait(t, func() bool { return len(book.Page(wire.LogsRequest{}).Lines) == 3 })
	for _, want := range []string{"page stdout kept", "page stderr half a line", "init init page: started"} {
		found := false
		for _, got := range book.Page(wire.LogsRequest{}).Lines {
			found = found || got.Container+" "+got.Stream+" "+got.Text == want
		}
		if !found {
			t.Errorf("the log has no %q: %+v", want, book.Page(wire.LogsRequest{}))
		}
	}
	if out.String() != "lost to the log\nkept\n" || errs.String() != "half a linepage: started\n" {
		t.Errorf("the journal gets %q and %q", out.String(), errs.String())
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if n, err := fmt.Fprintln(early, "after"); n != 6 || err != nil {
		t.Errorf("writing without a log: %d, %v", n, err)
	}
}

func wait(t *testing.T, holds func() bool) {
	t.Helper()
	for range 200 {
		if holds() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("it does not come")
}

func TestHeaderOfLines(t *testing.T) {
	for _, row := range []string{"", "page", "page\n", " stdout\nx\n", strings.Repeat("x", 2*maxHeader) + " stdout\nx\n"} {
		book := logs.New(new(bytes.Buffer), time.Now, time.Now())
		(&Listener{log: book}).take(strings.NewReader(row))
		if got := book.Page(wire.LogsRequest{}).Lines; len(got) > 0 {
			t.Errorf("%.20q: taken as %+v", row, got)
		}
	}
}

func TestOwnLines(t *testing.T) {
	var out bytes.Buffer
	w := OwnLines(&out)
	for _, line := range []string{"[    1.000000] init: up\n", "[    2.000000] page: ] init: no\n", "(3 lines not shown)\n"} {
		if n, err := w.Write([]byte(line)); n != len(line) || err != nil {
			t.Error(n, err)
		}
	}
	if out.String() != "[    1.000000] init: up\n(3 lines not shown)\n" {
		t.Errorf("shown: %q", out.String())
	}
}
