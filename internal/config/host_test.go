package config

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
)

func TestBrokenHosts(t *testing.T) { broken(t, "testdata/host.txtar") }

// broken reads definitions none of which may be good, and compares what is said.
func broken(t *testing.T, archive string) {
	t.Helper()
	got := map[string]string{}
	for _, s := range samples(t, archive) {
		f, err := Read(s.files, "site.yaml")
		var errs *Errors
		if f != nil || !errors.As(err, &errs) {
			t.Errorf("%s: is read, or fails without Errors: %v", s.name, err)
			continue
		}
		got[s.name] = err.Error() + "\n"
		within(t, s.files, errs)
	}
	golden(t, archive, got)
}

const hosted = `machine: m
sources: {debian: {archive: debian, suites: [trixie]}}
kernel: {from: debian, package: linux-image-cloud-amd64}
trees: {t: {from: debian, packages: [busybox]}, system: {from: debian, packages: [systemd]}}
containers: {c: {trees: [t], command: [/bin/x]}}
default: h
configurations:
  r: {fallback: true, containers: [c]}
  h: {containers: [c], host: HOST}
`

func TestGoodHosts(t *testing.T) {
	for _, row := range []struct {
		text string
		want Host
	}{
		{"{trees: [system]}", Host{Trees: []string{"system"}, Init: "/usr/lib/systemd/systemd", Root: "ephemeral"}},
		{"{trees: [t, system], init: /sbin/init, root: kept, agent: 127.0.0.1:9273}",
			Host{Trees: []string{"t", "system"}, Init: "/sbin/init", Root: "kept", Agent: "127.0.0.1:9273"}},
	} {
		f, err := Read(fstest.MapFS{"site.yaml": {Data: []byte(strings.Replace(hosted, "HOST", row.text, 1))}}, "site.yaml")
		if err != nil {
			t.Errorf("%s: %v", row.text, err)
			continue
		}
		def := f.Definition
		if got := *def.Configurations["h"].Host; !reflect.DeepEqual(got, row.want) {
			t.Errorf("%s: got %+v, want %+v", row.text, got, row.want)
		}
		if def.Configurations["r"].Host != nil {
			t.Error("a configuration that declares no host has one")
		}
	}
}

// TestHostWithEverything gives containers beside a host what others can have.
func TestHostWithEverything(t *testing.T) {
	text := strings.Replace(hosted, "HOST}", `{trees: [system]},
    links: [{name: lines, type: pipe, from: c, to: [d]}],
    devices: [{name: one, container: c, match: {subsystem: tty, name: ttyS1}, to: /dev/one}],
    networks: {field: {members: {c: {addresses: [10.9.0.1/24]}, d: {addresses: [10.9.0.2/24]}}}}}`, 1)
	text = strings.Replace(text, "h: {containers: [c]", "h: {containers: [c, d]", 1)
	text = strings.Replace(text, "command: [/bin/x]}}", "command: [/bin/x]}, d: {trees: [t], command: [/bin/x], needs: [c]}}", 1)
	if _, err := Read(fstest.MapFS{"site.yaml": {Data: []byte(text)}}, "site.yaml"); err != nil {
		t.Error(err)
	}
}
