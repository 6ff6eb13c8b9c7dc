package boot

import (
	"fmt"

	"github.com/instar-os/instar/internal/wire"
)

// kept counts, by task, what has contradicted its proof up to the last look of
// the gate. Its zero value has seen nothing.
type kept map[string]uint64

// inTime finds that a task has run, and that nothing more has contradicted its
// proof since the last look: each time that something does breaks the time for
// which the gate holds.
func (k *kept) inTime(name string, measured map[string]wire.RTTask) error {
	t, ok := measured[name]
	if !ok || t.Jobs == 0 {
		return fmt.Errorf("task %s has not run", name)
	}
	if *k == nil {
		*k = kept{}
	}
	now := uint64(t.Misses) + uint64(t.Beyond) + uint64(t.Overruns)
	before := (*k)[name]
	if (*k)[name] = now; now > before { // less: its thread is another one
		return fmt.Errorf("task %s is not as proven: of %d jobs %d were late, %d took longer than their bound, %d computed more than their wcet",
			name, t.Jobs, t.Misses, t.Beyond, t.Overruns)
	}
	return nil
}
