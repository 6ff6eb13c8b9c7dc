package vm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/instar-os/instar/internal/wire"
)

// ControlPort is the name of the virtio serial port on which the machine's
// supervisor listens.
const ControlPort = "org.instar.control"

// Control returns a client of the machine's supervisor. Requests may be sent
// before the supervisor runs; they wait in the emulator and are answered when it does.
func (v *VM) Control() *wire.Client { return v.control }

// Call sends one request of the control protocol and decodes its result into
// out, which may be nil.
func (v *VM) Call(ctx context.Context, method string, params, out any) error {
	return v.control.Call(ctx, method, params, out)
}

// WaitHealthy asks again after healthPoll, and when an answer has not come
// within healthPatience.
const (
	healthPoll     = 200 * time.Millisecond
	healthPatience = 15 * time.Second
)

// WaitHealthy waits until every container of the machine does its work, and
// returns the machine's status then. It fails when the machine ends or ctx is
// done; the error says what was not healthy and shows the console's end, and
// the last status that came stands beside it.
func (v *VM) WaitHealthy(ctx context.Context) (wire.Status, error) {
	var last wire.Status
	for {
		st, err := v.status(ctx)
		if err == nil {
			if last = st; st.Healthy {
				return st, nil
			}
		}
		select {
		case <-v.done:
			return last, fmt.Errorf("the machine ended before it was healthy: %w\n%s", errors.Join(v.err, err), v.console.Tail(40))
		case <-ctx.Done():
			return last, fmt.Errorf("the machine is not healthy%s: %w\n%s", ailing(last), context.Cause(ctx), v.console.Tail(40))
		case <-time.After(healthPoll):
		}
	}
}

func (v *VM) status(ctx context.Context) (wire.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, healthPatience)
	defer cancel()
	return v.control.Status(ctx)
}

// ailing lists what a status says against a machine's health.
func ailing(st wire.Status) string {
	if st.Machine == "" {
		return " (its supervisor did not answer)"
	}
	text := ""
	for _, c := range st.Containers {
		if c.State != wire.Healthy && c.State != wire.Done {
			text += fmt.Sprintf("; %s is %s", c.Name, c.State)
			if c.Detail != "" {
				text += " (" + c.Detail + ")"
			}
		}
	}
	return text
}
