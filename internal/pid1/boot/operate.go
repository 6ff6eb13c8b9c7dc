package boot

import (
	"context"

	"github.com/instar-os/instar/internal/pid1/logs"
	"github.com/instar-os/instar/internal/wire"
)

// Exec implements wire.Operator.
func (m *machine) Exec(ctx context.Context, r wire.ExecRequest, t wire.Terminal) (wire.ExecResult, error) {
	return m.supervisor.Exec(ctx, r, t)
}

// Attach implements wire.Operator.
func (m *machine) Attach(ctx context.Context, r wire.AttachRequest, t wire.Terminal) (wire.AttachResult, error) {
	return m.supervisor.Attach(ctx, r, t)
}

// Kill implements wire.Operator.
func (m *machine) Kill(r wire.KillRequest) error { return m.supervisor.Kill(r) }

// Pause implements wire.Operator.
func (m *machine) Pause(name string) error { return m.supervisor.Pause(name) }

// Unpause implements wire.Operator.
func (m *machine) Unpause(name string) error { return m.supervisor.Unpause(name) }

// Top implements wire.Operator.
func (m *machine) Top(name string) (wire.TopReply, error) { return m.supervisor.Top(name) }

// Stats implements wire.Operator.
func (m *machine) Stats() (wire.StatsReply, error) {
	st := m.supervisor.Stats()
	for i := range st.Containers {
		st.Containers[i].LogsDropped = m.log.Dropped(st.Containers[i].Name)
	}
	return st, nil
}

// limitLogs sets what the manifest says about the output of every container,
// which is the same in all configurations.
func (m *machine) limitLogs() {
	for _, cfg := range m.manifest.Configurations {
		for _, c := range cfg.Containers {
			m.log.Limit(c.Name, logs.Limits{Size: int(c.Logs.Size), Rate: int(c.Logs.Rate)})
		}
	}
}

// countDropped adds to a status what is known of the containers' output.
func (m *machine) countDropped(list []wire.ContainerStatus) {
	for i := range list {
		list[i].LogsDropped = m.log.Dropped(list[i].Name)
	}
}
