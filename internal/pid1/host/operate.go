package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/instar-os/instar/internal/wire"
)

// Data offers the data of the containers, when the machine has it to offer.
func (c *Control) Data() wire.DataControl {
	if h, ok := c.Control.(interface{ Data() wire.DataControl }); ok {
		return h.Data()
	}
	return nil
}

// Links implements wire.Linker.
func (c *Control) Links() wire.LinksReply {
	if h, ok := c.Control.(wire.Linker); ok {
		return h.Links()
	}
	return wire.LinksReply{Links: []wire.LinkStatus{}}
}

// ReadLink implements wire.Linker.
func (c *Control) ReadLink(name string) (wire.LinkValue, error) {
	if h, ok := c.Control.(wire.Linker); ok {
		return h.ReadLink(name)
	}
	return wire.LinkValue{}, errNoLinks
}

// WriteLink implements wire.Linker.
func (c *Control) WriteLink(name string, data []byte) error {
	if h, ok := c.Control.(wire.Linker); ok {
		return h.WriteLink(name, data)
	}
	return errNoLinks
}

var errNoLinks = errors.New("this machine has no links")

// Boots implements wire.Historian.
func (c *Control) Boots() (wire.BootList, error) {
	if h, ok := c.Control.(wire.Historian); ok {
		return h.Boots()
	}
	return wire.BootList{}, errNoBoots
}

// Boot implements wire.Historian.
func (c *Control) Boot(r wire.BootRequest) (wire.BootRecord, error) {
	if h, ok := c.Control.(wire.Historian); ok {
		return h.Boot(r)
	}
	return wire.BootRecord{}, errNoBoots
}

var errNoBoots = errors.New("this machine keeps no record of its boots")

// PlanSwitch implements wire.Control. The units that make a configuration are
// made when the machine starts.
func (c *Control) PlanSwitch(r wire.SwitchRequest) (wire.SwitchPlan, error) {
	p, err := c.Control.PlanSwitch(r)
	if err == nil && p.From != p.To {
		p.Reboot = append(p.Reboot, fmt.Sprintf("%s has a host, whose init makes units of its containers when it starts", p.From))
	}
	return p, err
}

// Switch implements wire.Control.
func (c *Control) Switch(ctx context.Context, r wire.SwitchRequest) (wire.SwitchPlan, error) {
	if r.Mode != wire.SwitchLive {
		return c.Control.Switch(ctx, r)
	}
	p, err := c.PlanSwitch(r)
	if err != nil || p.From == p.To {
		return p, err
	}
	return p, fmt.Errorf("switching live from %s to %s: %s", p.From, p.To, p.Reboot[len(p.Reboot)-1])
}

// Exec implements wire.Control.
func (c *Control) Exec(ctx context.Context, r wire.ExecRequest, t wire.Terminal) (wire.ExecResult, error) {
	client, err := c.dial(ctx, r.Container)
	if err != nil {
		return wire.ExecResult{}, err
	}
	defer client.Close()
	return client.Exec(ctx, r, t)
}

// Attach implements wire.Control.
func (c *Control) Attach(ctx context.Context, r wire.AttachRequest, t wire.Terminal) (wire.AttachResult, error) {
	client, err := c.dial(ctx, r.Container)
	if err != nil {
		return wire.AttachResult{}, err
	}
	defer client.Close()
	return client.Attach(ctx, r, t)
}

// Kill implements wire.Control.
func (c *Control) Kill(r wire.KillRequest) error {
	return c.ask(context.Background(), r.Container, func(ctx context.Context, client *wire.Client) error { return client.Kill(ctx, r) })
}

// Pause implements wire.Control.
func (c *Control) Pause(container string) error {
	return c.ask(context.Background(), container, func(ctx context.Context, client *wire.Client) error { return client.Pause(ctx, container) })
}

// Unpause implements wire.Control.
func (c *Control) Unpause(container string) error {
	return c.ask(context.Background(), container, func(ctx context.Context, client *wire.Client) error { return client.Unpause(ctx, container) })
}

// Top implements wire.Control.
func (c *Control) Top(container string) (reply wire.TopReply, err error) {
	err = c.ask(context.Background(), container, func(ctx context.Context, client *wire.Client) (err error) {
		reply, err = client.Top(ctx, container)
		return err
	})
	return reply, err
}

// Stats implements wire.Control; containers that do not run use nothing.
func (c *Control) Stats() (wire.StatsReply, error) {
	reply := wire.StatsReply{Time: time.Now().UTC(), Containers: []wire.ContainerStats{}}
	for _, ct := range c.Configuration.Containers {
		var one wire.StatsReply
		err := c.ask(context.Background(), ct.Name, func(ctx context.Context, client *wire.Client) (err error) {
			one, err = client.Stats(ctx)
			return err
		})
		if err == nil {
			reply.Containers = append(reply.Containers, one.Containers...)
		} else if errors.Is(err, wire.ErrRemote) {
			return reply, err
		}
	}
	return reply, nil
}
