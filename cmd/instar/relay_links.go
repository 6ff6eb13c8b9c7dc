package main

import "github.com/instar-os/instar/internal/wire"

// Links lists the machine's links; none when it does not answer.
func (r relay) Links() wire.LinksReply {
	ctx, cancel := bounded()
	defer cancel()
	list, err := r.v.Control().Links(ctx)
	if err != nil {
		return wire.LinksReply{}
	}
	return list
}

func (r relay) ReadLink(name string) (wire.LinkValue, error) {
	ctx, cancel := bounded()
	defer cancel()
	return r.v.Control().ReadLink(ctx, name)
}

func (r relay) WriteLink(name string, data []byte) error {
	ctx, cancel := bounded()
	defer cancel()
	return r.v.Control().WriteLink(ctx, name, data)
}
