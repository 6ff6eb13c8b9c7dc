package wire

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
)

// Client calls a supervisor over one stream, also from several goroutines. On
// a serial port, where rests of former conversations may be found, lines that
// are no answer to its own calls are skipped.
type Client struct {
	rw     io.ReadWriteCloser
	prefix string // of the IDs, so that nobody else's answers fit

	write sync.Mutex // one line at a time

	mu       sync.Mutex
	next     uint64
	waiting  map[string]chan Response
	sessions map[string]*session
	err      error         // why the stream ended
	ended    chan struct{} // closed when it has
}

// ErrRemote is in the chain of every error that the supervisor answered with.
var ErrRemote = errors.New("the supervisor answered")

// Dial connects to the supervisor's Unix socket.
func Dial(ctx context.Context, socket string) (*Client, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("connecting to the supervisor: %w", err)
	}
	return NewClient(conn), nil
}

// NewClient returns a client over a stream, which Close closes.
func NewClient(rw io.ReadWriteCloser) *Client {
	c := &Client{rw: rw, prefix: rand.Text()[:10] + "-",
		waiting: map[string]chan Response{}, sessions: map[string]*session{}, ended: make(chan struct{})}
	go c.read()
	return c
}

// Close closes the stream; calls under way fail.
func (c *Client) Close() error {
	err := c.rw.Close()
	<-c.ended
	return err
}

// read hands answers to their calls until the stream ends.
func (c *Client) read() {
	lines := newLineReader(c.rw, MaxResponse)
	for {
		line, err := lines.next()
		if errors.Is(err, ErrTooLong) {
			continue
		}
		if err != nil {
			c.mu.Lock()
			c.err = err
			c.mu.Unlock()
			close(c.ended)
			return
		}
		var r struct {
			Response
			Frame
		}
		if json.Unmarshal(line, &r) != nil {
			continue
		}
		c.mu.Lock()
		session := c.sessions[r.Session]
		if ch, ok := c.waiting[r.ID]; ok {
			delete(c.waiting, r.ID)
			ch <- r.Response
		}
		c.mu.Unlock()
		if session != nil {
			session.deliver(r.Frame)
		}
	}
}

// Call sends a request and decodes its result, unless that is nil. When ctx
// ends first the answer, should it come, is dropped.
func (c *Client) Call(ctx context.Context, method string, params, result any) error {
	return c.callAs(ctx, c.newID(), method, params, result, func() {})
}

func (c *Client) newID() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next++
	return c.prefix + strconv.FormatUint(c.next, 10)
}

// callAs calls sent when the request is on its way.
func (c *Client) callAs(ctx context.Context, id, method string, params, result any, sent func()) error {
	if err := c.call(ctx, id, method, params, result, sent); err != nil {
		return fmt.Errorf("asking the supervisor for %s: %w", method, err)
	}
	return nil
}

func (c *Client) call(ctx context.Context, id, method string, params, result any, sent func()) error {
	req := Request{ID: id, Method: method}
	if params != nil {
		b, err := json.Marshal(params)
		if err != nil {
			return err
		}
		req.Params = b
	}
	answer := make(chan Response, 1)
	c.mu.Lock()
	c.waiting[req.ID] = answer
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.waiting, req.ID)
		c.mu.Unlock()
	}()
	if err := c.send(ctx, req); err != nil {
		return err
	}
	sent()
	select {
	case r := <-answer:
		return decode(r, result)
	case <-ctx.Done():
		return ctx.Err()
	case <-c.ended:
	}
	select {
	case r := <-answer: // it came just before the end
		return decode(r, result)
	default:
	}
	return fmt.Errorf("the stream ended: %w", c.err)
}

// send writes a request or a frame, on lines of its own whatever came before. A write
// that blocks, as on a serial port that nobody reads, ends with ctx for the
// caller.
func (c *Client) send(ctx context.Context, line any) error {
	b, err := json.Marshal(line)
	if err != nil {
		return err
	}
	if len(b) > MaxRequest {
		return fmt.Errorf("request of %d bytes, more than %d", len(b), MaxRequest)
	}
	b = append(append([]byte{'\n'}, b...), '\n')
	written := make(chan error, 1)
	go func() {
		c.write.Lock()
		defer c.write.Unlock()
		_, err := c.rw.Write(b)
		written <- err
	}()
	select {
	case err := <-written:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func decode(r Response, result any) error {
	if r.Error != "" {
		return fmt.Errorf("%w: %s", ErrRemote, r.Error)
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(r.Result, result)
}

// Status returns the state of the machine.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	err := c.Call(ctx, MethodStatus, nil, &s)
	return s, err
}

// Logs returns one page of log lines.
func (c *Client) Logs(ctx context.Context, r LogsRequest) (LogsReply, error) {
	var reply LogsReply
	err := c.Call(ctx, MethodLogs, r, &reply)
	return reply, err
}

// Start starts a container.
func (c *Client) Start(ctx context.Context, container string) error {
	return c.Call(ctx, MethodStart, NameRequest{container}, nil)
}

// Stop stops a container and returns when it has ended.
func (c *Client) Stop(ctx context.Context, container string) error {
	return c.Call(ctx, MethodStop, NameRequest{container}, nil)
}

// Restart stops a container and starts it again.
func (c *Client) Restart(ctx context.Context, container string) error {
	return c.Call(ctx, MethodRestart, NameRequest{container}, nil)
}

// PowerOff stops the machine, or ends `instar run`.
func (c *Client) PowerOff(ctx context.Context) error {
	return c.Call(ctx, MethodPowerOff, nil, nil)
}

// Reboot stops the machine and starts it again.
func (c *Client) Reboot(ctx context.Context) error {
	return c.Call(ctx, MethodReboot, nil, nil)
}
