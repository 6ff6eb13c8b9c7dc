package container

import (
	"errors"

	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/volume"
)

// SharedData stands for the configuration in the place of data that all
// configurations share. No configuration has such a name.
const SharedData = "@machine"

// held is a container's data in use.
type held []*volume.Handle

func (h held) release() {
	for _, v := range h {
		v.Close()
	}
}

func (h held) directories() []string {
	var out []string
	for _, v := range h {
		out = append(out, v.Dir)
	}
	return out
}

func (h held) warnings() []string {
	var out []string
	for _, v := range h {
		out = append(out, v.Warnings...)
	}
	return out
}

// openData opens a container's data, in its order.
func (r *Runtime) openData(c *system.Container, configuration string) (held, error) {
	if len(c.Data) == 0 {
		return nil, nil
	}
	if r.Data == nil {
		return nil, errors.New("it keeps data and this machine has no place for data")
	}
	var out held
	for _, d := range c.Data {
		owner := configuration
		if d.Shared {
			owner = SharedData
		}
		h, err := r.Data.Open(owner, c.Name, d)
		if err != nil {
			out.release()
			return nil, err
		}
		out = append(out, h)
	}
	return out, nil
}
