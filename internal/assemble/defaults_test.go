package assemble

import (
	"debug/elf"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/source/oci/ocitest"
	"github.com/instar-os/instar/internal/system"
)

// imageWorld is a machine with one image and its container.
func imageWorld(t *testing.T, container string, process ocitest.Map, more ...ocitest.Item) (*world, *config.Definition) {
	t.Helper()
	w := newWorld(t)
	w.publish()
	program := ocitest.File("usr/local/bin/app", tiny(elf.EM_X86_64)).With(setuid)
	items := append([]ocitest.Item{program, ocitest.File("etc/passwd", "root:x:0:0::/root:/bin/sh\napp:x:100:101::/home/app:/bin/sh\n"),
		ocitest.File("etc/group", "app:x:101:\ndisk:x:6:app\n")}, more...)
	ocitest.Layout(t, filepath.Join(w.b.Dir, "layout"), ocitest.Image{Layers: [][]byte{ocitest.Tar(t, items...)}, Config: process})
	return w, w.imageDefinition("path: layout", container)
}

// resolve builds the container panel.
func (w *world) resolve(def *config.Definition) (system.Container, map[string][]Default, error) {
	w.t.Helper()
	lk := w.mustLock(def, nil)
	trees, err := w.b.Trees(w.t.Context(), def, lk, "amd64", usedTrees(def))
	if err != nil {
		w.t.Fatal(err)
	}
	filled, notes, err := w.b.withImages(w.t.Context(), def, lk, "amd64", trees)
	if err != nil {
		return system.Container{}, nil, err
	}
	all, err := w.b.containers(w.t.Context(), filled, "amd64", trees)
	return all["panel"], notes, err
}

var everything = ocitest.Map{
	"Entrypoint": []string{"app", "--serve"}, "Cmd": []string{"default"}, "Env": []string{"PATH=/bin:/usr/local/bin", "COLOUR=red", "SIZE=1"},
	"User": "app:disk", "WorkingDir": "/srv", "StopSignal": "SIGQUIT", "StopTimeout": 3, "Volumes": ocitest.Map{"/var/lib/app": ocitest.Map{}},
	"ExposedPorts": ocitest.Map{"8080/tcp": ocitest.Map{}},
	"Healthcheck":  ocitest.Map{"Test": []string{"CMD", "app", "--check"}, "Interval": 1e9, "Retries": 5},
}

func TestImageDefaults(t *testing.T) {
	w, def := imageWorld(t, "env: {SIZE: \"2\"}", everything)
	c, notes, err := w.resolve(def)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(c.Args, " "); got != "/usr/local/bin/app --serve default" {
		t.Errorf("command %q", got)
	}
	for _, want := range []string{"COLOUR=red", "SIZE=2", "PATH=/bin:/usr/local/bin", "USER=app", "HOME=/home/app"} {
		if !slices.Contains(c.Env, want) {
			t.Errorf("%s is not in %q", want, c.Env)
		}
	}
	if c.UID != 100 || c.GID != 6 || c.Dir != "/srv" || c.Stop.Signal != 3 || c.Stop.Timeout != 3e9 {
		t.Errorf("user %d:%d, dir %s, stop %+v", c.UID, c.GID, c.Dir, c.Stop)
	}
	if len(c.Data) != 1 || c.Data[0].Path != "/var/lib/app" || c.Data[0].UID != 100 {
		t.Errorf("data %+v", c.Data)
	}
	if h := c.Health; h == nil || strings.Join(h.Exec, " ") != "/usr/local/bin/app --check" || h.Interval != 1e9 || h.Timeout != 30e9 || h.Retries != 5 {
		t.Errorf("health %+v", c.Health)
	}
	for _, d := range notes["panel"] {
		if used := d.Key != "env.SIZE" && d.Key != "ports"; d.Used != used || d.Image != "layout" {
			t.Errorf("%+v", d)
		}
	}
}

func TestDefinitionOverridesImage(t *testing.T) {
	w, def := imageWorld(t, "args: [mine], user: \"7\", dir: /, stop: {signal: INT, timeout: 1s}, health: {tcp: 80}, tmpfs: [{path: /var/lib}]", everything)
	c, notes, err := w.resolve(def)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(c.Args, " "); got != "/usr/local/bin/app --serve mine" {
		t.Errorf("command %q", got)
	}
	if c.UID != 7 || c.Dir != "/" || c.Stop.Signal != 2 || c.Stop.Timeout != 1e9 || c.Health.TCP == "" || len(c.Data) != 0 {
		t.Errorf("user %d, dir %s, stop %+v, health %+v, data %+v", c.UID, c.Dir, c.Stop, c.Health, c.Data)
	}
	for _, d := range notes["panel"] {
		if used := d.Key == "command" || strings.HasPrefix(d.Key, "env."); d.Used != used {
			t.Errorf("%+v", d)
		}
	}
	w, def = imageWorld(t, "command: [/usr/local/bin/app]", ocitest.Map{"Entrypoint": []string{"nothing"}})
	if c, _, err := w.resolve(def); err != nil || len(c.Args) != 1 {
		t.Errorf("%q, %v: a command needs nothing of the image", c.Args, err)
	}
}

func TestImageUsers(t *testing.T) {
	for user, want := range map[string][2]uint32{"": {0, 0}, "app": {100, 101}, "100": {100, 101}, "5000": {5000, 0}, "5000:disk": {5000, 6}, "app:7": {100, 7}} {
		w, def := imageWorld(t, "root: read-only", ocitest.Map{"Cmd": "/usr/local/bin/app", "User": user})
		c, _, err := w.resolve(def)
		if err != nil || c.UID != want[0] || c.GID != want[1] {
			t.Errorf("%q is %d:%d, %v; want %v", user, c.UID, c.GID, err, want)
		}
	}
}

func TestImageDefaultsRefused(t *testing.T) {
	for want, process := range map[string]ocitest.Map{
		"has neither entrypoint nor cmd":   {},
		`"absent" is in no directory`:      {"Cmd": []string{"absent"}},
		`/etc/passwd of its trees has no`:  {"Cmd": "/usr/local/bin/app", "User": "nobody"},
		`its /etc/group has no "nogroup"`:  {"Cmd": "/usr/local/bin/app", "User": "app:nogroup"},
		`signal "SIGNOTHING"`:              {"Cmd": "/usr/local/bin/app", "StopSignal": "SIGNOTHING"},
		"/etc has files in it, as etc/":    nil,
		"health check: image layout: \"no": {"Cmd": "/usr/local/bin/app", "Healthcheck": ocitest.Map{"Test": []string{"CMD", "no"}}},
	} {
		if process == nil {
			want, process = "a volume at /etc with files in it", ocitest.Map{"Cmd": "/usr/local/bin/app", "Volumes": ocitest.Map{"/etc": ocitest.Map{}}}
		}
		w, def := imageWorld(t, "root: read-only", process)
		if _, _, err := w.resolve(def); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}
