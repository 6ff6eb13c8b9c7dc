package wire

import (
	"context"
	"fmt"
	"time"
)

// The methods by which an operator sees links and is their end outside.
const (
	MethodLinks     = "links"      // no parameters; Result is a LinksReply
	MethodLinkRead  = "link-read"  // LinkRequest; Result is a LinkValue
	MethodLinkWrite = "link-write" // LinkRequest
)

// Linker is a Control with links.
type Linker interface {
	Links() LinksReply
	// ReadLink returns the last value of a sampling link, or takes the oldest
	// message of a queueing link that leads outside.
	ReadLink(name string) (LinkValue, error)
	// WriteLink writes to a sampling or queueing link that comes from outside.
	WriteLink(name string, data []byte) error
}

// LinkRequest names a link, and what to write to it.
type LinkRequest struct {
	Link string `json:"link"`
	Data []byte `json:"data,omitempty"`
}

// LinksReply holds the links of the configuration, in its order.
type LinksReply struct {
	Links []LinkStatus `json:"links"`
}

// LinkStatus is one link. Written and what follows is known of sampling and
// queueing links.
type LinkStatus struct {
	Name     string        `json:"name"`
	Type     string        `json:"type"`
	From     string        `json:"from"`
	To       []string      `json:"to"`
	Size     int           `json:"size,omitempty"`     // of a message, bytes
	Depth    int           `json:"depth,omitempty"`    // of a queue, messages
	Policy   string        `json:"policy,omitempty"`   // of a queue: reject, drop
	Validity time.Duration `json:"validity,omitempty"` // of a sampling port; 0: always
	Address  string        `json:"address,omitempty"`
	Written  uint64        `json:"written"`  // messages, ever
	Queued   uint64        `json:"queued"`   // not yet read
	Rejected uint64        `json:"rejected"` // for a full queue, ever
	Lost     uint64        `json:"lost"`     // overwritten before they were read, ever
	Age      time.Duration `json:"age"`      // of the last value of a sampling port
	DataAge  time.Duration `json:"dataAge"`  // of the oldest data that the last value of a sampling port rests on
	Valid    bool          `json:"valid"`    // the last value is there and not older than Validity
}

// LinkValue is a message of a link.
type LinkValue struct {
	Data     []byte        `json:"data"`
	Sequence uint64        `json:"sequence"`
	Age      time.Duration `json:"age"`
	Valid    bool          `json:"valid"`
	Lost     uint64        `json:"lost,omitempty"` // overwritten since the last read
}

// linkMethod calls a method of Linker; found is false for other methods.
func linkMethod(c Control, req Request) (result any, found bool, err error) {
	switch req.Method {
	case MethodLinks, MethodLinkRead, MethodLinkWrite:
	default:
		return nil, false, nil
	}
	l, ok := c.(Linker)
	if !ok {
		return nil, true, fmt.Errorf("%s: this machine has no links", req.Method)
	}
	if req.Method == MethodLinks {
		return l.Links(), true, nil
	}
	var p LinkRequest
	if err := parameters(req, &p); err != nil {
		return nil, true, err
	}
	if req.Method == MethodLinkWrite {
		return struct{}{}, true, l.WriteLink(p.Link, p.Data)
	}
	result, err = l.ReadLink(p.Link)
	return result, true, err
}

// Links lists the links of the configuration.
func (c *Client) Links(ctx context.Context) (LinksReply, error) {
	var r LinksReply
	err := c.Call(ctx, MethodLinks, nil, &r)
	return r, err
}

// ReadLink reads a link's last value, or takes a message that leads outside.
func (c *Client) ReadLink(ctx context.Context, name string) (LinkValue, error) {
	var v LinkValue
	err := c.Call(ctx, MethodLinkRead, LinkRequest{Link: name}, &v)
	return v, err
}

// WriteLink writes to a link from outside. A message has at most about 45 kB,
// for a request is one line of at most MaxRequest.
func (c *Client) WriteLink(ctx context.Context, name string, data []byte) error {
	return c.Call(ctx, MethodLinkWrite, LinkRequest{Link: name, Data: data}, nil)
}
