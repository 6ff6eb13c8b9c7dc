package supervise

import (
	"context"
	"fmt"
	"time"

	"github.com/instar-os/instar/internal/wire"
)

// Operated is what an operator does with a sandbox whose command runs.
type Operated interface {
	// Exec runs a further command until it ends or ctx does, which kills it.
	Exec(ctx context.Context, r wire.ExecRequest, t wire.Terminal) (code int, err error)
	// Freeze lets all processes stand still, or go on.
	Freeze(frozen bool) error
	Usage() Usage
	OOMKills() int64 // Usage has it as well, and takes longer
	Processes() ([]wire.ProcessStatus, error)
}

// Usage is what one life of a container has used. A field is zero when the
// machine does not count it.
type Usage struct {
	CPU          time.Duration
	Memory, Swap int64 // bytes
	Pids         int64
	Disks        []wire.DiskStats
	OOMKills     int64 // processes killed for want of memory
}

// operated returns a container's unit with its sandbox and first process.
func (s *Supervisor) operated(name string) (*unit, Sandbox, Process, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.now.unit(name)
	switch {
	case u == nil:
		return nil, nil, nil, fmt.Errorf("no container %s", name)
	case u.sandbox == nil || u.main == nil:
		return nil, nil, nil, fmt.Errorf("container %s does not run: it is %s", name, u.status.State)
	}
	return u, u.sandbox, u.main, nil
}

// Exec runs a command in a running container until it ends or ctx does.
func (s *Supervisor) Exec(ctx context.Context, r wire.ExecRequest, t wire.Terminal) (wire.ExecResult, error) {
	u, sb, _, err := s.operated(r.Container)
	if err != nil {
		return wire.ExecResult{}, err
	}
	if u.isPaused() {
		return wire.ExecResult{}, fmt.Errorf("container %s is paused", r.Container)
	}
	code, err := sb.Exec(ctx, r, t)
	if err != nil {
		return wire.ExecResult{}, fmt.Errorf("running a command in container %s: %w", r.Container, err)
	}
	return wire.ExecResult{Code: code}, nil
}

// Attach joins a container's command until it ends or ctx does.
func (s *Supervisor) Attach(ctx context.Context, r wire.AttachRequest, t wire.Terminal) (wire.AttachResult, error) {
	_, _, main, err := s.operated(r.Container)
	if err != nil {
		return wire.AttachResult{}, err
	}
	code, err := main.Attach(ctx, r, t)
	if err != nil {
		return wire.AttachResult{}, fmt.Errorf("attached to container %s: %w", r.Container, err)
	}
	return wire.AttachResult{Code: code}, nil
}

// Kill sends a signal to a container's first process. What comes of it is the
// restart policy's.
func (s *Supervisor) Kill(r wire.KillRequest) error {
	if r.Signal < 1 || r.Signal > maxSignal {
		return fmt.Errorf("no signal %d", r.Signal)
	}
	_, _, p, err := s.operated(r.Container)
	if err != nil {
		return err
	}
	s.log.Printf("%s: signal %d for the operator", r.Container, r.Signal)
	return p.Signal(r.Signal)
}

// maxSignal is Linux's SIGRTMAX.
const maxSignal = 64

// Pause lets a container's processes stand still until Unpause; its health is
// not checked meanwhile. Stopping it lets them go on first.
func (s *Supervisor) Pause(name string) error { return s.freeze(name, true) }

// Unpause lets a paused container go on.
func (s *Supervisor) Unpause(name string) error { return s.freeze(name, false) }

func (s *Supervisor) freeze(name string, frozen bool) error {
	u, sb, _, err := s.operated(name)
	if err != nil {
		return err
	}
	u.freezing.Lock()
	defer u.freezing.Unlock()
	if u.isPaused() == frozen {
		return nil
	}
	if err := sb.Freeze(frozen); err != nil {
		return fmt.Errorf("pausing or unpausing container %s: %w", name, err)
	}
	s.update(func() {
		if u.sandbox != sb {
			return // it has ended meanwhile
		}
		state := u.before
		if frozen {
			state, u.before = wire.Paused, u.status.State
		}
		u.paused = frozen
		u.status.State, u.status.Since = state, time.Now()
		u.s.moved(u.c.Name, state, "")
	})
	return nil
}

func (u *unit) isPaused() bool {
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	return u.paused
}

// thaw lets a paused container go on before it is asked to end.
func (u *unit) thaw(sb Sandbox) {
	u.freezing.Lock()
	defer u.freezing.Unlock()
	if !u.isPaused() {
		return
	}
	if err := sb.Freeze(false); err != nil {
		u.s.log.Printf("%s: unpausing it: %v", u.c.Name, err)
	}
	u.s.update(func() { u.paused = false })
}

// Top lists the processes of a container.
func (s *Supervisor) Top(name string) (wire.TopReply, error) {
	_, sb, _, err := s.operated(name)
	if err != nil {
		return wire.TopReply{}, err
	}
	list, err := sb.Processes()
	if err != nil {
		return wire.TopReply{}, fmt.Errorf("listing the processes of container %s: %w", name, err)
	}
	return wire.TopReply{Processes: list}, nil
}

// Stats tells what every container uses, in start order.
func (s *Supervisor) Stats() wire.StatsReply {
	s.mu.Lock()
	defer s.mu.Unlock()
	reply := wire.StatsReply{Time: time.Now().UTC(), Containers: []wire.ContainerStats{}}
	for _, u := range s.now.units {
		st := wire.ContainerStats{Name: u.c.Name, State: u.status.State, MemoryLimit: u.c.Limits.Memory,
			PidsLimit: u.c.Limits.Pids, OOMKills: u.status.OOMKills}
		if u.sandbox != nil {
			use := u.sandbox.Usage()
			st.CPU, st.Memory, st.Swap, st.Pids, st.Disks = use.CPU, use.Memory, use.Swap, use.Pids, use.Disks
			for _, d := range use.Disks {
				st.Read, st.Written = st.Read+d.Read, st.Written+d.Written
			}
			st.OOMKills += use.OOMKills
		}
		reply.Containers = append(reply.Containers, st)
	}
	return reply
}

// outOfMemory notes what the kernel killed in a life that has ended, and makes
// it the reason of the end.
func (u *unit) outOfMemory(sb Sandbox, e *end) {
	kills := sb.OOMKills()
	if kills == 0 {
		return
	}
	u.s.update(func() { u.status.OOMKills += kills })
	e.why = fmt.Sprintf("out of memory: the kernel killed %d of its processes", kills)
	if limit := u.c.Limits.Memory; limit > 0 {
		e.why += fmt.Sprintf(" (limit %d bytes)", limit)
	}
	u.s.log.Printf("%s: %s", u.c.Name, e.why)
}
