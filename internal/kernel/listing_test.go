package kernel_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/kernel"
)

const listing = `Module                  Size  Used by
# left out by hand: nouveau 1 0
virtio_net             94208  0
net-failover           24576  1 virtio_net
failover               16384  1 net_failover
`

func TestListing(t *testing.T) {
	want := []string{"failover", "net_failover", "virtio_net"}
	for name, text := range map[string]string{
		"lsmod":         listing,
		"/proc/modules": "virtio_net 94208 0 - Live 0x0\nnet_failover 24576 1 virtio_net, Live 0x0\nfailover 16384 1 net_failover, Live 0x0\n",
	} {
		got, err := kernel.ParseListing([]byte(text))
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v %v, want %v", name, got, err, want)
		}
	}
	for _, text := range []string{"", "Module Size Used by\n", "virtio_net\n", "virtio_net big 0\n", "../x 1 0\n", strings.Repeat("a", 57) + " 1 0\n"} {
		if got, err := kernel.ParseListing([]byte(text)); err == nil {
			t.Errorf("%.40q is read as %v", text, got)
		}
	}
}

func FuzzListing(f *testing.F) {
	f.Add([]byte(listing))
	f.Fuzz(func(t *testing.T, b []byte) {
		names, err := kernel.ParseListing(b)
		if err == nil && (len(names) == 0 || !slices.IsSorted(names)) {
			t.Errorf("%q", names)
		}
	})
}
