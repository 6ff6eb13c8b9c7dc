package supervise

import (
	"context"
	"slices"
)

// AtRest waits until no container runs, or will without anybody's doing.
func (s *Supervisor) AtRest(ctx context.Context) error {
	return s.until(ctx, func() bool { return !slices.ContainsFunc(s.now.units, (*unit).alive) })
}
