package taskset

import (
	"bytes"
	"fmt"

	"go.yaml.in/yaml/v4"

	"github.com/instar-os/instar/internal/realtime"
)

// Overheads is a measurement of what a kernel takes on a machine, as
// instar rt calibrate writes it. Times are the longest seen, nanoseconds.
type Overheads struct {
	Measured string        // day, as 2026-11-21
	Kernel   string        // release
	Machine  string        // model of its processor
	Switch   realtime.Time // one context switch
	Release  realtime.Time // timer interrupt and wake-up, of the processor
	Latency  realtime.Time // from the instant of a timer to its thread's running, with nothing more urgent
}

// ParseOverheads reads a file of overheads; messages name it.
func ParseOverheads(name string, data []byte) (*Overheads, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("%s: %d bytes; at most %d are read", name, len(data), MaxSize)
	}
	var d struct {
		Measured string         `yaml:"measured"`
		Kernel   string         `yaml:"kernel"`
		Machine  string         `yaml:"machine"`
		Switch   span           `yaml:"switch"`
		Release  span           `yaml:"release"`
		Latency  span           `yaml:"latency"`
		Seen     map[string]any `yaml:"seen"` // for readers
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&d); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	o := &Overheads{d.Measured, d.Kernel, d.Machine, realtime.Time(d.Switch), realtime.Time(d.Release), realtime.Time(d.Latency)}
	for what, v := range map[string]realtime.Time{"switch": o.Switch, "release": o.Release, "latency": o.Latency} {
		if v < 0 || v > realtime.MaxTime {
			return nil, fmt.Errorf("%s: %s of %d ns", name, what, v)
		}
	}
	if o.Measured == "" {
		return nil, fmt.Errorf("%s: it does not say on which day it was measured", name)
	}
	return o, nil
}
