package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// Control is what the control protocol does. Its methods are called
// concurrently.
type Control interface {
	Status() Status
	// Logs returns a page that encodes to less than MaxResponse.
	Logs(LogsRequest) (LogsReply, error)
	Start(ctx context.Context, container string) error
	Stop(ctx context.Context, container string) error
	Restart(ctx context.Context, container string) error
	// PowerOff and Reboot begin the end, and return at once.
	PowerOff() error
	Reboot() error
	Switcher
	Operator
}

// Limits of a server.
const (
	maxPending     = 8  // requests of one stream that are being answered
	maxConnections = 64 // of one listener
)

// acceptPause is how long Listen waits when a connection cannot be accepted,
// as with too many open files.
const acceptPause = 100 * time.Millisecond

// Listen serves every connection of a listener until ctx ends, which closes
// the listener and all connections, or until accepting fails for good. It
// returns when no goroutine of it is left.
func Listen(ctx context.Context, l net.Listener, c Control) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() {
		<-ctx.Done()
		l.Close()
	})
	defer cancel()
	slots := make(chan struct{}, maxConnections)
	for {
		conn, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accepting on %s: %w", l.Addr(), err)
		case err != nil:
			time.Sleep(acceptPause)
			continue
		}
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			stop := context.AfterFunc(ctx, func() { hangUp(conn) })
			defer stop()
			defer conn.Close()
			Serve(ctx, conn, c)
		})
	}
}

// hangUpGrace is how long an answer under way may take when the server ends.
const hangUpGrace = time.Second

// hangUp lets nothing more come in, and what is being answered go out: whoever
// asked for the machine's end hears that it comes.
func hangUp(conn net.Conn) {
	half, ok := conn.(interface{ CloseRead() error })
	if !ok || conn.SetWriteDeadline(time.Now().Add(hangUpGrace)) != nil || half.CloseRead() != nil {
		conn.Close()
	}
}

// Serve answers the requests of one stream until it ends or ctx does; the
// caller closes it, which a Read under way must notice. A line that is no
// request is answered with an error without an ID; an empty one not at all, so
// that a client may begin with one on a stream where others were before it.
func Serve(ctx context.Context, rw io.ReadWriter, c Control) error {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	s := &stream{w: rw}
	pending := make(chan struct{}, maxPending)
	lines := newLineReader(rw, MaxRequest)
	for {
		line, err := lines.next()
		if errors.Is(err, ErrTooLong) {
			err = s.send(Response{Error: fmt.Sprintf("request longer than %d bytes", MaxRequest)})
			if err == nil {
				continue
			}
		}
		if errors.Is(err, io.EOF) || ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("serving the control protocol: %w", err)
		}
		if len(line) == 0 {
			continue
		}
		var req struct {
			Request
			Frame
		}
		err = json.Unmarshal(line, &req)
		if ss := s.sessions.get(req.Session); ss != nil && err == nil {
			ss.deliver(req.Frame)
			continue
		}
		if err == nil && req.Session != "" {
			continue // of a session that has ended
		}
		if err != nil || req.ID == "" {
			if err := s.send(Response{Error: "not a request"}); err != nil {
				return fmt.Errorf("serving the control protocol: %w", err)
			}
			continue
		}
		if req.Method == MethodExec || req.Method == MethodAttach || req.Method == MethodUpdate {
			if err := s.sessions.begin(req.ID, s.frame); err != nil {
				s.send(Response{ID: req.ID, Error: err.Error()})
				continue
			}
			running.Go(func() {
				r := s.session(ctx, c, req.Request)
				s.sessions.end(req.ID)
				s.send(r)
			})
			continue
		}
		pending <- struct{}{}
		running.Go(func() {
			defer func() { <-pending }()
			s.send(answer(ctx, c, req.Request)) // an error shows at the next read
		})
	}
}

// A stream writes whole lines.
type stream struct {
	mu sync.Mutex
	w  io.Writer

	sessions sessions
}

func (s *stream) frame(f Frame) error {
	b, err := json.Marshal(f)
	if err != nil {
		return err
	}
	return s.line(b)
}

func (s *stream) line(b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.w.Write(append(b, '\n'))
	return err
}

func (s *stream) send(r Response) error {
	b, err := json.Marshal(r)
	if err == nil && len(b) > MaxResponse {
		b, err = json.Marshal(Response{ID: r.ID, Error: fmt.Sprintf("answer of %d bytes, more than %d", len(b), MaxResponse)})
	}
	if err != nil {
		return err
	}
	return s.line(b)
}

func answer(ctx context.Context, c Control, req Request) Response {
	result, err := dispatch(ctx, c, req)
	if err != nil {
		return Response{ID: req.ID, Error: err.Error()}
	}
	b, err := json.Marshal(result)
	if err != nil {
		return Response{ID: req.ID, Error: err.Error()}
	}
	return Response{ID: req.ID, Result: b}
}

// dispatch calls the method; what has no result gives an empty object.
func dispatch(ctx context.Context, c Control, req Request) (any, error) {
	switch req.Method {
	case MethodStatus:
		return c.Status(), nil
	case MethodLogs:
		var p LogsRequest
		if err := parameters(req, &p); err != nil {
			return nil, err
		}
		return c.Logs(p)
	case MethodStart, MethodStop, MethodRestart:
		var p NameRequest
		if err := parameters(req, &p); err != nil {
			return nil, err
		}
		verb := map[string]func(context.Context, string) error{
			MethodStart: c.Start, MethodStop: c.Stop, MethodRestart: c.Restart,
		}[req.Method]
		return struct{}{}, verb(ctx, p.Container)
	case MethodPowerOff:
		return struct{}{}, c.PowerOff()
	case MethodReboot:
		return struct{}{}, c.Reboot()
	}
	if result, ok, err := dispatchSwitch(ctx, c, req); ok {
		return result, err
	}
	if result, ok, err := dispatchData(ctx, c, req); ok {
		return result, err
	}
	if result, ok, err := dispatchBoots(c, req); ok {
		return result, err
	}
	if result, found, err := linkMethod(c, req); found {
		return result, err
	}
	if result, found, err := trialMethod(c, req); found {
		return result, err
	}
	if result, found, err := timeMethod(ctx, c, req); found {
		return result, err
	}
	if result, found, err := collectMethod(ctx, c, req); found {
		return result, err
	}
	return operate(c, req)
}

func parameters(req Request, v any) error {
	if len(req.Params) == 0 {
		return nil
	}
	if err := json.Unmarshal(req.Params, v); err != nil {
		return fmt.Errorf("parameters of %s: %w", req.Method, err)
	}
	return nil
}
