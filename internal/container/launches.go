package container

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/launch"
	"github.com/instar-os/instar/internal/system"
)

// maxLaunch is the largest launch object that is read, in bytes.
const maxLaunch = 4 * launch.MaxEncoded

// launches are the launch programs that have been read, by digest, so that a
// further start of a container reads nothing.
type launches struct {
	mu sync.Mutex
	m  map[digest.Digest]*loadedLaunch
}

// loadedLaunch is a container's start with its addresses put in.
type loadedLaunch struct{ spaces, root, drop, start, join *loaded }

// launch returns the launch programs of a container: what the build compiled,
// verified by its digest and checked again.
func (r *Runtime) launch(c *system.Container) (*loadedLaunch, error) {
	r.known.mu.Lock()
	defer r.known.mu.Unlock()
	if l, ok := r.known.m[c.Launch.Digest]; ok {
		return l, nil
	}
	b, err := readAll(filepath.Join(r.Store, "objects", c.Launch.Digest.Path()))
	if err != nil {
		return nil, fmt.Errorf("reading its launch programs: %w", err)
	}
	if got := digest.Of(b); got != c.Launch.Digest {
		return nil, fmt.Errorf("its launch programs have digest %v, not %v", got, c.Launch.Digest)
	}
	programs, err := launch.DecodeLaunch(b)
	if err != nil {
		return nil, err
	}
	l, err := loadLaunch(programs)
	if err != nil {
		return nil, err
	}
	if r.known.m == nil {
		r.known.m = map[digest.Digest]*loadedLaunch{}
	}
	r.known.m[c.Launch.Digest] = l
	return l, nil
}

func readAll(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxLaunch+1))
	if err == nil && len(b) > maxLaunch {
		err = fmt.Errorf("more than %d bytes", maxLaunch)
	}
	return b, err
}

func loadLaunch(l *launch.Launch) (*loadedLaunch, error) {
	out := new(loadedLaunch)
	for _, part := range []struct {
		to   **loaded
		from *launch.Program
	}{{&out.spaces, l.Spaces}, {&out.root, l.Root}, {&out.drop, l.Drop}, {&out.start, l.Start}, {&out.join, l.Join}} {
		var err error
		if *part.to, err = load(part.from); err != nil {
			return nil, err
		}
	}
	return out, nil
}
