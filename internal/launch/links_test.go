package launch

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/system"
)

var links = []system.Link{
	{Name: "water-level", Type: system.SamplingLink, From: "a", To: []string{"b", "c"}, Size: 8, Version: 1},
	{Name: "orders", Type: system.QueueingLink, From: system.Outside, To: []string{"b"}, Size: 8, Version: 1, Depth: 4, Wake: true},
	{Name: "talk", Type: system.StreamLink, From: "a", To: []string{"b"}},
	{Name: "door", Type: system.ListenLink, From: system.Outside, To: []string{"b"}, Address: "0.0.0.0:80"},
	{Name: "gate", Type: system.ListenLink, From: system.Outside, To: []string{"b"}, Address: "0.0.0.0:81"},
}

func TestLinkEnvironment(t *testing.T) {
	for container, want := range map[string]string{
		"a": "INSTAR_LINK_WATER_LEVEL=3 INSTAR_LINK_TALK=4",
		"b": "INSTAR_LINK_WATER_LEVEL=5 INSTAR_LINK_ORDERS=6 INSTAR_LINK_ORDERS_CURSOR=7 INSTAR_LINK_ORDERS_WAKE=8 INSTAR_LINK_TALK=9 " +
			"LISTEN_FDS=2 LISTEN_FDNAMES=door:gate LISTEN_PID=1",
		"c": "INSTAR_LINK_WATER_LEVEL=3",
		"d": "",
	} {
		if got := strings.Join(linkEnv(system.Descriptors(links, container), 1), " "); got != want {
			t.Errorf("%s has %s\nwant %s", container, got, want)
		}
	}
}

// TestLinkDescriptors follows the descriptors through Start: slot to copy to
// number, and everything behind them closed. Join has none.
func TestLinkDescriptors(t *testing.T) {
	c := &system.Container{
		Name: "b", Source: "x:1", Args: []string{"/x"}, Dir: "/", Root: system.ReadOnly, Network: system.NoNetwork, Hostname: "b",
		Descriptors: system.Descriptors(links, "b"),
	}
	l, err := Compile(&Spec{Arch: "amd64", Container: c})
	if err != nil {
		t.Fatal(err)
	}
	n := 3 + len(c.Descriptors)
	if got := numbers(t, l.Start); !slices.Equal(got, sequence(n, FirstDescriptor)) {
		t.Errorf("start gives the slots %v", got)
	}
	if got := numbers(t, l.Join); !slices.Equal(got, []int{Stdin, Stdout, Stderr}) {
		t.Errorf("join gives the slots %v", got)
	}
	if !bytes.Contains(l.Start.Pool, []byte("INSTAR_LINK_TALK=9\x00")) || bytes.Contains(l.Join.Pool, []byte("INSTAR_LINK_")) {
		t.Error("want the variables in the environment of start, and not of join")
	}
}

func sequence(n, first int) []int {
	out := []int{Stdin, Stdout, Stderr}
	for i := range n - 3 {
		out = append(out, first+i)
	}
	return out
}

// numbers returns the slots whose descriptors get the numbers from 0 on.
func numbers(t *testing.T, p *Program) []int {
	t.Helper()
	copies, out := map[uint64]int{}, []int{}
	for _, o := range p.Ops {
		switch o.Call {
		case Fcntl:
			copies[uint64(o.Out)] = int(o.Args[0].Value)
		case Dup3:
			if int(o.Args[1].Value) != len(out) {
				t.Fatalf("%s: number %d after %d", o.Label, o.Args[1].Value, len(out))
			}
			out = append(out, copies[o.Args[0].Value])
		case CloseRange:
			if int(o.Args[0].Value) != len(out) {
				t.Errorf("descriptors from %d are closed, want from %d", o.Args[0].Value, len(out))
			}
		}
	}
	return out
}
