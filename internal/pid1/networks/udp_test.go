package networks

import (
	"net"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/system"
)

// echo answers datagrams with a word and where they came from.
func (m *machine) echo(container, address, word string) {
	m.t.Helper()
	var c net.PacketConn
	if err := m.in(container, func() (err error) { c, err = net.ListenPacket("udp", address); return err }); err != nil {
		m.t.Fatalf("%s listens on %s: %v", container, address, err)
	}
	m.t.Cleanup(func() { c.Close() })
	go func() {
		buf := make([]byte, 64)
		for {
			_, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			c.WriteTo([]byte(word+" "+from.(*net.UDPAddr).IP.String()), from)
		}
	}()
}

// send returns the answer to a datagram, "" for none.
func (m *machine) send(container, address string) (answer string) {
	m.t.Helper()
	err := m.in(container, func() error {
		c, err := net.Dial("udp", address)
		if err != nil {
			return nil // no way there
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
			return err
		}
		buf := make([]byte, 64)
		if _, err := c.Write([]byte("x")); err != nil {
			return nil
		}
		n, err := c.Read(buf)
		if err == nil {
			answer = string(buf[:n])
		}
		return nil
	})
	if err != nil {
		m.t.Error(err)
	}
	return answer
}

// TestPublishedDatagrams holds that a UDP port is published as it is declared,
// and for no other protocol.
func TestPublishedDatagrams(t *testing.T) {
	m := newMachine(t)
	m.outside()
	n := field()
	n.Published = append(n.Published, system.Published{Container: "a", Port: 53, MachinePort: 5353, On: "wan", Protocol: "udp"})
	m.apply(n)
	m.echo("a", ":53", "a")
	m.echo("a", ":80", "a")
	m.serve("a", ":53", "a")
	for _, row := range []struct{ from, to, want string }{
		{"out", "198.51.100.1:5353", "a 198.51.100.2"},
		{"out", "[2001:db8::1]:5353", "a 2001:db8::2"},
		{"b", "10.9.0.1:53", "a 10.9.0.2"},
		{"out", "198.51.100.1:53", ""},
		{"out", "198.51.100.1:8080", ""}, // which is TCP's
		{"b", "10.9.0.254:5353", ""},     // on wan alone
	} {
		got := m.send(row.from, row.to)
		for i := 0; i < 10 && got == "" && row.want != ""; i++ {
			got = m.send(row.from, row.to)
		}
		if got != row.want {
			t.Errorf("%s sends to %s: %q, want %q", row.from, row.to, got, row.want)
		}
	}
	if got := m.ask("out", "198.51.100.1:5353"); got != "" {
		t.Errorf("a port of UDP answers TCP with %q", got)
	}
}
