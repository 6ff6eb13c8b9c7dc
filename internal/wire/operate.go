package wire

import (
	"context"
	"fmt"
	"time"
)

// The methods by which an operator looks into containers and stirs them.
const (
	MethodKill    = "kill"    // KillRequest
	MethodPause   = "pause"   // NameRequest
	MethodUnpause = "unpause" // NameRequest
	MethodTop     = "top"     // NameRequest; Result is a TopReply
	MethodStats   = "stats"   // no parameters; Result is a StatsReply
)

// Operator is what an operator does with running containers.
type Operator interface {
	// Exec runs a further command in a container until it ends or ctx does,
	// which kills it.
	Exec(ctx context.Context, r ExecRequest, t Terminal) (ExecResult, error)
	// Attach joins a container's own command until it ends or ctx does, which
	// leaves it alone.
	Attach(ctx context.Context, r AttachRequest, t Terminal) (AttachResult, error)
	Kill(KillRequest) error
	// Pause stops all processes of a container where they stand, and Unpause
	// lets them go on.
	Pause(container string) error
	Unpause(container string) error
	Top(container string) (TopReply, error)
	Stats() (StatsReply, error)
}

// KillRequest asks to send a signal to a container's first process.
type KillRequest struct {
	Container string `json:"container"`
	Signal    int    `json:"signal"`
}

// TopReply lists the processes of a container.
type TopReply struct {
	Processes []ProcessStatus `json:"processes"`
}

// ProcessStatus is one process: proc_pid_stat(5). Its numbers are the machine's,
// its user is the container's.
type ProcessStatus struct {
	PID     int           `json:"pid"`
	PPID    int           `json:"ppid"`
	UID     uint32        `json:"uid"`
	State   string        `json:"state"` // R, S, D, Z, T, …
	CPU     time.Duration `json:"cpu"`   // nanoseconds, user and system
	Memory  int64         `json:"memory"`
	Threads int           `json:"threads"`
	Command string        `json:"command"`
}

// StatsReply is what containers use, in order of their start.
type StatsReply struct {
	Time       time.Time        `json:"time"`
	Containers []ContainerStats `json:"containers"`
}

// ContainerStats is what one container uses. What the machine does not count
// is 0.
type ContainerStats struct {
	Name        string        `json:"name"`
	State       State         `json:"state"`
	CPU         time.Duration `json:"cpu"`    // nanoseconds since this start
	Memory      int64         `json:"memory"` // bytes
	MemoryLimit int64         `json:"memoryLimit,omitempty"`
	Swap        int64         `json:"swap,omitempty"`
	Pids        int64         `json:"pids"`
	PidsLimit   int64         `json:"pidsLimit,omitempty"`
	Read        int64         `json:"read"`                  // bytes from block devices
	Written     int64         `json:"written"`               // bytes to block devices
	Disks       []DiskStats   `json:"disks,omitempty"`       // of those that it uses or that are limited for it
	OOMKills    int64         `json:"oomKills,omitempty"`    // since the machine's start
	LogsDropped int64         `json:"logsDropped,omitempty"` // lines, since the machine's start
}

// DiskStats is what a container does with one disk since its start, and what it
// may: limits are rates a second, 0 is no limit.
type DiskStats struct {
	Disk      string `json:"disk"`    // kernel name, or major:minor
	Read      int64  `json:"read"`    // bytes
	Written   int64  `json:"written"` // bytes
	Reads     int64  `json:"reads"`   // operations
	Writes    int64  `json:"writes"`  // operations
	MaxRead   int64  `json:"maxRead,omitempty"`
	MaxWrite  int64  `json:"maxWrite,omitempty"`
	MaxReads  int64  `json:"maxReads,omitempty"`
	MaxWrites int64  `json:"maxWrites,omitempty"`
}

// operate calls a method of Operator; what has no result gives an empty object.
func operate(c Operator, req Request) (any, error) {
	var name NameRequest
	switch req.Method {
	case MethodKill:
		var p KillRequest
		if err := parameters(req, &p); err != nil {
			return nil, err
		}
		return struct{}{}, c.Kill(p)
	case MethodStats:
		return c.Stats()
	case MethodPause, MethodUnpause, MethodTop:
		if err := parameters(req, &name); err != nil {
			return nil, err
		}
	}
	switch req.Method {
	case MethodPause:
		return struct{}{}, c.Pause(name.Container)
	case MethodUnpause:
		return struct{}{}, c.Unpause(name.Container)
	case MethodTop:
		return c.Top(name.Container)
	}
	return nil, fmt.Errorf("unknown method %q", req.Method)
}

// Kill sends a signal to a container's first process.
func (c *Client) Kill(ctx context.Context, r KillRequest) error {
	return c.Call(ctx, MethodKill, r, nil)
}

// Pause stops all processes of a container where they stand.
func (c *Client) Pause(ctx context.Context, container string) error {
	return c.Call(ctx, MethodPause, NameRequest{container}, nil)
}

// Unpause lets a paused container go on.
func (c *Client) Unpause(ctx context.Context, container string) error {
	return c.Call(ctx, MethodUnpause, NameRequest{container}, nil)
}

// Top lists the processes of a container.
func (c *Client) Top(ctx context.Context, container string) (TopReply, error) {
	var r TopReply
	err := c.Call(ctx, MethodTop, NameRequest{container}, &r)
	return r, err
}

// Stats tells what every container uses.
func (c *Client) Stats(ctx context.Context) (StatsReply, error) {
	var r StatsReply
	err := c.Call(ctx, MethodStats, nil, &r)
	return r, err
}
