package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"
)

// Lease is what a server gave.
type Lease struct {
	Address  netip.Prefix
	Gateway  netip.Addr // invalid: none
	DNS      []netip.Addr
	MTU      int // 0: not said
	Server   netip.Addr
	Duration time.Duration // 0: for ever
	Renew    time.Duration // T1 and T2, after the lease began
	Rebind   time.Duration
}

// Conn carries messages between port 68 of one interface and port 67.
type Conn interface {
	// Send sends to a server, or to all when to is the broadcast address.
	Send(b []byte, to netip.Addr) error
	// Receive returns the next message, or os.ErrDeadlineExceeded.
	Receive(deadline time.Time) ([]byte, error)
}

// Client holds a lease for one interface.
type Client struct {
	Conn     Conn
	Hardware [hardwareLength]byte
	Hostname string
	Random   func() uint32
	Log      func(format string, args ...any)
	Bound    func(Lease) error // a lease began or was renewed
	Lost     func(Lease)       // it ended
}

// Delays between tries. RFC 2131 section 4.1 suggests 4 s at first; machines
// that boot should not wait that long for a lost packet.
const (
	firstTry  = time.Second
	lastTry   = 64 * time.Second
	tries     = 4 // of a request, before discovery begins again
	minRetry  = time.Second
	idleRetry = 60 * time.Second // RFC 2131 section 4.4.5, between renewals
)

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// errRefused says that a server takes an address away.
var errRefused = errors.New("the server refuses")

// Run gets a lease and keeps one until ctx ends; then it returns ctx's error.
// Whoever ends ctx closes the connection, to end a Receive under way.
func (c *Client) Run(ctx context.Context) error {
	for wait := firstTry; ctx.Err() == nil; {
		began := time.Now()
		l, err := c.acquire(ctx)
		if err == nil {
			if err = c.Bound(l); err == nil {
				began = time.Now()
				c.hold(ctx, l)
				c.Lost(l)
			}
		}
		if err != nil && ctx.Err() == nil {
			c.Log("%v", err)
		}
		if time.Since(began) > wait {
			wait = firstTry
		}
		if !pause(ctx, wait) {
			break
		}
		wait = min(2*wait, lastTry)
	}
	return ctx.Err()
}

// acquire discovers servers until one has offered and acknowledged an address.
func (c *Client) acquire(ctx context.Context) (Lease, error) {
	began := time.Now()
	m := c.message(discover, began)
	for wait := firstTry; ; wait = min(2*wait, lastTry) {
		m.seconds = uint16(min(time.Since(began)/time.Second, 0xffff))
		if err := c.Conn.Send(m.encode(), broadcast); err != nil {
			return Lease{}, fmt.Errorf("discovering a DHCP server: %w", err)
		}
		answer, err := c.await(ctx, m.xid, c.jitter(wait), offer)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil {
			return Lease{}, fmt.Errorf("discovering a DHCP server: %w", err)
		}
		if !answer.server.IsValid() || !usable(answer.yours) {
			continue
		}
		return c.request(ctx, m.xid, began, answer)
	}
}

// request takes an offer.
func (c *Client) request(ctx context.Context, xid uint32, began time.Time, o *message) (Lease, error) {
	m := c.message(request, began)
	m.xid, m.requested, m.server = xid, o.yours, o.server
	wait := firstTry
	for range tries {
		sent := time.Now()
		if err := c.Conn.Send(m.encode(), broadcast); err != nil {
			return Lease{}, fmt.Errorf("requesting %s: %w", o.yours, err)
		}
		answer, err := c.await(ctx, xid, c.jitter(wait), ack)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			wait *= 2
			continue
		case err != nil:
			return Lease{}, fmt.Errorf("requesting %s: %w", o.yours, err)
		}
		return lease(answer, time.Since(sent))
	}
	return Lease{}, fmt.Errorf("requesting %s: no answer from %s", o.yours, o.server)
}

// hold renews the lease until it has ended or ctx has.
func (c *Client) hold(ctx context.Context, l Lease) {
	for ctx.Err() == nil {
		if l.Duration == 0 {
			<-ctx.Done()
			return
		}
		next, err := c.extend(ctx, l)
		if err == nil {
			err = c.Bound(next)
		}
		if err != nil {
			if ctx.Err() == nil {
				c.Log("lease of %s ends: %v", l.Address, err)
			}
			return
		}
		l = next
	}
}

// extend waits for T1, asks the server that gave the lease, from T2 on any
// server, and returns the new lease, or an error when the old one has ended.
func (c *Client) extend(ctx context.Context, l Lease) (Lease, error) {
	began := time.Now()
	end := began.Add(l.Duration)
	if !pause(ctx, l.Renew) {
		return Lease{}, ctx.Err()
	}
	m := c.message(request, time.Now())
	m.client = l.Address.Addr()
	for time.Now().Before(end) {
		to, until := l.Server, began.Add(l.Rebind)
		if !time.Now().Before(until) {
			to, until = broadcast, end
		}
		sent := time.Now()
		wait := min(max(until.Sub(sent)/2, min(idleRetry, until.Sub(sent)), minRetry), end.Sub(sent))
		if err := c.Conn.Send(m.encode(), to); err != nil {
			c.Log("renewing %s: %v", l.Address, err)
		}
		answer, err := c.await(ctx, m.xid, wait, ack)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			continue
		case err != nil:
			return Lease{}, err
		}
		return lease(answer, time.Since(sent))
	}
	return Lease{}, errors.New("no server renewed it")
}

func (c *Client) message(k kind, began time.Time) *message {
	return &message{
		kind: k, xid: c.Random(), hardware: c.Hardware, hostname: c.Hostname,
		seconds: uint16(min(time.Since(began)/time.Second, 0xffff)),
	}
}

// await returns the next answer of a kind to a transaction; a refusal is an
// error, everything else is skipped.
func (c *Client) await(ctx context.Context, xid uint32, wait time.Duration, want kind) (*message, error) {
	deadline := time.Now().Add(wait)
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		b, err := c.Conn.Receive(deadline)
		if err != nil {
			return nil, err
		}
		m, err := decode(b)
		if err != nil || m.xid != xid || m.hardware != c.Hardware {
			continue
		}
		switch m.kind {
		case want:
			return m, nil
		case nak:
			if want == ack {
				return nil, fmt.Errorf("%w: %s", errRefused, m.text)
			}
		}
	}
}

// jitter changes a delay by up to a tenth, so that machines that got power
// together do not ask together.
func (c *Client) jitter(d time.Duration) time.Duration {
	return d + d*time.Duration(int32(c.Random()%201)-100)/1000
}

func usable(a netip.Addr) bool {
	return a.Is4() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() && a != broadcast
}

// lease makes a Lease of an acknowledgement that took so long to come: the
// lease began when it was asked for.
func lease(m *message, took time.Duration) (Lease, error) {
	if !usable(m.yours) || !m.hasLease {
		return Lease{}, fmt.Errorf("lease of %s without address or time", m.yours)
	}
	bits := m.mask
	if bits == 0 {
		bits = 24 // servers that give no mask serve home networks
	}
	l := Lease{Address: netip.PrefixFrom(m.yours, bits), Gateway: m.gateway, DNS: m.dns, Server: m.server}
	if m.mtu >= minimumMTU {
		l.MTU = m.mtu
	}
	if m.lease == 0 {
		return l, nil
	}
	l.Duration = max(m.lease-took, time.Second) // 0 would be for ever
	l.Renew, l.Rebind = m.renewal, m.rebinding
	if l.Rebind <= 0 || l.Rebind >= l.Duration {
		l.Rebind = l.Duration * 7 / 8
	}
	if l.Renew <= 0 || l.Renew >= l.Rebind {
		l.Renew = min(l.Duration/2, l.Rebind)
	}
	return l, nil
}

// pause waits; false when ctx ended before.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
