package config

import (
	"errors"
	"net/netip"
	"testing"
	"testing/fstest"
)

func TestBrokenNetworks(t *testing.T) {
	const archive = "testdata/networks.txtar"
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

// goodNetworks has every type with every key.
const goodNetworks = `machine: m
sources: {debian: {archive: debian, suites: [trixie]}}
kernel: {from: debian, package: linux-image-cloud-amd64}
network:
  lan: {match: {driver: virtio_net}, addresses: [192.0.2.10/24]}
  wan: {match: {driver: e1000}, dhcp: true}
trees: {t: {from: debian, packages: [busybox]}}
containers:
  a: {trees: [t], command: [/bin/x]}
  b: {trees: [t], command: [/bin/x]}
  c: {trees: [t], command: [/bin/x]}
  out: {trees: [t], command: [/bin/x]}
  web: {trees: [t], command: [/bin/x], network: host, health: {http: "http://127.0.0.1:8080/x"}}
  ssh: {trees: [t], command: [/bin/x], network: host, health: {tcp: 22}}
default: r
configurations:
  r:
    fallback: true
    containers: [a, b, c, web, ssh]
    networks:
      field:
        members: {a: {addresses: [10.9.0.1/24, "fd09::1/64"]}, b: {addresses: [10.9.0.2/24, "fd09::2/64"], mac: "02:00:00:00:00:02", interface: eth0}}
        gateway: {addresses: [10.9.0.254/24], masquerade: true}
        publish: [{container: a, port: 80}, {container: a, port: 53, protocol: udp}, {container: b, port: 80, machinePort: 81, on: lan}, {container: b, port: 80, machinePort: 81, on: wan}]
        dns: [10.9.0.254]
        mtu: 1400
      pair: {type: point-to-point, members: {a: {addresses: [10.8.0.0/31]}, c: {addresses: [10.8.0.1/31]}}}
      share: {type: macvlan, over: lan, members: {c: {addresses: [192.0.2.30/24]}}, routers: [192.0.2.1]}
      cable: {type: move, match: {path: "0000:00:05.0"}, members: {c: {addresses: [198.51.100.1/24]}}}
`

func TestGoodNetworks(t *testing.T) {
	f, err := Read(fstest.MapFS{"site.yaml": {Data: []byte(goodNetworks)}}, "site.yaml")
	if err != nil {
		t.Fatal(err)
	}
	nets := f.Definition.Configurations["r"].Networks
	field := nets["field"]
	if len(nets) != 4 || field.Type != "bridge" || !field.Gateway.Masquerade || field.Publish[0].At() != 80 || field.Publish[2].At() != 81 ||
		field.Publish[0].Protocol != "tcp" || field.Members["b"].Interface != "eth0" {
		t.Errorf("networks %+v", nets)
	}
}

func TestUsable(t *testing.T) {
	for text, want := range map[string]bool{
		"10.0.0.1/24": true, "10.0.0.0/24": false, "10.0.0.255/24": false, "10.0.0.0/31": true, "10.0.0.1/31": true, "10.0.0.1/32": true,
		"255.255.255.254/24": true, "255.255.255.255/24": false, "0.0.0.0/8": false, "10.0.0.1/0": false,
		"fd00::/64": true, "fd00::1/64": true, "::ffff:10.0.0.1/120": false, "::/64": false, "fe80::1/64": true, "224.0.0.1/24": false,
	} {
		if got := usable(netip.MustParsePrefix(text)); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func TestHealthPort(t *testing.T) {
	for want, list := range map[int][]Health{
		0:    {{}, {File: "/x"}, {HTTP: "http://x:y/"}},
		22:   {{TCP: "22"}, {TCP: "127.0.0.1:22"}},
		80:   {{HTTP: "http://localhost/a:9"}, {HTTP: "http://[::1]/"}},
		8080: {{HTTP: "http://127.0.0.1:8080/"}, {HTTP: "http://[::1]:8080"}},
	} {
		for _, h := range list {
			if got := healthPort(&h); got != want {
				t.Errorf("%+v: port %d, want %d", h, got, want)
			}
		}
	}
	if healthPort(nil) != 0 {
		t.Error("a container without health check has a port")
	}
}
