package vm

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// qmp speaks QEMU's monitor protocol: JSON objects a line, one command at a
// time (QEMU, docs/interop/qmp-spec.rst). Events are kept by name
// when an answer is read.
type qmp struct {
	mu   sync.Mutex
	conn net.Conn
	in   *bufio.Scanner

	events []string // that came, the oldest first
}

// maxEvents is how many events are kept.
const maxEvents = 1024

type qmpReply struct {
	QMP    json.RawMessage `json:"QMP"`
	Event  string          `json:"event"`
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Desc string `json:"desc"`
	} `json:"error"`
}

// qmpTimeout bounds a command, which QEMU answers at once.
const qmpTimeout = 30 * time.Second

// newQMP reads the greeting and leaves the negotiation mode.
func newQMP(ctx context.Context, conn net.Conn) (*qmp, error) {
	q := &qmp{conn: conn, in: bufio.NewScanner(conn)}
	q.in.Buffer(nil, 1<<20)
	_, err := q.do(ctx, "qmp_capabilities", nil)
	return q, err
}

// do runs a command and returns its result.
func (q *qmp) do(ctx context.Context, command string, args map[string]any) (json.RawMessage, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	deadline := time.Now().Add(qmpTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := q.conn.SetDeadline(deadline); err != nil {
		return nil, fmt.Errorf("QEMU monitor: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { q.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	request := map[string]any{"execute": command}
	if args != nil {
		request["arguments"] = args
	}
	if err := json.NewEncoder(q.conn).Encode(request); err != nil {
		return nil, fmt.Errorf("QEMU monitor: %s: %w", command, err)
	}
	return q.reply(command)
}

func (q *qmp) reply(command string) (json.RawMessage, error) {
	for q.in.Scan() {
		var r qmpReply
		if err := json.Unmarshal(q.in.Bytes(), &r); err != nil {
			return nil, fmt.Errorf("QEMU monitor: %s: %w", command, err)
		}
		if r.Event != "" && len(q.events) < maxEvents {
			q.events = append(q.events, r.Event)
		}
		switch {
		case r.Error != nil:
			return nil, fmt.Errorf("QEMU monitor: %s: %s", command, r.Error.Desc)
		case r.Return != nil:
			return r.Return, nil
		}
	}
	err := q.in.Err()
	if err == nil {
		err = errors.New("QEMU closed it")
	}
	return nil, fmt.Errorf("QEMU monitor: %s: %w", command, err)
}

// human runs a command of the human monitor and returns what it prints, which
// for most is nothing unless they fail.
func (q *qmp) human(ctx context.Context, line string) (string, error) {
	out, err := q.do(ctx, "human-monitor-command", map[string]any{"command-line": line})
	if err != nil {
		return "", err
	}
	var text string
	if err := json.Unmarshal(out, &text); err != nil {
		return "", fmt.Errorf("QEMU monitor: %s: %w", line, err)
	}
	return text, nil
}
