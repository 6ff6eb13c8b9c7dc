package host

import (
	"context"
	"errors"

	"github.com/instar-os/instar/internal/wire"
)

var errNoUpdates = errors.New("this machine takes no updates")

// Update implements wire.Updater by the machine.
func (c *Control) Update(ctx context.Context, r wire.UpdateRequest, t wire.Terminal) (wire.ExecResult, error) {
	if u, ok := c.Control.(wire.Updater); ok {
		return u.Update(ctx, r, t)
	}
	return wire.ExecResult{}, errNoUpdates
}

// Collect implements wire.Collector by the machine.
func (c *Control) Collect(ctx context.Context, r wire.CollectRequest) (wire.CollectPlan, error) {
	if k, ok := c.Control.(wire.Collector); ok {
		return k.Collect(ctx, r)
	}
	return wire.CollectPlan{}, errNoUpdates
}
