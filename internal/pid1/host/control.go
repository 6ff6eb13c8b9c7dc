package host

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/wire"
)

// Control answers for a machine whose containers are units of systemd: about
// one container its unit answers, starts and stops are jobs of systemd, and
// everything else is asked of the embedded Control.
type Control struct {
	wire.Control
	Configuration *system.Configuration
	Units         string // directory of the units' sockets, NAME.sock
	Run           Run
}

// patience is how long one unit may take to answer.
const patience = 2 * time.Second

// running is the state of a host without failed units, when it has started.
const running = "running"

// Status implements wire.Control: the host is healthy when all its units are.
func (c *Control) Status() wire.Status {
	ctx, cancel := context.WithTimeout(context.Background(), askLimit)
	defer cancel()
	s := c.Control.Status()
	shown, err := c.show(ctx)
	if err != nil {
		s.Warnings = append(s.Warnings, err.Error())
	}
	s.Containers = c.containers(ctx, shown, &s)
	state, failed, err := c.failed(ctx)
	if err != nil {
		s.Warnings = append(s.Warnings, err.Error())
	}
	if len(failed) > 0 {
		s.Warnings = append(s.Warnings, "units that have failed: "+strings.Join(failed, ", "))
	}
	s.Host = state
	s.Healthy = s.Healthy && state == running
	for _, ct := range s.Containers {
		s.Healthy = s.Healthy && (ct.State == wire.Healthy || ct.State == wire.Done)
	}
	return s
}

// containers asks every unit at the same time.
func (c *Control) containers(ctx context.Context, shown map[string]map[string]string, s *wire.Status) []wire.ContainerStatus {
	out := make([]wire.ContainerStatus, len(c.Configuration.Containers))
	warnings := make([][]string, len(out))
	var asked sync.WaitGroup
	for i := range c.Configuration.Containers {
		ct := &c.Configuration.Containers[i]
		props := shown[unitName(ct.Name)]
		asked.Go(func() {
			var st wire.Status
			err := c.ask(ctx, ct.Name, func(ctx context.Context, client *wire.Client) (err error) {
				st, err = client.Status(ctx)
				return err
			})
			if err == nil && len(st.Containers) == 1 {
				out[i], warnings[i] = st.Containers[0], st.Warnings
			} else {
				out[i] = fromUnit(ct, props)
			}
			out[i].Restarts, _ = strconv.Atoi(props["NRestarts"])
		})
	}
	asked.Wait()
	for _, w := range warnings {
		for _, text := range w {
			if !slices.Contains(s.Warnings, text) {
				s.Warnings = append(s.Warnings, text)
			}
		}
	}
	return out
}

// fromUnit says what state a container is in whose unit does not answer.
func fromUnit(ct *system.Container, props map[string]string) wire.ContainerStatus {
	st := wire.ContainerStatus{Name: ct.Name, State: wire.Stopped, Stdin: ct.Stdin || ct.TTY, TTY: ct.TTY}
	if s, err := strconv.ParseInt(strings.TrimPrefix(props["StateChangeTimestamp"], "@"), 10, 64); err == nil {
		st.Since = time.Unix(s, 0).UTC()
	}
	if code, err := strconv.Atoi(props["ExecMainStatus"]); err == nil && props["ActiveState"] != "inactive" {
		st.ExitCode = &code
	}
	switch props["ActiveState"] {
	case "active":
		st.State = wire.Done
		if !ct.OneShot {
			st.State, st.ExitCode = wire.Starting, nil
		}
	case "activating", "reloading":
		st.State = wire.Starting
		if strings.HasPrefix(props["SubState"], "auto-restart") {
			st.State = wire.Backoff
		}
	case "deactivating":
		st.State = wire.Stopping
	case "failed":
		st.State, st.Detail = wire.Failed, "systemd says "+props["Result"]
	case "inactive":
		if props["Job"] != "" && props["Job"] != "0" {
			st.State = wire.Waiting
		}
	}
	return st
}

// dial connects to a container's unit.
func (c *Control) dial(ctx context.Context, container string) (*wire.Client, error) {
	if !c.has(container) {
		return nil, fmt.Errorf("no container %s", container)
	}
	client, err := wire.Dial(ctx, filepath.Join(c.Units, container+".sock"))
	if err != nil {
		return nil, fmt.Errorf("container %s does not run: %w", container, err)
	}
	return client, nil
}

func (c *Control) has(container string) bool {
	return slices.ContainsFunc(c.Configuration.Containers, func(ct system.Container) bool { return ct.Name == container })
}

// ask calls a container's unit.
func (c *Control) ask(ctx context.Context, container string, question func(context.Context, *wire.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	client, err := c.dial(ctx, container)
	if err != nil {
		return err
	}
	defer client.Close()
	return question(ctx, client)
}

// Start implements wire.Control.
func (c *Control) Start(ctx context.Context, container string) error {
	return c.job(ctx, "start", container)
}

// Stop implements wire.Control.
func (c *Control) Stop(ctx context.Context, container string) error {
	return c.job(ctx, "stop", container)
}

// Restart implements wire.Control.
func (c *Control) Restart(ctx context.Context, container string) error {
	return c.job(ctx, "restart", container)
}

// job has systemd do something with a container's unit. Stops are waited for;
// starts are not, for a unit has started only when it is healthy.
func (c *Control) job(ctx context.Context, verb, container string) error {
	if !c.has(container) {
		return fmt.Errorf("no container %s", container)
	}
	args := []string{verb, unitName(container)}
	if verb != "stop" {
		args = append([]string{"--no-block"}, args...)
	}
	_, err := c.Run(ctx, args...)
	return err
}

// PowerOff implements wire.Control.
func (c *Control) PowerOff() error { return c.end("poweroff") }

// Reboot implements wire.Control.
func (c *Control) Reboot() error { return c.end("reboot") }

func (c *Control) end(verb string) error {
	ctx, cancel := context.WithTimeout(context.Background(), askLimit)
	defer cancel()
	_, err := c.Run(ctx, "--no-block", verb)
	return err
}
