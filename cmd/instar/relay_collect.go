package main

import (
	"context"

	"github.com/instar-os/instar/internal/wire"
)

// Collect may take as long as the machine's disk does.
func (r relay) Collect(ctx context.Context, req wire.CollectRequest) (wire.CollectPlan, error) {
	p, err := r.v.Control().Collect(ctx, req)
	return p, remote(err)
}
