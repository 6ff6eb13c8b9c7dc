package networks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/wiring"
)

// machine is a network namespace that stands for a machine.
type machine struct {
	t     *testing.T
	net   *Networks
	world *Networks // what is at the other end of the machine's interface wan
	ns    int
}

// newMachine makes the calling goroutine's thread live in a machine without
// interfaces.
func newMachine(t *testing.T) *machine {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("making a network namespace needs root")
	}
	for _, tool := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(tool + " (iproute2, nftables) is not installed")
		}
	}
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
		t.Fatal(err)
	}
	sys := t.TempDir()
	if err := errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount("sysfs", sys, "sysfs", 0, "")); err != nil {
		t.Fatal(err)
	}
	ns, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, net: &Networks{Sysfs: os.DirFS(sys), Log: t.Logf}, ns: ns}
	m.ip("link set lo up")
	t.Cleanup(func() {
		if err := m.net.Close(); err != nil {
			t.Error(err)
		}
		unix.Close(ns)
		unix.Unmount(sys, unix.MNT_DETACH)
	})
	return m
}

func (m *machine) run(command string) string {
	m.t.Helper()
	words := strings.Fields(command)
	out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
	if err != nil {
		m.t.Fatalf("%s: %v: %s", command, err, out)
	}
	return string(out)
}

func (m *machine) ip(args string) string { m.t.Helper(); return m.run("ip " + args) }

// in runs f in the namespace of a container, "" for the machine.
func (m *machine) in(container string, f func() error) error {
	m.t.Helper()
	if container == "" {
		return f()
	}
	n := m.net
	if container == "out" {
		n = m.world
	}
	fd, err := n.Namespace(container)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return err
	}
	defer func() {
		if err := unix.Setns(m.ns, unix.CLONE_NEWNET); err != nil {
			m.t.Fatal(err)
		}
	}()
	return f()
}

// serve answers with a word on an address in a container.
func (m *machine) serve(container, address, word string) {
	m.t.Helper()
	var l net.Listener
	err := m.in(container, func() (err error) { l, err = net.Listen("tcp", address); return err })
	if err != nil {
		m.t.Fatalf("%s listens on %s: %v", container, address, err)
	}
	m.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(c, word, " ", c.RemoteAddr().(*net.TCPAddr).IP)
			c.Close()
		}
	}()
}

// ask returns what is answered, "" for nothing.
func (m *machine) ask(container, address string) string {
	m.t.Helper()
	var answer string
	err := m.in(container, func() error {
		ctx, cancel := context.WithTimeout(m.t.Context(), 300*time.Millisecond)
		defer cancel()
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", address)
		if err != nil {
			return nil
		}
		defer c.Close()
		b, err := io.ReadAll(c)
		answer = string(b)
		return err
	})
	if err != nil {
		m.t.Error(err)
	}
	return answer
}

// answered is ask until an answer is there, for the kernel tells itself of a
// new carrier after a while.
func (m *machine) answered(container, address string) (answer string) {
	m.t.Helper()
	for range 10 {
		if answer = m.ask(container, address); answer != "" {
			break
		}
	}
	return answer
}

func member(container, iface string, addresses ...string) system.Member {
	return system.Member{Container: container, Interface: iface, Addresses: addresses, MAC: wiring.MAC("m", container, iface)}
}

func field(extra ...system.Member) system.Network {
	return system.Network{Name: "field", Type: system.Bridge, Gateway: []string{"10.9.0.254/24", "fd09::fe/64"}, MAC: wiring.MAC("m", "field"), Masquerade: true,
		Members:   append([]system.Member{member("a", "field", "10.9.0.1/24", "fd09::1/64"), member("b", "eth0", "10.9.0.2/24", "fd09::2/64")}, extra...),
		Published: []system.Published{{Container: "a", Port: 80, MachinePort: 8080, Protocol: "tcp"}, {Container: "b", Port: 80, MachinePort: 8081, On: "wan", Protocol: "tcp"}}}
}

var alone = system.Network{Name: "alone", Type: system.Bridge, MTU: 1400, Members: []system.Member{member("c", "alone", "10.8.0.1/24")}}

var pair = system.Network{Name: "pair", Type: system.PointToPoint,
	Members: []system.Member{member("a", "pair", "10.7.0.0/31"), member("c", "pair", "10.7.0.1/31")}}

func compile(t *testing.T, networks ...system.Network) *wiring.Program {
	t.Helper()
	slices.SortFunc(networks, func(a, b system.Network) int { return strings.Compare(a.Name, b.Name) })
	p, err := wiring.Compile(networks, []string{"wan"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if p, err = wiring.Decode(b); err != nil {
		t.Fatal(err)
	}
	return p
}

func (m *machine) apply(networks ...system.Network) {
	m.t.Helper()
	began := time.Now()
	if err := m.net.Apply(compile(m.t, networks...)); err != nil {
		m.t.Fatal(err)
	}
	m.t.Logf("%d networks in %v", len(networks), time.Since(began))
}

// TestReach holds who reaches whom: what is declared, and nothing else.
func TestReach(t *testing.T) {
	m := newMachine(t)
	m.outside()
	m.apply(field(), alone, pair)
	for _, c := range []string{"a", "b", "c"} {
		m.serve(c, ":80", c)
	}
	m.serve("", ":22", "machine")
	for _, row := range []struct{ from, to, want string }{
		{"a", "10.9.0.2:80", "b 10.9.0.1"},
		{"b", "[fd09::1]:80", "a fd09::2"},
		{"a", "10.7.0.1:80", "c 10.7.0.0"},
		{"c", "10.7.0.0:80", "a 10.7.0.1"},
		{"", "10.9.0.1:80", "a 10.9.0.254"},
		// Published: at the machine's addresses, and only where it is declared.
		{"out", "198.51.100.1:8080", "a 198.51.100.2"},
		{"out", "[2001:db8::1]:8080", "a 2001:db8::2"},
		{"out", "198.51.100.1:8081", "b 198.51.100.2"},
		{"", "198.51.100.1:8080", "a 198.51.100.1"},
		{"", "127.0.0.1:8080", ""},
		{"a", "10.9.0.254:8081", ""},
		{"out", "198.51.100.1:80", ""},
		// Masquerade.
		{"b", "198.51.100.2:99", "out 198.51.100.1"},
		{"b", "[2001:db8::2]:99", "out 2001:db8::1"},
		// Nothing else.
		{"out", "10.9.0.1:80", ""},
		{"out", "[fd09::1]:80", ""},
		{"c", "10.9.0.2:80", ""},
		{"b", "10.7.0.1:80", ""},
		{"b", "10.8.0.1:80", ""},
		{"c", "198.51.100.2:99", ""},
		{"a", "10.9.0.254:22", ""},
		{"a", "198.51.100.1:22", ""},
		{"a", "[fd09::fe]:22", ""},
		{"", "10.8.0.1:80", ""},
	} {
		ask := m.ask
		if row.want != "" {
			ask = m.answered
		}
		if got := ask(row.from, row.to); got != row.want {
			t.Errorf("%q asks %s: %q, want %q", row.from, row.to, got, row.want)
		}
	}
	for container, want := range map[string]string{"a": "field lo pair", "b": "eth0 lo", "c": "alone lo pair"} {
		var names []string
		m.in(container, func() error {
			all, err := net.Interfaces()
			for _, i := range all {
				names = append(names, i.Name)
				addrs, _ := i.Addrs()
				if i.Name == "alone" && (i.MTU != 1400 || len(addrs) != 1) {
					t.Errorf("alone: MTU %d, addresses %v; want 1400 and one without IPv6", i.MTU, addrs)
				}
				if i.Name == "eth0" && i.HardwareAddr.String() != wiring.MAC("m", "b", "eth0") {
					t.Errorf("eth0 has hardware address %s", i.HardwareAddr)
				}
			}
			return err
		})
		slices.Sort(names)
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s has interfaces %s, want %s", container, got, want)
		}
	}
}

// outside gives the machine an interface wan, and a container out at its other
// end, which is no part of the program.
func (m *machine) outside() {
	out := system.Network{Name: "wan", Type: system.PointToPoint, Gateway: []string{"198.51.100.1/24", "2001:db8::1/64"}, MAC: wiring.MAC("wan"),
		Members: []system.Member{member("out", "wan", "198.51.100.2/24", "2001:db8::2/64")}}
	p := compile(m.t, out)
	p.Rules = nil
	m.world = &Networks{Sysfs: m.net.Sysfs, Log: m.t.Logf}
	if err := m.world.Apply(p); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { m.world.Close() })
	m.serve("out", ":99", "out")
}

// index returns the number of an interface in a container, 0 when it is not there.
func (m *machine) index(container, name string) (index int) {
	m.t.Helper()
	m.in(container, func() error {
		if i, err := net.InterfaceByName(name); err == nil {
			index = i.Index
		}
		return nil
	})
	return index
}

// TestChange goes from one configuration to another: what is the same stays,
// connections of containers that are kept included.
func TestChange(t *testing.T) {
	m := newMachine(t)
	m.outside()
	m.apply(field(), alone)
	var listener net.Listener
	if err := m.in("a", func() (err error) { listener, err = net.Listen("tcp", ":99"); return err }); err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var from net.Conn
	if err := m.in("b", func() (err error) { from, err = net.Dial("tcp", "10.9.0.1:99"); return err }); err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	alive := func(when string) {
		t.Helper()
		var b [1]byte
		from.SetDeadline(time.Now().Add(2 * time.Second))
		to.SetDeadline(time.Now().Add(2 * time.Second))
		if _, err := from.Write([]byte("x")); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		if _, err := to.Read(b[:]); err != nil {
			t.Fatalf("%s: the connection between a and b: %v", when, err)
		}
	}
	alive("at first")

	// d joins field, pair comes, alone goes, only at the end.
	d := member("d", "field", "10.9.0.4/24")
	next := compile(t, field(d), pair)
	if err := m.net.Extend(next); err != nil {
		t.Fatal(err)
	}
	alive("after Extend")
	if m.index("c", "alone") == 0 || m.index("d", "field") == 0 || m.index("a", "pair") == 0 {
		t.Error("Extend took something away or did not add")
	}
	if err := m.net.Apply(next); err != nil {
		t.Fatal(err)
	}
	alive("after Apply")
	m.serve("d", ":80", "d")
	if got := m.answered("a", "10.9.0.4:80"); got != "d 10.9.0.1" {
		t.Errorf("a asks d: %q", got)
	}
	if m.index("c", "alone") != 0 || m.index("c", "pair") == 0 || strings.Contains(m.ip("-o link"), "alone") {
		t.Error("alone is still there")
	}
	// And back: d and pair go.
	m.apply(field(), alone)
	alive("after going back")
	if m.index("a", "pair") != 0 || m.index("c", "alone") == 0 {
		t.Error("pair is still there, or alone is not")
	}
	if got := m.ip("-o link"); strings.Count(got, "master field") != 2 {
		t.Errorf("ports of field:\n%s", got)
	}
	// A bridge that is another one is made anew, in the same namespaces.
	other := field()
	other.MTU = 1300
	m.apply(other)
	m.serve("a", ":80", "a")
	if got := m.answered("b", "10.9.0.1:80"); got != "a 10.9.0.2" {
		t.Errorf("over another bridge: %q", got)
	}
	if got := m.run("nft list tables"); got != "table inet instar\n" {
		t.Errorf("tables %q", got)
	}
	m.apply(pair)
	if got := m.run("nft list tables"); got != "" {
		t.Errorf("tables %q; want none", got)
	}
	m.apply()
	if got := m.ip("-o link"); strings.Count(got, "\n") != 2 { // lo, wan
		t.Errorf("left behind:\n%s", got)
	}
}

// TestFail holds that a failure is told with its step, and that everything can
// be taken back.
func TestFail(t *testing.T) {
	m := newMachine(t)
	m.apply(field())
	broken := compile(t, alone, pair)
	broken.Networks[1].Steps[2].Message[4] = 0xff // no such request
	err := m.net.Apply(broken)
	if err == nil || !strings.Contains(err.Error(), "making network pair: "+broken.Networks[1].Steps[2].Label) {
		t.Errorf("error %v", err)
	}
	if state, detail := m.net.State("pair"); state != "down" || detail == "" {
		t.Errorf("state %s, %s", state, detail)
	}
	m.apply(field())
	if got := m.ip("-o link"); strings.Contains(got, "alone") || !strings.Contains(got, "field") {
		t.Errorf("links\n%s", got)
	}
	broken.Rules = broken.Rules[:len(broken.Rules)-24] // no end
	broken.Rules[4] = 0xff
	if err := m.net.Apply(broken); err == nil {
		t.Error("broken rules are no error")
	}
}

// TestKilled: who made the networks is no more and took nothing down, and the
// containers still hold their namespaces. Who comes next makes them anew.
func TestKilled(t *testing.T) {
	m := newMachine(t)
	all := []system.Network{field(), pair, alone}
	m.apply(all...)
	before := m.ip("-o link")
	killed := m.net
	m.net = &Networks{Sysfs: killed.Sysfs, Log: t.Logf}
	m.apply(all...)
	if got := m.ip("-o link"); len(strings.Split(got, "\n")) != len(strings.Split(before, "\n")) {
		t.Errorf("links\n%s\nbefore\n%s", got, before)
	}
	for _, name := range []string{"field", "pair", "alone"} {
		if state, detail := m.net.State(name); state != "up" {
			t.Errorf("network %s is %s: %s", name, state, detail)
		}
	}
	for _, ns := range killed.spaces {
		if err := ns.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestDevices: networks over a device of the machine, with it, without it, and
// with a stand-in.
func TestDevices(t *testing.T) {
	m := newMachine(t)
	m.net.Devices = []system.Interface{{Name: "lan"}}
	shared := system.Network{Name: "shared", Type: system.Macvlan, Over: "lan", Routers: []string{"192.0.2.1"},
		Members: []system.Member{member("a", "shared", "192.0.2.11/24"), member("b", "shared", "192.0.2.12/24", "2001:db8::12/64")}}
	cable := system.Network{Name: "cable", Type: system.Move, Match: system.Match{MAC: "02:00:00:00:00:77"},
		Members: []system.Member{{Container: "c", Interface: "eth0", Addresses: []string{"192.0.2.77/24"}}}}
	m.apply(cable, shared)
	for _, name := range []string{"a", "c"} {
		if fd, err := m.net.Namespace(name); err == nil || fd != -1 || !errors.Is(err, errNoDevice) {
			t.Errorf("%s without its device: %d, %v", name, fd, err)
		}
	}
	if state, detail := m.net.State("cable"); state != "down" || !strings.Contains(detail, "not there") {
		t.Errorf("cable is %s, %s", state, detail)
	}
	// The devices come.
	m.ip("link add lan type veth peer name far address 02:00:00:00:00:77")
	m.ip("link set lan up")
	if m.index("a", "shared") == 0 || m.index("c", "eth0") == 0 {
		t.Fatal("the devices are not taken")
	}
	m.serve("a", ":80", "a")
	for _, from := range []string{"b", "c"} {
		want := map[string]string{"b": "a 192.0.2.12", "c": "a 192.0.2.77"}[from]
		if got := m.answered(from, "192.0.2.11:80"); got != want {
			t.Errorf("%s asks a: %q, want %q", from, got, want)
		}
	}
	if state, _ := m.net.State("cable"); state != "up" {
		t.Errorf("cable is %s", state)
	}
	m.apply(shared)
	if m.index("b", "shared") == 0 || strings.Contains(m.ip("-o link"), "shared") {
		t.Error("shared is not only with its members")
	}
	m.apply()

	m.net.StandIn = true
	m.ip("link del lan")
	m.apply(shared, cable)
	m.serve("a", ":80", "a")
	if got := m.answered("b", "192.0.2.11:80"); got != "a 192.0.2.12" {
		t.Errorf("over a stand-in b asks a: %q", got)
	}
	if m.index("c", "eth0") == 0 {
		t.Error("nothing stands in for the moved device")
	}
}

// TestNamespace: those that are on no network have none.
func TestNamespace(t *testing.T) {
	m := newMachine(t)
	if fd, err := m.net.Namespace("a"); fd != -1 || err != nil {
		t.Errorf("%d, %v", fd, err)
	}
	m.apply(pair)
	one, err := m.net.Namespace("a")
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(one)
	m.apply(pair, alone)
	two, err := m.net.Namespace("a")
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(two)
	var x, y unix.Stat_t
	if err := errors.Join(unix.Fstat(one, &x), unix.Fstat(two, &y)); err != nil || x.Ino != y.Ino {
		t.Errorf("another namespace after a change: %d, %d, %v", x.Ino, y.Ino, err)
	}
}
