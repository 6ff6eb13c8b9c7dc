package remote

import (
	"context"
	"io"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/wire"
)

// Parcel is what can be sent to a machine: an update, or a system in chunks.
type Parcel struct {
	wire.Outgoing
	Machine string // that it is for, as it says
	Arch    string
	Target  digest.Digest
	Body    int64 // bytes of an update's body; 0: that depends on what the machine has
	Close   func() error
}

// Parcel opens what a name says: an address on a web server, "-" for the stream,
// else a file.
func (c *Client) Parcel(ctx context.Context, name string, stream io.Reader) (*Parcel, error) {
	if name == "-" {
		return parcel(Stream(stream))
	}
	x, err := c.index(ctx, name)
	switch {
	case err != nil:
		return nil, err
	case x != nil:
		return &Parcel{Outgoing: wire.Outgoing{Front: x.Front(), Ranges: x.Ranges}, Machine: x.Machine, Arch: x.Arch, Target: x.Target, Close: func() error { return nil }}, nil
	case IsURL(name):
		return parcel(c.Open(ctx, name))
	}
	return parcel(File(name))
}

func (c *Client) index(ctx context.Context, name string) (*Index, error) {
	if IsURL(name) {
		return c.Index(ctx, name)
	}
	return FileIndex(name)
}

func parcel(u *Update, err error) (*Parcel, error) {
	if err != nil {
		return nil, err
	}
	return &Parcel{Outgoing: wire.Outgoing{Front: u.Front(), Body: u.Body}, Machine: u.Machine, Arch: u.Arch, Target: u.Target, Body: u.BodySize, Close: u.Close}, nil
}
