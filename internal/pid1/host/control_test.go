package host

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/wire"
)

// fake is a Control with a given status.
type fake struct {
	wire.Control
	status wire.Status
}

func (f *fake) Status() wire.Status { return f.status }

// world answers for systemctl.
type world struct {
	units, manager, failed string
	asked                  []string
}

func (w *world) run(_ context.Context, args ...string) (string, error) {
	line := "systemctl " + strings.Join(args, " ")
	w.asked = append(w.asked, line)
	switch {
	case strings.Contains(line, "SystemState"):
		return w.manager, nil
	case strings.Contains(line, "list-units"):
		return w.failed, nil
	case strings.Contains(line, " show "):
		return w.units, nil
	case strings.Contains(line, "wrong"):
		return "", errors.New("no such job")
	}
	return "", nil
}

// serve is a unit's socket.
func serve(t *testing.T, dir, name string, st wire.Status) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(dir, name+".sock"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- wire.Listen(ctx, l, &fake{status: st}) }()
	t.Cleanup(func() { cancel(); <-done })
}

const unitsUp = `Id=instar-page.service
ActiveState=active
SubState=running
Result=success
NRestarts=2
ExecMainStatus=0
StateChangeTimestamp=@1795259952

Id=instar-once.service
ActiveState=active
SubState=exited
Result=success
NRestarts=0
ExecMainStatus=0
StateChangeTimestamp=@1795259953
`

func control(t *testing.T, w *world) (*Control, string) {
	dir := t.TempDir()
	c := workbench()
	c.Containers = c.Containers[:2]
	base := &fake{status: wire.Status{Machine: "m", Healthy: true, Warnings: []string{"of the first stage"}}}
	return &Control{Control: base, Configuration: c, Units: dir, Run: w.run}, dir
}

func TestStatus(t *testing.T) {
	w := &world{units: unitsUp, manager: "SystemState=running\nNFailedUnits=0\n"}
	c, dir := control(t, w)
	serve(t, dir, "page", wire.Status{Containers: []wire.ContainerStatus{{Name: "page", State: wire.Healthy, PID: 7}}, Warnings: []string{"no limit"}})
	s := c.Status()
	if !s.Healthy || s.Host != "running" || s.Machine != "m" {
		t.Errorf("status %+v", s)
	}
	if p := s.Containers[0]; p.PID != 7 || p.Restarts != 2 || p.State != wire.Healthy {
		t.Errorf("page: %+v", p)
	}
	if o := s.Containers[1]; o.State != wire.Done || *o.ExitCode != 0 || o.Since != time.Unix(1795259953, 0).UTC() {
		t.Errorf("once: %+v", o)
	}
	if !slices.Equal(s.Warnings, []string{"of the first stage", "no limit"}) {
		t.Errorf("warnings %q", s.Warnings)
	}
}

func TestUnhealthyHosts(t *testing.T) {
	for _, row := range []struct {
		name  string
		world world
		want  string // a warning
	}{
		{"starting", world{units: unitsUp, manager: "NFailedUnits=0\nSystemState=starting\n"}, ""},
		{"a failed unit", world{units: unitsUp, manager: "NFailedUnits=1\nSystemState=degraded\n", failed: "ldconfig.service loaded failed failed x\n"}, "ldconfig.service"},
		{"a container that failed", world{units: strings.Replace(unitsUp, "ActiveState=active\nSubState=exited", "ActiveState=failed\nSubState=failed", 1), manager: "NFailedUnits=0\nSystemState=running\n"}, ""},
	} {
		c, dir := control(t, &row.world)
		serve(t, dir, "page", wire.Status{Containers: []wire.ContainerStatus{{Name: "page", State: wire.Healthy}}})
		s := c.Status()
		if s.Healthy || !strings.Contains(strings.Join(s.Warnings, "\n"), row.want) {
			t.Errorf("%s: %+v", row.name, s)
		}
	}
}

func TestFromUnit(t *testing.T) {
	once, page := &system.Container{OneShot: true}, &system.Container{}
	for _, row := range []struct {
		c     *system.Container
		props string
		want  wire.State
	}{
		{once, "ActiveState=active", wire.Done},
		{page, "ActiveState=active", wire.Starting},
		{page, "ActiveState=activating\nSubState=start", wire.Starting},
		{page, "ActiveState=activating\nSubState=auto-restart", wire.Backoff},
		{page, "ActiveState=activating\nSubState=auto-restart-queued", wire.Backoff},
		{page, "ActiveState=deactivating", wire.Stopping},
		{page, "ActiveState=failed\nResult=exit-code\nExecMainStatus=3", wire.Failed},
		{page, "ActiveState=inactive", wire.Stopped},
		{page, "ActiveState=inactive\nJob=17", wire.Waiting},
		{page, "", wire.Stopped},
	} {
		if got := fromUnit(row.c, properties(row.props)[0]); got.State != row.want {
			t.Errorf("%q: %s, want %s", row.props, got.State, row.want)
		}
	}
}

func TestJobs(t *testing.T) {
	w := &world{}
	c, _ := control(t, w)
	for _, row := range []struct {
		do   func() error
		want string
	}{
		{func() error { return c.Start(t.Context(), "page") }, "systemctl --no-block start instar-page.service"},
		{func() error { return c.Stop(t.Context(), "page") }, "systemctl stop instar-page.service"},
		{func() error { return c.Restart(t.Context(), "once") }, "systemctl --no-block restart instar-once.service"},
		{c.PowerOff, "systemctl --no-block poweroff"},
		{c.Reboot, "systemctl --no-block reboot"},
	} {
		w.asked = nil
		if err := row.do(); err != nil || !slices.Equal(w.asked, []string{row.want}) {
			t.Errorf("want %s: asked %q, %v", row.want, w.asked, err)
		}
	}
	if err := c.Start(t.Context(), "ssh.service"); err == nil || !strings.Contains(err.Error(), "no container") {
		t.Errorf("starting what is no container: %v", err)
	}
}

func FuzzProperties(f *testing.F) {
	f.Add(unitsUp)
	f.Add("\n\n=\n")
	f.Fuzz(func(t *testing.T, text string) {
		if len(properties(text)) == 0 {
			t.Error("not even an empty block")
		}
	})
}

func TestOutput(t *testing.T) {
	if got, err := output(t.Context(), []string{"/bin/sh", "-c", "echo a; echo $LC_ALL"}); got != "a\nC.UTF-8\n" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := output(t.Context(), []string{"/bin/sh", "-c", "echo why >&2; exit 3"}); err == nil || !strings.Contains(err.Error(), "why") {
		t.Errorf("a failure says %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := output(ctx, []string{"/bin/sh", "-c", "sleep 10"}); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 5*time.Second {
		t.Errorf("a program that hangs: %v after %v", err, time.Since(began))
	}
}
