package main

import "github.com/instar-os/instar/internal/wire"

func (r relay) ConfirmTrial() error {
	ctx, cancel := bounded()
	defer cancel()
	return remote(r.v.Control().ConfirmTrial(ctx))
}

func (r relay) RejectTrial(req wire.RejectRequest) error {
	ctx, cancel := bounded()
	defer cancel()
	return remote(r.v.Control().RejectTrial(ctx, req))
}

func (r relay) Verdicts() (wire.Verdicts, error) {
	ctx, cancel := bounded()
	defer cancel()
	v, err := r.v.Control().Verdicts(ctx)
	return v, remote(err)
}

func (r relay) Forgive(req wire.ForgiveRequest) error {
	ctx, cancel := bounded()
	defer cancel()
	return remote(r.v.Control().Forgive(ctx, req))
}
