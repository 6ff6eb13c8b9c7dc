package boot

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/linux"
	"github.com/instar-os/instar/internal/pid1/supervise"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/wire"
)

func TestLoader(t *testing.T) {
	dir := t.TempDir()
	l := newLoader(dir, digest.Of([]byte("x")))
	want := func(name string, once bool) {
		t.Helper()
		if got, one, err := l.next(); got != name || one != once || err != nil {
			t.Errorf("next is %q, once %v, %v; want %q, %v", got, one, err, name, once)
		}
	}
	if err := l.present(); err == nil || !strings.Contains(err.Error(), "not started by systemd-boot") {
		t.Errorf("no loader: %v", err)
	}
	if err := l.selected.Set(l.entry("day")); err != nil || l.present() != nil {
		t.Errorf("a loader: %v, %v", err, l.present())
	}
	want("", false)
	if err := l.set("night", false); err != nil {
		t.Fatal(err)
	}
	want("night", false)
	if err := l.set("day", true); err != nil {
		t.Fatal(err)
	}
	want("day", true)
	os.Remove(filepath.Join(dir, "LoaderEntryDefault-"+linux.EFILoader)) // efivarfs replaces the content
	if err := l.set("rescue", false); err != nil {
		t.Fatal(err)
	}
	want("rescue", false)
	// What another system's default was does not count.
	newLoader(dir, digest.Of([]byte("y"))).next1.Set("instar-000000000000.efi@other")
	want("rescue", false)
}

// planning is a machine that can plan and cannot run anything.
func planning(t *testing.T, from string) *machine {
	t.Helper()
	ct := func(name string) system.Container { return system.Container{Name: name, Args: []string{"/x"}} }
	m := newMachine(os.Stderr, time.Now())
	m.manifest = &system.Manifest{Default: "day", Boot: system.Boot{DataFS: system.Object{Digest: digest.Of(nil)}},
		Configurations: []system.Configuration{
			{Name: "day", Containers: []system.Container{ct("a"), ct("b")}},
			{Name: "night", Containers: []system.Container{ct("a"), ct("c")}},
			{Name: "quiet", Command: []string{"isolcpus=1"}, Containers: []system.Container{ct("a")}},
			{Name: "rescue", Fallback: true, Containers: []system.Container{ct("a")}},
		}}
	c, _ := m.manifest.Configuration(from)
	var err error
	if m.supervisor, err = supervise.New(c, nil, m.log); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestObstacles(t *testing.T) {
	for _, row := range []struct{ from, to, want string }{
		{"day", "day", ""},
		{"day", "night", ""},
		{"day", "quiet", `the kernel was started with "", quiet wants "isolcpus=1"`},
		{"quiet", "day", `the kernel was started with "isolcpus=1", day wants ""`},
		{"day", "rescue", "rescue is the fallback: it runs without the data partition, which is mounted"},
		{"rescue", "night", "rescue is the fallback: the data partition is not mounted"},
	} {
		m := planning(t, row.from)
		p, err := m.PlanSwitch(wire.SwitchRequest{Configuration: row.to, Mode: wire.SwitchLive})
		if err != nil || strings.Join(p.Reboot, "; ") != row.want || p.NoReboot != "its firmware keeps no variables" {
			t.Errorf("%s to %s: %q, %q, %v; want %q", row.from, row.to, p.Reboot, p.NoReboot, err, row.want)
		}
		if row.want == "" {
			continue
		}
		if _, err := m.Switch(t.Context(), wire.SwitchRequest{Configuration: row.to, Mode: wire.SwitchLive}); err == nil || !strings.HasSuffix(err.Error(), row.want) {
			t.Errorf("%s to %s: %v", row.from, row.to, err)
		}
	}
	m := planning(t, "day")
	m.manifest.Boot.DataFS = system.Object{}
	if p, err := m.PlanSwitch(wire.SwitchRequest{Configuration: "rescue", Mode: wire.SwitchLive}); err != nil || len(p.Reboot) > 0 {
		t.Errorf("a machine without data: %q, %v", p.Reboot, err)
	}
	for _, r := range []wire.SwitchRequest{
		{Configuration: "dusk", Mode: wire.SwitchLive}, {Configuration: "night", Mode: "fast"}, {Configuration: "night", Mode: wire.SwitchLive, Within: -1},
	} {
		if _, err := m.PlanSwitch(r); err == nil {
			t.Errorf("%+v is planned", r)
		}
	}
}

// TestSparable holds that there are spares of what a live switch would start,
// and of nothing else.
func TestSparable(t *testing.T) {
	names := func(m *machine) string {
		var all []string
		for _, c := range m.sparable() {
			all = append(all, c.Name)
		}
		return strings.Join(all, " ")
	}
	m := planning(t, "day")
	if got := names(m); got != "a c" { // nothing runs: a would be started as well
		t.Errorf("spares of %q", got)
	}
	m.manifest.Configurations[1].Containers[1].Data = []system.Data{{Path: "/x"}}
	if got := names(m); got != "a" {
		t.Errorf("with data, spares of %q", got)
	}
	if got := names(planning(t, "rescue")); got != "" {
		t.Errorf("from the fallback, spares of %q", got)
	}
}

func TestSwitchByReboot(t *testing.T) {
	m := planning(t, "day")
	reboot := wire.SwitchRequest{Configuration: "night", Mode: wire.SwitchReboot}
	refused := func(want string) {
		t.Helper()
		if _, err := m.Switch(t.Context(), reboot); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
		select {
		case <-m.ending:
			t.Error("it reboots")
		default:
		}
	}
	refused("its firmware keeps no variables")
	m.switcher.loader = newLoader(t.TempDir(), digest.Of([]byte("x")))
	refused("not started by systemd-boot")
	m.switcher.loader.selected.Set("x")
	m.switcher.argued = true
	refused("was given a configuration from outside")
	m.switcher.argued, m.contained = false, true
	refused("as containers on another Linux")
	m.contained = false

	if _, err := m.Switch(t.Context(), reboot); err != nil {
		t.Fatal(err)
	}
	if how := <-m.ending; how != Reboot {
		t.Errorf("the end is %q", how)
	}
	list, err := m.Configurations()
	if err != nil || list.Next != "night" || list.Once || list.Current != "day" || list.Default != "day" || len(list.List) != 4 {
		t.Errorf("configurations %+v, %v", list, err)
	}
}

// TestLiveSwitch runs real containers.
func TestLiveSwitch(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("running containers needs root")
	}
	w := &world{dir: filepath.Join(t.TempDir(), "store")}
	w.fill(t, nil, func(image system.Object) []system.Configuration {
		broker, panel := guest(image, "broker", "serve", ":8080"), guest(image, "panel", "serve", ":8081")
		broker.Data = []system.Data{{Path: "/data", Version: 1, Mode: 0o755, UID: 1000, GID: 1000, Shared: true}}
		panel.After = []string{"broker"}
		pump := guest(image, "pump", "serve", ":8082")
		pump.Health = health(system.Health{TCP: "127.0.0.1:8082"})
		broken := guest(image, "pump", "crash")
		broken.Health = pump.Health
		return []system.Configuration{
			{Name: "day", Containers: []system.Container{broker, panel}},
			{Name: "night", Containers: []system.Container{broker, pump}},
			{Name: "broken", Containers: []system.Container{broker, broken}},
			{Name: "rescue", Fallback: true, Containers: []system.Container{panel}},
		}
	})
	w.manifest.Configurations[3].Containers[0].After = nil
	r := w.start(t, build(t, "../../../cmd/instar-init"), "day")
	broker := r.healthy(t).Containers[0].PID

	for _, row := range []struct {
		to, runs, err string
		outcome       wire.Outcome
	}{
		{to: "night", runs: "broker pump", outcome: wire.OutcomeDone},
		{to: "broken", runs: "broker pump", outcome: wire.OutcomeReturned, err: "not healthy within 2s"},
		{to: "day", runs: "broker panel", outcome: wire.OutcomeDone},
	} {
		_, err := r.client.Switch(t.Context(), wire.SwitchRequest{Configuration: row.to, Mode: wire.SwitchLive, Within: 2 * time.Second})
		if (err != nil) != (row.err != "") || err != nil && !strings.Contains(err.Error(), row.err) {
			t.Errorf("to %s: %v, want %s", row.to, err, row.err)
		}
		st := r.healthy(t)
		var runs []string
		for _, c := range st.Containers {
			runs = append(runs, c.Name)
		}
		if got := strings.Join(runs, " "); got != row.runs || st.Switch == nil || st.Switch.Outcome != row.outcome || st.Switch.To != row.to {
			t.Errorf("to %s: runs %s, %+v", row.to, got, st.Switch)
		}
		if st.Containers[0].PID != broker || st.Containers[0].Restarts != 0 {
			t.Errorf("to %s: the broker was PID %d and is %+v", row.to, broker, st.Containers[0])
		}
		if !strings.Contains(st.Switch.Why, row.err) {
			t.Errorf("to %s: the status says %q", row.to, st.Switch.Why)
		}
	}
	if got := r.logs(t, "init"); !strings.Contains(got, "switching from day to night: kept broker; stopped panel; started pump") ||
		!strings.Contains(got, "not switched from night to broken") {
		t.Errorf("the log says\n%s", got)
	}
	if _, err := r.client.Switch(t.Context(), wire.SwitchRequest{Configuration: "night", Mode: wire.SwitchOnce}); !errors.Is(err, wire.ErrRemote) ||
		!strings.Contains(err.Error(), "as containers on another Linux") {
		t.Errorf("by reboot: %v", err)
	}
	if err := r.stop(); err != nil {
		t.Errorf("ended with %v", err)
	}
	if left := r.leftovers(t); left != "" {
		t.Errorf("left behind: %s", left)
	}
}

// What firmware or a virtual machine added to the command line holds for the
// next kernel, what chose the configuration does not.
func TestAdded(t *testing.T) {
	const own = "instar.system=ab instar.configuration=day quiet"
	for running, want := range map[string]string{
		own + "\n": "",
		own + " console=ttyS0 instar.configuration=night instar.kexec=1 panic=5\n": " console=ttyS0 panic=5",
		"other " + own:        "",
		own + ` dyndbg="a b"`: "",
	} {
		if got := added(running, own); got != want {
			t.Errorf("%q adds %q, want %q", running, got, want)
		}
	}
}
