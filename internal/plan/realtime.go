package plan

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/instar-os/instar/internal/realtime/check"
	realtime "github.com/instar-os/instar/internal/realtime/plan"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/system"
)

// maxProof is the longest proof that is read, in bytes.
const maxProof = 64 << 20

// InTime answers whether the tasks of a system are in time, beside those of the
// one before it, which may be nil. What the builder has proven is verified again,
// by the checker that shares nothing with the analysis.
func InTime(st *store.Store, before, m *system.Manifest) Verdict {
	v := Verdict{What: "real time", OK: true}
	var all []string
	for i := range m.Configurations {
		c := &m.Configurations[i]
		if c.RealTime == nil {
			continue
		}
		text, err := inTime(st, before, c)
		if err != nil {
			v.OK, text = false, err.Error()
		}
		all = append(all, fmt.Sprintf("configuration %s: %s", c.Name, text))
	}
	if v.Text = strings.Join(all, "; "); all == nil {
		v.Text = "no task is declared"
	}
	return v
}

func inTime(st *store.Store, before *system.Manifest, c *system.Configuration) (string, error) {
	if err := proven(st, c); err != nil {
		return "", err
	}
	text := count(len(c.RealTime.Bounds), "task is", "tasks are") + " in time"
	if b := tightest(c); b.Task != "" {
		text += fmt.Sprintf(", the tightest %s with at most %s of %s", b.Task, time.Duration(b.Bound), time.Duration(deadline(c, b.Task)))
		if was := boundBefore(before, c.Name, b.Task); was != 0 && was != b.Bound {
			text += fmt.Sprintf(" (until now %s)", time.Duration(was))
		}
	}
	if len(c.RealTime.Conditions) > 0 {
		text += ", on the condition that " + strings.Join(c.RealTime.Conditions, " and that ")
	}
	return text, nil
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// proven reads a configuration's proof, verifies it, and finds the bounds of all
// tasks in it.
func proven(st *store.Store, c *system.Configuration) error {
	b, err := st.Bytes(c.RealTime.Proof.Digest, maxProof)
	if err != nil {
		return fmt.Errorf("its proof: %w", err)
	}
	p := &realtime.Configuration{}
	if err := json.Unmarshal(b, p); err != nil {
		return fmt.Errorf("its proof: %w", err)
	}
	if p.Set == nil || p.Report == nil {
		return errors.New("its proof proves nothing")
	}
	if err := check.Report(p.Set, p.Report); err != nil {
		return fmt.Errorf("its proof does not hold: %w", err)
	}
	if !p.Report.Holds {
		return errors.New("a task is late, says its proof")
	}
	for _, ct := range c.Containers {
		for _, t := range ct.Tasks {
			name := ct.Name + "." + t.Name
			if t.Deadline > 0 && !slices.ContainsFunc(c.RealTime.Bounds, func(b system.Bound) bool { return b.Task == name }) {
				return fmt.Errorf("of task %s nothing is proven", name)
			}
		}
	}
	return nil
}

// tightest is the task that needs most of its deadline.
func tightest(c *system.Configuration) system.Bound {
	var found system.Bound
	most := -1.0
	for _, b := range c.RealTime.Bounds {
		d := deadline(c, b.Task)
		if share := float64(b.Bound) / float64(max(d, 1)); d > 0 && share > most {
			found, most = b, share
		}
	}
	return found
}

// deadline returns the deadline of a task, CONTAINER.TASK, in nanoseconds.
func deadline(c *system.Configuration, task string) int64 {
	container, name, _ := strings.Cut(task, ".")
	if ct := find(c, container); ct != nil {
		for _, t := range ct.Tasks {
			if t.Name == name {
				return t.Deadline
			}
		}
	}
	return 0
}

// boundBefore is what was proven of a task in the system before; 0: nothing.
func boundBefore(m *system.Manifest, configuration, task string) int64 {
	if m == nil {
		return 0
	}
	c, ok := m.Configuration(configuration)
	if !ok || c.RealTime == nil {
		return 0
	}
	for _, b := range c.RealTime.Bounds {
		if b.Task == task {
			return b.Bound
		}
	}
	return 0
}
