package wire

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
)

// linked is a machine with one link.
type linked struct {
	Control // nothing of it is asked
	data    []byte
}

func (l *linked) Links() LinksReply {
	return LinksReply{Links: []LinkStatus{{Name: "level", Type: "sampling", Written: 7, To: []string{"panel"}}}}
}

func (l *linked) ReadLink(name string) (LinkValue, error) {
	if name != "level" {
		return LinkValue{}, errors.New("no such link")
	}
	return LinkValue{Data: l.data, Sequence: 7, Valid: true}, nil
}

func (l *linked) WriteLink(name string, data []byte) error {
	l.data = data
	return nil
}

// talk connects a client to c.
func talk(t *testing.T, c Control) *Client {
	t.Helper()
	here, there := net.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan struct{})
	go func() {
		defer close(served)
		Serve(ctx, there, c)
	}()
	client := NewClient(here)
	t.Cleanup(func() {
		client.Close()
		cancel()
		there.Close()
		<-served
	})
	return client
}

func TestLinks(t *testing.T) {
	c := talk(t, &linked{})
	ctx := t.Context()
	if err := c.WriteLink(ctx, "level", []byte("a\x00\xff")); err != nil {
		t.Fatal(err)
	}
	if v, err := c.ReadLink(ctx, "level"); err != nil || string(v.Data) != "a\x00\xff" || v.Sequence != 7 || !v.Valid {
		t.Errorf("read %+v, %v", v, err)
	}
	if r, err := c.Links(ctx); err != nil || len(r.Links) != 1 || r.Links[0].Written != 7 {
		t.Errorf("links %+v, %v", r, err)
	}
	if _, err := c.ReadLink(ctx, "other"); !errors.Is(err, ErrRemote) {
		t.Errorf("another link: %v", err)
	}
	if err := c.WriteLink(ctx, "level", make([]byte, MaxRequest)); err == nil || !strings.Contains(err.Error(), "more than 65536") {
		t.Errorf("a message that is no request: %v", err)
	}
	without := talk(t, struct{ Control }{})
	if _, err := without.Links(ctx); err == nil || !strings.Contains(err.Error(), "has no links") {
		t.Errorf("a machine without links: %v", err)
	}
}
