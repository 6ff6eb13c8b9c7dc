package container

import (
	"fmt"
	"os"

	"github.com/instar-os/instar/internal/system"
)

// descriptors returns the files of a container's links.
func (r *Runtime) descriptors(c *system.Container) ([]*os.File, error) {
	if r.Descriptors == nil {
		return nil, fmt.Errorf("it has links and there are none: %s", c.Descriptors[0].Link)
	}
	files, err := r.Descriptors(c)
	if err == nil && len(files) != len(c.Descriptors) {
		err = fmt.Errorf("%d files for %d descriptors of links", len(files), len(c.Descriptors))
	}
	return files, err
}
