package volume

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/instar-os/instar/internal/wire"
)

// Limits of transfers.
const (
	maxTransfers     = 4
	transferPatience = 2 * time.Minute // between two pieces
)

// Control offers a store to the control protocol: it implements
// wire.DataControl. Close ends what is under way.
type Control struct {
	*Store

	mu        sync.Mutex
	transfers map[string]*transfer
}

// transfer is an archive on its way in or out. One goroutine packs or unpacks;
// the pieces of the protocol are the pipe's other end.
type transfer struct {
	mu     sync.Mutex
	offset int64
	r      *io.PipeReader // of an export
	w      *io.PipeWriter // of an import
	done   chan struct{}  // closed when the goroutine has ended and err is set
	err    error
	timer  *time.Timer
}

// begin starts a transfer; work runs until it ends or the pipe breaks.
func (c *Control) begin(out bool, work func(*io.PipeReader, *io.PipeWriter) error) (wire.Transfer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.transfers) >= maxTransfers {
		return wire.Transfer{}, fmt.Errorf("%d archives are under way already", maxTransfers)
	}
	if c.transfers == nil {
		c.transfers = map[string]*transfer{}
	}
	id := rand.Text()
	r, w := io.Pipe()
	t := &transfer{done: make(chan struct{})}
	if out {
		t.r = r
	} else {
		t.w = w
	}
	t.timer = time.AfterFunc(transferPatience, func() { c.drop(id, errors.New("nobody has moved the archive on")) })
	c.transfers[id] = t
	go func() {
		defer close(t.done)
		t.err = work(r, w)
		if out {
			w.CloseWithError(t.err)
		} else {
			r.CloseWithError(t.err)
		}
	}()
	return wire.Transfer{ID: id}, nil
}

func (c *Control) find(id string) (*transfer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.transfers[id]
	if !ok {
		return nil, errors.New("no such archive is under way")
	}
	t.timer.Reset(transferPatience)
	return t, nil
}

// drop ends a transfer and waits for its goroutine.
func (c *Control) drop(id string, why error) {
	c.mu.Lock()
	t, ok := c.transfers[id]
	delete(c.transfers, id)
	c.mu.Unlock()
	if !ok {
		return
	}
	t.timer.Stop()
	if t.r != nil {
		t.r.CloseWithError(why)
	} else {
		t.w.CloseWithError(why)
	}
	<-t.done
}

// Close ends all transfers.
func (c *Control) Close() error {
	c.mu.Lock()
	var ids []string
	for id := range c.transfers {
		ids = append(ids, id)
	}
	c.mu.Unlock()
	for _, id := range ids {
		c.drop(id, errors.New("the machine ends"))
	}
	return nil
}

func name(v wire.VolumeName) Name { return Name(v) }

// Restore implements wire.DataControl.
func (c *Control) Restore(_ context.Context, r wire.RestoreRequest) error {
	return c.Store.Restore(name(r.VolumeName), r.Snapshot)
}

// Export implements wire.DataControl.
func (c *Control) Export(_ context.Context, q wire.ExportRequest) (wire.Transfer, error) {
	return c.begin(true, func(_ *io.PipeReader, w *io.PipeWriter) error {
		return c.Store.Export(name(q.VolumeName), q.Snapshot, w)
	})
}

// Import implements wire.DataControl.
func (c *Control) Import(_ context.Context, q wire.ImportRequest) (wire.Transfer, error) {
	return c.begin(false, func(r *io.PipeReader, _ *io.PipeWriter) error {
		return c.Store.Import(name(q.VolumeName), q.Version, r)
	})
}

// Read implements wire.DataControl.
func (c *Control) Read(_ context.Context, q wire.ReadRequest) (wire.Piece, error) {
	t, err := c.find(q.ID)
	if err != nil {
		return wire.Piece{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.r == nil || q.Offset != t.offset {
		return wire.Piece{}, fmt.Errorf("a read at %d of an archive that is at %d", q.Offset, t.offset)
	}
	b := make([]byte, wire.MaxReadPiece)
	n, err := io.ReadFull(t.r, b)
	t.offset += int64(n)
	p := wire.Piece{ID: q.ID, Offset: q.Offset, Data: b[:n]}
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		p.End = true
		c.drop(q.ID, nil)
	case err != nil:
		c.drop(q.ID, err)
		return wire.Piece{}, err
	}
	return p, nil
}

// Write implements wire.DataControl.
func (c *Control) Write(_ context.Context, p wire.Piece) error {
	t, err := c.find(p.ID)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.w == nil || p.Offset != t.offset {
		return fmt.Errorf("a write at %d of an archive that is at %d", p.Offset, t.offset)
	}
	n, err := t.w.Write(p.Data)
	t.offset += int64(n)
	if err != nil {
		c.drop(p.ID, err)
		return err
	}
	if !p.End {
		return nil
	}
	t.timer.Stop() // what follows takes as long as the disk does
	t.w.Close()
	<-t.done
	c.drop(p.ID, nil)
	return t.err
}

// Abort implements wire.DataControl.
func (c *Control) Abort(_ context.Context, t wire.Transfer) error {
	c.drop(t.ID, errors.New("the archive was given up"))
	return nil
}
