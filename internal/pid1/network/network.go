// Package network brings up the interfaces that a system declares: each is
// found by its attributes, gets its name, and its addresses by declaration or
// by DHCP. Interfaces that are not declared stay down.
package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/netip"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/instar-os/instar/internal/linux"
	"github.com/instar-os/instar/internal/pid1/dhcp"
	"github.com/instar-os/instar/internal/system"
)

// patience is how long an interface may take to appear after the start.
const patience = 30 * time.Second

// The states of wire.InterfaceStatus.
const (
	up          = "up"
	missing     = "missing"
	configuring = "configuring"
	down        = "down"
)

// Network is the machine's interfaces.
type Network struct {
	Sysfs    fs.FS
	Hostname string
	Resolv   string // file that is rewritten in place when the name servers change
	Log      func(format string, args ...any)

	mu      sync.Mutex
	links   []*link
	running sync.WaitGroup
}

// A link is one declared interface. Its fields are under Network.mu.
type link struct {
	decl      system.Interface
	index     int // 0: not found yet
	hardware  string
	addresses []netip.Prefix
	dns       []netip.Addr
	state     string
	detail    string
}

// Loopback brings up lo. It is all the network that a contained machine has.
func Loopback() error {
	n, err := linux.OpenNetlink()
	if err != nil {
		return err
	}
	defer n.Close()
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		return fmt.Errorf("bringing up loopback: %w", err)
	}
	return n.SetUp(lo.Index)
}

// Start brings up what is there and returns; what appears later, and DHCP, is
// seen to until ctx ends. Wait returns after that.
func (n *Network) Start(ctx context.Context, declared []system.Interface) error {
	for _, d := range declared {
		n.links = append(n.links, &link{decl: d, state: missing})
	}
	if err := n.resolv(); err != nil {
		return err
	}
	found, err := n.claim(ctx)
	if err != nil || found {
		return err
	}
	n.running.Go(func() {
		_, err := linux.WaitDevice(patience, func() (bool, error) {
			if ctx.Err() != nil {
				return false, ctx.Err()
			}
			return n.claim(ctx)
		})
		if err != nil && ctx.Err() == nil {
			n.Log("network: %v", err)
		}
		for _, s := range n.Status() {
			if s.State == missing {
				n.Log("network: there is no device for interface %s", s.Name)
			}
		}
	})
	return nil
}

// Wait waits for everything that Start began.
func (n *Network) Wait() { n.running.Wait() }

// claim gives each declared interface its device, in order of declaration and
// of the devices' names, and sets it up; true when none is missing.
func (n *Network) claim(ctx context.Context) (bool, error) {
	devices, err := linux.NetDevices(n.Sysfs)
	if err != nil {
		return false, err
	}
	all := true
	for _, l := range n.links {
		if l.index != 0 {
			continue
		}
		i := slices.IndexFunc(devices, func(d linux.NetDevice) bool {
			return Matches(l.decl.Match, d) && !slices.ContainsFunc(n.links, func(o *link) bool { return o.index == d.Index })
		})
		if i < 0 {
			all = false
			continue
		}
		n.mu.Lock()
		l.index, l.hardware, l.state = devices[i].Index, devices[i].MAC, configuring
		n.mu.Unlock()
		if err := n.setUp(ctx, l, devices[i], devices); err != nil {
			n.change(l, func() { l.state, l.detail = down, err.Error() })
			n.Log("network: %s: %v", l.decl.Name, err)
		}
	}
	return all, nil
}

// Matches reports whether a device has all the attributes; one that asks for
// nothing matches nothing.
func Matches(m system.Match, d linux.NetDevice) bool {
	if m == (system.Match{}) {
		return false
	}
	named, err := path.Match(m.Name, d.Name)
	return (m.Driver == "" || m.Driver == d.Driver) &&
		(m.MAC == "" || strings.EqualFold(m.MAC, d.MAC)) &&
		(m.Path == "" || d.Path == m.Path || strings.Contains(d.Path+"/", "/"+m.Path+"/")) &&
		(m.Name == "" || err == nil && named)
}

// setUp names a device, brings it up and gives it its addresses.
func (n *Network) setUp(ctx context.Context, l *link, d linux.NetDevice, all []linux.NetDevice) error {
	nl, err := linux.OpenNetlink()
	if err != nil {
		return err
	}
	defer nl.Close()
	if err := rename(nl, d, l.decl.Name, all); err != nil {
		return err
	}
	if l.decl.MTU > 0 {
		if err := nl.SetMTU(d.Index, l.decl.MTU); err != nil {
			return err
		}
	}
	if err := nl.SetUp(d.Index); err != nil {
		return err
	}
	if err := n.static(nl, l); err != nil {
		return err
	}
	if !l.decl.DHCP {
		n.change(l, func() { l.state = up })
		n.Log("network: %s (%s) is up with %s", l.decl.Name, d.MAC, strings.Join(l.decl.Addresses, ", "))
		return n.resolv()
	}
	n.running.Go(func() {
		if err := n.dhcp(ctx, l); err != nil && ctx.Err() == nil {
			n.change(l, func() { l.state, l.detail = down, err.Error() })
			n.Log("network: %s: %v", l.decl.Name, err)
		}
	})
	return nil
}

// rename gives a device its name, and takes the name from another that has it.
func rename(nl *linux.Netlink, d linux.NetDevice, name string, all []linux.NetDevice) error {
	if d.Name == name {
		return nil
	}
	for _, o := range all {
		if o.Name == name {
			if err := nl.Rename(o.Index, fmt.Sprintf("unnamed%d", o.Index)); err != nil {
				return err
			}
		}
	}
	return nl.Rename(d.Index, name)
}

// static sets the declared addresses and gateway.
func (n *Network) static(nl *linux.Netlink, l *link) error {
	for _, text := range l.decl.Addresses {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return fmt.Errorf("address %q: %w", text, err)
		}
		if err := nl.AddAddress(l.index, p, 0); err != nil {
			return err
		}
		n.change(l, func() { l.addresses = append(l.addresses, p) })
	}
	for _, text := range l.decl.DNS {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return fmt.Errorf("name server %q: %w", text, err)
		}
		n.change(l, func() { l.dns = append(l.dns, a) })
	}
	if l.decl.Gateway == "" {
		return nil
	}
	gateway, err := netip.ParseAddr(l.decl.Gateway)
	if err != nil {
		return fmt.Errorf("gateway %q: %w", l.decl.Gateway, err)
	}
	return route(nl, l.index, gateway, l.addresses)
}

// route sets the default route.
func route(nl *linux.Netlink, index int, gateway netip.Addr, near []netip.Prefix) error {
	everywhere := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if gateway.Is6() {
		everywhere = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	reached := slices.ContainsFunc(near, func(p netip.Prefix) bool { return p.Contains(gateway) })
	return nl.SetRoute(index, everywhere, gateway, !reached)
}

func (n *Network) change(l *link, change func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change()
}

// dhcp holds a lease until ctx ends.
func (n *Network) dhcp(ctx context.Context, l *link) error {
	s, err := dhcp.Open(ctx, l.decl.Name)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer func() {
		if stop() {
			s.Close()
		}
	}()
	hardware, err := net.ParseMAC(l.hardware)
	if err != nil || len(hardware) != 6 {
		return fmt.Errorf("DHCP needs an Ethernet address, not %q", l.hardware)
	}
	var held netip.Prefix
	c := dhcp.Client{
		Conn: s, Hardware: [6]byte(hardware), Hostname: n.Hostname, Random: rand.Uint32,
		Log: func(format string, args ...any) {
			n.Log("network: "+l.decl.Name+": "+format, args...)
		},
		Bound: func(lease dhcp.Lease) error {
			err := n.bound(l, held, lease)
			held = lease.Address
			return err
		},
		Lost: func(lease dhcp.Lease) {
			if ctx.Err() == nil {
				n.lost(l, lease)
			}
			held = netip.Prefix{}
		},
	}
	return c.Run(ctx)
}

// bound sets what a lease says, in place of a former one's address.
func (n *Network) bound(l *link, former netip.Prefix, lease dhcp.Lease) error {
	nl, err := linux.OpenNetlink()
	if err != nil {
		return err
	}
	defer nl.Close()
	fresh := former != lease.Address
	if former.IsValid() && fresh {
		if err := nl.RemoveAddress(l.index, former); err != nil {
			return err
		}
	}
	if err := nl.AddAddress(l.index, lease.Address, uint32(lease.Duration/time.Second)); err != nil {
		return err
	}
	if lease.MTU > 0 && l.decl.MTU == 0 {
		if err := nl.SetMTU(l.index, lease.MTU); err != nil {
			return err
		}
	}
	if lease.Gateway.IsValid() && l.decl.Gateway == "" {
		if err := route(nl, l.index, lease.Gateway, []netip.Prefix{lease.Address}); err != nil {
			return err
		}
	}
	n.change(l, func() {
		l.addresses = slices.DeleteFunc(l.addresses, func(p netip.Prefix) bool { return p == former || p == lease.Address })
		l.addresses = append(l.addresses, lease.Address)
		if len(l.decl.DNS) == 0 {
			l.dns = lease.DNS
		}
		l.state, l.detail = up, "lease from "+lease.Server.String()
	})
	if fresh {
		n.Log("network: %s is up with %s from %s", l.decl.Name, lease.Address, lease.Server)
	}
	return n.resolv()
}

// lost takes an ended lease's address away.
func (n *Network) lost(l *link, lease dhcp.Lease) {
	n.change(l, func() {
		l.addresses = slices.DeleteFunc(l.addresses, func(p netip.Prefix) bool { return p == lease.Address })
		l.state, l.detail = configuring, "lease lost"
	})
	nl, err := linux.OpenNetlink()
	if err == nil {
		err = errors.Join(nl.RemoveAddress(l.index, lease.Address), nl.Close())
	}
	if err != nil {
		n.Log("network: %v", err)
	}
}
