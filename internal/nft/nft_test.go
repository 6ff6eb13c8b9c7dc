package nft

import (
	"encoding/binary"
	"encoding/hex"
	"flag"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write golden files")

// sample has every expression, for IPv4 and IPv6.
func sample() Table {
	four, six := netip.MustParsePrefix("10.9.0.0/20"), netip.MustParsePrefix("fd09::/64")
	return Table{Name: "instar", Chains: []Chain{
		{Name: "prerouting", Type: "nat", Hook: Prerouting, Priority: DstNAT, Rules: []Rule{
			Join(IifName("lan"), DPort(TCP, 8080), DNAT(netip.MustParseAddrPort("10.9.0.1:80"))),
			Join(IifName("lan"), DPort(UDP, 53), DNAT(netip.MustParseAddrPort("[fd09::1]:5353"))),
		}},
		{Name: "output", Type: "nat", Hook: Output, Priority: DstNAT, Rules: []Rule{
			Join(OifName("lo"), NotDAddr(netip.MustParsePrefix("127.0.0.0/8")), DPort(TCP, 8080), DNAT(netip.MustParseAddrPort("10.9.0.1:80"))),
		}},
		{Name: "input", Type: "filter", Hook: Input, Priority: Filter, Rules: []Rule{
			Join(L4Proto(ICMP), Accept()),
			Join(L4Proto(ICMPv6), Accept()),
			Join(IifName("field"), Drop()),
		}},
		{Name: "forward", Type: "filter", Hook: Forward, Priority: Filter, Drop: true, Rules: []Rule{
			Join(CTState(Established|Related), Accept()),
			Join(OifName("field"), DAddr(netip.MustParsePrefix("10.9.0.1/32")), CTStatus(DNATed), Accept()),
		}},
		{Name: "postrouting", Type: "nat", Hook: Postrouting, Priority: SrcNAT, Rules: []Rule{
			Join(SAddr(four), OifName("lan"), Masquerade()),
			Join(SAddr(six), OifName("lan"), Masquerade()),
		}},
	}}
}

// listing is what nft prints of it.
const listing = `table inet instar {
	chain prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		iifname "lan" tcp dport 8080 dnat ip to 10.9.0.1:80
		iifname "lan" udp dport 53 dnat ip6 to [fd09::1]:5353
	}

	chain output {
		type nat hook output priority -100; policy accept;
		oifname "lo" ip daddr != 127.0.0.0/8 tcp dport 8080 dnat ip to 10.9.0.1:80
	}

	chain input {
		type filter hook input priority filter; policy accept;
		meta l4proto icmp accept
		meta l4proto ipv6-icmp accept
		iifname "field" drop
	}

	chain forward {
		type filter hook forward priority filter; policy drop;
		ct state established,related accept
		oifname "field" ip daddr 10.9.0.1 ct status dnat accept
	}

	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr 10.9.0.0/20 oifname "lan" masquerade
		ip6 saddr fd09::/64 oifname "lan" masquerade
	}
}
`

// apply sends a batch to the kernel, message by message answered only on
// failure, and returns the first error.
func apply(t testing.TB, b []byte) error {
	t.Helper()
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	// What the kernel says to the last message it says after the batch.
	if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT)
		if err == unix.EAGAIN {
			return nil
		}
		if err != nil {
			t.Fatal(err)
		}
		if e := unix.Errno(-int32(binary.LittleEndian.Uint32(buf[16:n]))); e != 0 {
			return e
		}
	}
}

// TestKernel applies the sample in a network namespace and compares what the
// kernel has with what was meant.
func TestKernel(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("making a network namespace needs root")
	}
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("nft (nftables) is not installed")
	}
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	list := func() string {
		out, err := exec.Command("nft", "list", "ruleset").CombinedOutput()
		if err != nil {
			t.Fatalf("nft: %v: %s", err, out)
		}
		return string(out)
	}
	for range 2 { // the second replaces the first
		if err := apply(t, sample().Batch()); err != nil {
			t.Fatal(err)
		}
		if got := list(); got != listing {
			t.Errorf("the kernel has\n%s\nwant\n%s", got, listing)
		}
	}
	// One wrong rule and nothing changes.
	broken := sample()
	broken.Chains[3].Rules = append(broken.Chains[3].Rules, Rule{expr("nosuch", nil)})
	if err := apply(t, broken.Batch()); err == nil || list() != listing {
		t.Errorf("a broken batch: %v, and then\n%s", err, list())
	}
	if err := apply(t, Remove("instar")); err != nil || list() != "" {
		t.Errorf("after removing: %v\n%s", err, list())
	}
}

func TestGolden(t *testing.T) {
	const name = "testdata/sample.hex"
	got := hex.Dump(sample().Batch())
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil || got != string(want) {
		t.Errorf("the batch is not that of %s (%v)", name, err)
	}
}

// TestShape holds that every batch is well-formed: messages fill it exactly,
// attributes their messages, and sequence numbers rise.
func TestShape(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a-z]{1,15}`)
		addr := rapid.SampledFrom([]string{"10.0.0.1/32", "10.0.0.0/9", "fd00::1/128", "fd00::/7"})
		matches := rapid.Custom(func(t *rapid.T) []Expr {
			p := netip.MustParsePrefix(addr.Draw(t, "addr"))
			port := rapid.Uint16().Draw(t, "port")
			return rapid.SampledFrom([][]Expr{IifName(name.Draw(t, "if")), OifName("x"), L4Proto(ICMP), DPort(TCP, port), SAddr(p), DAddr(p),
				NotDAddr(p), CTState(Related), CTStatus(DNATed), Accept(), Drop(), Masquerade(), DNAT(netip.AddrPortFrom(p.Addr(), port))}).Draw(t, "expr")
		})
		var rules []Rule
		for _, parts := range rapid.SliceOfN(rapid.SliceOfN(matches, 0, 5), 0, 9).Draw(t, "rules") {
			rules = append(rules, Join(parts...))
		}
		b := Table{Name: name.Draw(t, "table"), Chains: []Chain{{Name: "c", Type: "filter", Hook: Forward, Rules: rules}}}.Batch()
		seq := uint32(0)
		for len(b) > 0 {
			size := binary.LittleEndian.Uint32(b)
			if size < 20 || int(size) > len(b) || size%4 != 0 || binary.LittleEndian.Uint32(b[8:]) != seq {
				t.Fatalf("message %d of %d bytes, %d left", seq, size, len(b))
			}
			nested(t, b[20:size], 0)
			b, seq = b[size:], seq+1
		}
		if want := uint32(6 + len(rules)); seq != want {
			t.Fatalf("%d messages, want %d", seq, want)
		}
	})
}

func nested(t *rapid.T, b []byte, depth int) {
	for len(b) > 0 {
		size := int(binary.LittleEndian.Uint16(b))
		if size < 4 || size > len(b) || depth > 8 {
			t.Fatalf("attribute of %d bytes, %d left, depth %d", size, len(b), depth)
		}
		if binary.LittleEndian.Uint16(b[2:])&unix.NLA_F_NESTED != 0 {
			nested(t, b[4:size], depth+1)
		}
		b = b[(size+3)&^3:]
	}
}

// TestLong: interface names fill their field, longer ones are cut.
func TestLong(t *testing.T) {
	if a, b := IifName(strings.Repeat("a", 15)), IifName("a"); len(a[1]) != len(b[1]) {
		t.Errorf("%d and %d bytes", len(a[1]), len(b[1]))
	}
}
