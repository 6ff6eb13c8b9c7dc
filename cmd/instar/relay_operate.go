package main

import (
	"context"

	"github.com/instar-os/instar/internal/wire"
)

// Exec relays the streams as they come.
func (r relay) Exec(ctx context.Context, req wire.ExecRequest, t wire.Terminal) (wire.ExecResult, error) {
	return r.v.Control().Exec(ctx, req, t)
}

// Attach relays the streams as they come.
func (r relay) Attach(ctx context.Context, req wire.AttachRequest, t wire.Terminal) (wire.AttachResult, error) {
	return r.v.Control().Attach(ctx, req, t)
}

func (r relay) Kill(req wire.KillRequest) error {
	ctx, cancel := bounded()
	defer cancel()
	return r.v.Control().Kill(ctx, req)
}

func (r relay) Pause(name string) error {
	ctx, cancel := bounded()
	defer cancel()
	return r.v.Control().Pause(ctx, name)
}

func (r relay) Unpause(name string) error {
	ctx, cancel := bounded()
	defer cancel()
	return r.v.Control().Unpause(ctx, name)
}

func (r relay) Top(name string) (wire.TopReply, error) {
	ctx, cancel := bounded()
	defer cancel()
	return r.v.Control().Top(ctx, name)
}

func (r relay) Stats() (wire.StatsReply, error) {
	ctx, cancel := bounded()
	defer cancel()
	return r.v.Control().Stats(ctx)
}

// Boots lists the boots that the machine remembers.
func (r relay) Boots() (wire.BootList, error) {
	ctx, cancel := bounded()
	defer cancel()
	list, err := r.v.Control().Boots(ctx)
	return list, remote(err)
}

// Boot returns the record of a boot.
func (r relay) Boot(req wire.BootRequest) (wire.BootRecord, error) {
	ctx, cancel := bounded()
	defer cancel()
	b, err := r.v.Control().Boot(ctx, req)
	return b, remote(err)
}

// Update implements wire.Updater.
func (r relay) Update(ctx context.Context, req wire.UpdateRequest, t wire.Terminal) (wire.ExecResult, error) {
	return r.v.Control().Update(ctx, req, t)
}
