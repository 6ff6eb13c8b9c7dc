package dhcp

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

var hardware = [6]byte{0x52, 0x54, 0, 1, 2, 3}

// wire is a Conn to a scripted server in fake time.
type wire struct {
	ctx   context.Context
	began time.Time
	seen  []string
	serve func(n int, b []byte) []byte // the nth message from 0; nil: no answer
	n     int
	in    chan []byte
}

func (w *wire) Send(b []byte, to netip.Addr) error {
	names := map[kind]string{discover: "discover", request: "request"}
	w.seen = append(w.seen, fmt.Sprintf("%s %s to %s", time.Since(w.began).Round(time.Second), names[sentKind(b)], to))
	if a := w.serve(w.n, b); a != nil {
		w.in <- []byte("garbage")
		other := bytes.Clone(a)
		other[4]++ // another transaction
		w.in <- other
		w.in <- a
	}
	w.n++
	return nil
}

func (w *wire) Receive(deadline time.Time) ([]byte, error) {
	select {
	case b := <-w.in:
		return b, nil
	case <-time.After(time.Until(deadline)):
		return nil, os.ErrDeadlineExceeded
	case <-w.ctx.Done():
		return nil, net.ErrClosed
	}
}

// talk runs a client for some time against a server and returns what was sent
// and what happened to the lease, by seconds.
func talk(t *testing.T, d time.Duration, serve func(n int, b []byte) []byte) (sent, events []string) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		w := &wire{ctx: ctx, began: time.Now(), serve: serve, in: make(chan []byte, 16)}
		note := func(format string, args ...any) {
			at := time.Since(w.began).Round(time.Second)
			events = append(events, fmt.Sprintf("%s "+format, append([]any{at}, args...)...))
		}
		c := &Client{
			Conn: w, Hardware: hardware, Random: func() uint32 { return 100 }, Log: note,
			Bound: func(l Lease) error { note("bound %s for %s", l.Address, l.Duration); return nil },
			Lost:  func(l Lease) { note("lost %s", l.Address) },
		}
		if err := c.Run(ctx); err != context.DeadlineExceeded {
			t.Errorf("Run ended with %v", err)
		}
		sent = w.seen
	})
	return sent, events
}

func check(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n%s\nwant:\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// good offers and acknowledges 10.0.0.9 for a time.
func good(d time.Duration) func(int, []byte) []byte {
	return func(_ int, b []byte) []byte {
		if sentKind(b) == discover {
			return answer(b, offer, "10.0.0.9", leaseOptions(d)...)
		}
		return answer(b, ack, "10.0.0.9", leaseOptions(d)...)
	}
}

func TestRenewal(t *testing.T) {
	sent, events := talk(t, 130*time.Second, good(100*time.Second))
	check(t, "sent", sent, "0s discover to 255.255.255.255", "0s request to 255.255.255.255",
		"50s request to 10.0.0.1", "1m40s request to 10.0.0.1")
	check(t, "events", events, "0s bound 10.0.0.9/24 for 1m40s", "50s bound 10.0.0.9/24 for 1m40s",
		"1m40s bound 10.0.0.9/24 for 1m40s", "2m10s lost 10.0.0.9/24")
}

func TestRetries(t *testing.T) {
	serve := good(time.Hour)
	sent, events := talk(t, time.Minute, func(n int, b []byte) []byte {
		if n < 3 || n == 4 {
			return nil
		}
		return serve(n, b)
	})
	const all = " to 255.255.255.255"
	check(t, "sent", sent, "0s discover"+all, "1s discover"+all, "3s discover"+all, "7s discover"+all,
		"7s request"+all, "8s request"+all)
	check(t, "events", events, "8s bound 10.0.0.9/24 for 1h0m0s", "1m0s lost 10.0.0.9/24")
}

func TestRebindAndExpiry(t *testing.T) {
	serve := good(800 * time.Second)
	sent, events := talk(t, 1000*time.Second, func(n int, b []byte) []byte {
		if n < 2 {
			return serve(n, b)
		}
		return nil
	})
	const all = " to 255.255.255.255"
	want := []string{"0s discover" + all, "0s request" + all,
		"6m40s request to 10.0.0.1", "9m10s request to 10.0.0.1", "10m25s request to 10.0.0.1", "11m25s request to 10.0.0.1",
		"11m40s request" + all, "12m40s request" + all}
	if len(sent) < len(want) {
		t.Fatalf("sent only %q", sent)
	}
	check(t, "sent", sent[:len(want)], want...)
	if !strings.HasPrefix(sent[len(want)], "13m2") || !strings.Contains(sent[len(want)], "discover") {
		t.Errorf("after the lease: %q", sent[len(want)])
	}
	check(t, "events", events, "0s bound 10.0.0.9/24 for 13m20s",
		"13m20s lease of 10.0.0.9/24 ends: no server renewed it", "13m20s lost 10.0.0.9/24")
}

func TestRefusal(t *testing.T) {
	serve := good(100 * time.Second)
	_, events := talk(t, 51500*time.Millisecond, func(n int, b []byte) []byte {
		switch n {
		case 1, 4:
			return answer(b, nak, "0.0.0.0", append([]byte{56, 4}, "away"...)...)
		}
		return serve(n, b)
	})
	check(t, "events", events, `0s requesting 10.0.0.9: the server refuses: "away"`,
		"1s bound 10.0.0.9/24 for 1m40s", `51s lease of 10.0.0.9/24 ends: the server refuses: "away"`,
		"51s lost 10.0.0.9/24")
}

func TestInfiniteLease(t *testing.T) {
	sent, _ := talk(t, 1000*time.Hour, good(infinite*time.Second))
	if len(sent) != 2 {
		t.Errorf("sent %q", sent)
	}
}

func TestDecode(t *testing.T) {
	m := &message{kind: discover, xid: 7, hardware: hardware, hostname: "greenhouse"}
	sent := m.encode()
	if len(sent) != minMessage || sent[10] != 0x80 || !bytes.Contains(sent, []byte("\x0c\x0agreenhouse")) {
		t.Errorf("discovery is %x", sent)
	}
	got, err := decode(answer(sent, ack, "10.0.0.9", leaseOptions(time.Minute)...))
	if err != nil {
		t.Fatal(err)
	}
	l, err := lease(got, 10*time.Second)
	want := Lease{
		Address: netip.MustParsePrefix("10.0.0.9/24"), Gateway: netip.MustParseAddr("10.0.0.1"),
		DNS:    []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")},
		Server: netip.MustParseAddr("10.0.0.1"), MTU: 1400,
		Duration: 50 * time.Second, Renew: 25 * time.Second, Rebind: 43750 * time.Millisecond,
	}
	if err != nil || !reflect.DeepEqual(l, want) {
		t.Errorf("got  %+v, %v\nwant %+v", l, err, want)
	}
	// The same options in the fields that RFC 2131 lends: file, then sname.
	b := answer(sent, ack, "10.0.0.9", 52, 1, 3)
	copy(b[108:], append(leaseOptions(time.Minute)[:12], 255))
	copy(b[44:], append(leaseOptions(time.Minute)[12:], 255))
	if got, err := decode(b); err != nil || got.lease != time.Minute || got.mtu != 1400 || got.mask != 24 || len(got.dns) != 2 {
		t.Errorf("overloaded: %+v, %v", got, err)
	}
	for name, bad := range map[string][]byte{
		"empty":       nil,
		"long":        make([]byte, maxMessage+1),
		"request":     sent,
		"cut option":  answer(sent, ack, "10.0.0.9", 1, 200, 1)[:headerSize+4+12],
		"mask":        answer(sent, ack, "10.0.0.9", 1, 4, 255, 0, 255, 0),
		"short mask":  answer(sent, ack, "10.0.0.9", 1, 1, 255),
		"router":      answer(sent, ack, "10.0.0.9", 3, 3, 1, 2, 3),
		"time":        answer(sent, ack, "10.0.0.9", 51, 1, 3),
		"mtu":         answer(sent, ack, "10.0.0.9", 26, 1, 3),
		"kind":        answer(sent, ack, "10.0.0.9", 53, 0),
		"no type":     answer(sent, 0, "10.0.0.9"),
		"other magic": append(answer(sent, ack, "10.0.0.9")[:headerSize], make([]byte, 64)...),
	} {
		if _, err := decode(bad); err == nil {
			t.Errorf("%s: was taken", name)
		}
	}
}

func TestMaskBits(t *testing.T) {
	for _, row := range []struct {
		mask []byte
		bits int
	}{{[]byte{255, 255, 255, 255}, 32}, {[]byte{255, 255, 254, 0}, 23}, {[]byte{0, 0, 0, 0}, 0}} {
		if bits, ok := maskBits(row.mask); !ok || bits != row.bits {
			t.Errorf("%v: %d, %v", row.mask, bits, ok)
		}
	}
}

func FuzzDecode(f *testing.F) {
	sent := (&message{kind: discover, hardware: hardware}).encode()
	f.Add(answer(sent, offer, "10.0.0.9", leaseOptions(time.Minute)...))
	f.Add(answer(sent, offer, "10.0.0.9", 52, 1, 3))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decode(b)
		if err != nil {
			return
		}
		l, err := lease(m, time.Second)
		if err == nil && l.Duration > 0 && !(0 < l.Renew && l.Renew <= l.Rebind && l.Rebind <= l.Duration) {
			t.Errorf("times of %+v", l)
		}
	})
}

// TestSocket has a client in one network namespace and a server in another.
func TestSocket(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("making network namespaces needs root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("ip (iproute2) is not installed")
	}
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	ip := func(args string) {
		t.Helper()
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", args, err, out)
		}
	}
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	tid := unix.Gettid()
	// The server's end of the cable, in a thread of its own.
	server := make(chan net.PacketConn)
	ready := make(chan int)
	go func() {
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
		}
		ready <- unix.Gettid()
		<-ready
		for _, args := range []string{"addr add 10.0.0.1/24 dev far", "link set far up"} {
			if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
				t.Errorf("ip %s: %v: %s", args, err, out)
			}
		}
		conn, err := (&net.ListenConfig{}).ListenPacket(context.Background(), "udp4", ":67")
		if err != nil {
			t.Error(err)
		}
		server <- conn
		<-ready // keep the namespace
	}()
	far := <-ready
	ip(fmt.Sprintf("link add near type veth peer name far netns %d", far))
	ip("link set near up")
	ready <- 0
	conn := <-server
	defer close(ready)
	defer conn.Close()
	go func() {
		serve := good(time.Hour)
		b := make([]byte, 2000)
		for {
			n, _, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			to := &net.UDPAddr{IP: net.IPv4bcast, Port: clientPort}
			if b[10]&0x80 == 0 {
				to.IP = net.IP(b[12:16])
			}
			if raw, err := conn.(*net.UDPConn).SyscallConn(); err == nil {
				raw.Control(func(fd uintptr) {
					unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1)
					unix.BindToDevice(int(fd), "far")
				})
			}
			conn.WriteTo(serve(0, b[:n]), to)
		}
	}()

	near, err := net.InterfaceByName("near")
	if err != nil {
		t.Fatalf("in thread %d: %v", tid, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	s, err := Open(ctx, "near")
	if err != nil {
		t.Fatal(err)
	}
	context.AfterFunc(ctx, func() { s.Close() })
	var got Lease
	c := &Client{
		Conn: s, Hardware: [6]byte(near.HardwareAddr), Random: func() uint32 { return 42 }, Log: t.Logf,
		Bound: func(l Lease) error { got = l; cancel(); return nil }, Lost: func(Lease) {},
	}
	if err := c.Run(ctx); err != context.Canceled {
		t.Fatalf("Run: %v", err)
	}
	if got.Address != netip.MustParsePrefix("10.0.0.9/24") || got.MTU != 1400 {
		t.Errorf("lease %+v", got)
	}
}
