package assemble

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/tree"
)

const accelerator = `{"cdiVersion": "0.6.0", "kind": "example.org/accel", "containerEdits": {"env": ["ALL=1", "LANG=C"]}, "devices": [
 {"name": "0", "containerEdits": {"deviceNodes": [{"path": "/dev/accel/0", "hostPath": "/dev/accel0", "permissions": "rw"}], "env": ["ONE=1"],
  "additionalGids": [44], "mounts": [{"hostPath": "/usr/lib/a.so", "containerPath": "/opt/a.so", "options": ["ro"]}]}},
 {"name": "1", "containerEdits": {"deviceNodes": [{"path": "/dev/accel1", "type": "b", "major": 9, "minor": 1}]}}]}`

func TestCDI(t *testing.T) {
	apply := func(text, ref string) (system.Container, *tree.Tree, error) {
		root := tree.New()
		for _, name := range []string{"usr", "usr/lib"} {
			if err := root.Put(name, tree.Entry{Kind: tree.Dir, Mode: 0o755}); err != nil {
				t.Fatal(err)
			}
		}
		if err := root.Put("usr/lib/a.so", tree.Entry{Kind: tree.File, Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		c := system.Container{Env: []string{"LANG=C.UTF-8", "ONE=mine"}, Groups: []uint32{44}}
		err := applyCDI(fstest.MapFS{"a.json": {Data: []byte(text)}}, []string{ref}, map[string]string{"ONE": "mine"}, &c, root)
		return c, root, err
	}
	c, root, err := apply(accelerator, "./a.json#0")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(c.Env, " "); got != "ALL=1 LANG=C ONE=mine" || len(c.Groups) != 1 {
		t.Errorf("environment %s, groups %v", got, c.Groups)
	}
	if len(c.Devices) != 1 || c.Devices[0].To != "/dev/accel/0" || c.Devices[0].Match.Name != "accel0" || !c.Devices[0].Required {
		t.Errorf("devices %+v", c.Devices)
	}
	if e, ok := root.Stat("opt/a.so"); !ok || e.Kind != tree.File {
		t.Errorf("the mount's content is %+v, %v", e, ok)
	}
	if c, _, err = apply(accelerator, "a.json#1"); err != nil || c.Devices[0].Match.Attributes["dev"] != "9:1" || c.Devices[0].Match.Subsystem != "block" {
		t.Errorf("device by number: %+v, %v", c.Devices, err)
	}
	node := func(s string) string {
		return `{"cdiVersion": "0.6.0", "devices": [{"name": "x", "containerEdits": {` + s + `}}]}`
	}
	for want, text := range map[string]string{
		"write FILE#DEVICE":             accelerator,
		"it has hooks":                  node(`"hooks": [{"hookName": "createContainer", "path": "/usr/bin/x"}]`),
		"no tree of the container":      node(`"mounts": [{"hostPath": "/usr/lib/b.so", "containerPath": "/b"}]`),
		"only files can be in two":      node(`"mounts": [{"hostPath": "/usr/lib", "containerPath": "/b"}]`),
		"not below /dev":                node(`"deviceNodes": [{"path": "/srv/x"}]`),
		"type \"p\" is not understood":  node(`"deviceNodes": [{"path": "/dev/x", "type": "p"}]`),
		"permissions \"w\"":             node(`"deviceNodes": [{"path": "/dev/x", "permissions": "w"}]`),
		"unknown field \"intelRdt\"":    node(`"intelRdt": {}`),
		"is no variable":                node(`"env": ["X"]`),
		"of CDI version \"2.0.0\"":      `{"cdiVersion": "2.0.0"}`,
		"something follows its object":  node("") + "{}",
		"type \"tmpfs\" is not underst": node(`"mounts": [{"hostPath": "/usr/lib/a.so", "containerPath": "/b", "type": "tmpfs"}]`),
	} {
		if _, _, err := apply(text, "a.json"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n gives %v, want %q", text, err, want)
		}
	}
	if _, _, err := apply(accelerator, "a.json#7"); err == nil || !strings.Contains(err.Error(), "no device 7") {
		t.Errorf("a device that is not there: %v", err)
	}
}

// TestOwnership has devices of the definition and of CDI files of two containers.
func TestOwnership(t *testing.T) {
	cdi := system.Device{Name: "accel", To: "/dev/accel", Match: system.DeviceMatch{Name: "accel0"}}
	conf := func() *system.Configuration {
		return &system.Configuration{Containers: []system.Container{{Name: "a", Devices: []system.Device{cdi}}, {Name: "b"}}}
	}
	device := config.Device{Name: "x", Container: "b", To: "/dev/x", Match: config.DeviceMatch{Name: "accel1", Vendor: "0x1AF4"}}
	c := conf()
	if err := own(c, []config.Device{device}); err != nil || len(c.Containers[1].Devices) != 1 || c.Containers[1].Devices[0].Match.Vendor != "1af4" {
		t.Errorf("%+v, %v", c.Containers[1], err)
	}
	device.Match.Name = "accel*"
	if err := own(conf(), []config.Device{device}); err == nil || !strings.Contains(err.Error(), "could be both accel of container a and x of container b") {
		t.Errorf("two owners: %v", err)
	}
	device.Container, device.To = "a", "/dev/accel"
	if err := own(conf(), []config.Device{device}); err == nil || !strings.Contains(err.Error(), "both at /dev/accel") {
		t.Errorf("two at one path: %v", err)
	}
}

func FuzzCDI(f *testing.F) {
	f.Add([]byte(accelerator), "0")
	f.Add([]byte(`{"cdiVersion":"0.3.0","devices":[{}]}`), "")
	f.Fuzz(func(t *testing.T, b []byte, name string) {
		all, err := parseCDI(b, name)
		if err != nil {
			return
		}
		for _, e := range all {
			c := system.Container{}
			_ = e.apply(nil, &c, tree.New()) // must not panic
			for _, d := range c.Devices {
				if !strings.HasPrefix(d.To, "/dev/") {
					t.Errorf("a device at %s", d.To)
				}
			}
		}
	})
}
