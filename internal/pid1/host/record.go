// Package host lets a machine's containers run below an init that is not
// instar's: it makes units of systemd of them, and answers the control protocol
// for all of them.
//
// On such a machine instar-init starts as the first process, mounts what it
// always mounts, and hands over to the init of the host's tree. From then on
// there are instar.service, which has the network and the control protocol,
// and one instar-NAME.service for each container.
package host

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/system"
)

// RecordName is the name of the Record in the directory of instar's state.
const RecordName = "host.json"

// Record is what the first stage tells the rest.
type Record struct {
	System        digest.Digest `json:"system"`
	Configuration string        `json:"configuration"`
	Ready         int64         `json:"ready"`          // nanoseconds from the kernel's start to the first stage
	Disk          string        `json:"disk,omitempty"` // that the store is on, "vda"
	Data          bool          `json:"data"`           // there is a data partition
	Quota         bool          `json:"quota"`          // its file system has project quotas
	Warnings      []string      `json:"warnings,omitempty"`
}

// Write writes the record into a directory, which ends with the machine.
func (r Record) Write(dir string) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, RecordName), append(b, '\n'), 0o644)
}

// ReadRecord reads the record of a directory.
func ReadRecord(dir string) (Record, error) {
	var r Record
	b, err := os.ReadFile(filepath.Join(dir, RecordName))
	if err != nil {
		return r, fmt.Errorf("reading what the first stage says: %w", err)
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("reading what the first stage says: %w", err)
	}
	return r, nil
}

// unitName is the name of a container's unit.
func unitName(container string) string { return "instar-" + container + ".service" }

// units returns the names of a configuration's units, in start order.
func units(c *system.Configuration) []string {
	out := make([]string, 0, len(c.Containers))
	for i := range c.Containers {
		out = append(out, unitName(c.Containers[i].Name))
	}
	return out
}
