package container

import (
	"fmt"
	"sync"
	"testing"

	"github.com/instar-os/instar/internal/system"
)

// TestPreparedTogether prepares containers at the same time, some of which set
// kernel parameters: their programs share one table of descriptors, in which
// none may close what another has opened.
func TestPreparedTogether(t *testing.T) {
	w := newWorld(t)
	const lanes, rounds = 4, 40
	var containers []*system.Container
	for lane := range lanes {
		containers = append(containers, w.container(t, func(c *system.Container) {
			c.Name = fmt.Sprint("lane", lane)
			if lane%2 == 0 {
				c.Sysctls = map[string]string{"kernel.msgmax": "4096", "kernel.shmmni": "64", "kernel.sem": "1 2 3 4", "net.ipv4.ip_unprivileged_port_start": "81"}
			}
		}))
	}
	var all sync.WaitGroup
	for _, c := range containers {
		all.Go(func() {
			for range rounds {
				s, err := w.Prepare(c, "day")
				if err == nil {
					err = s.Close()
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}
