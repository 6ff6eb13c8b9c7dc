package update

import (
	"context"
	"fmt"
)

// Checked is what a device would say of an update.
type Checked struct {
	Problems []Problem // also those that could be overruled
	Need     int64     // bytes that would be written to the store, at most
	Free     int64     // bytes that are free there; 0 when nobody counts
	Have     int64     // bytes of the body that were kept of an attempt before, or are not needed
	Body     int64     // bytes of the body
}

// Check reads an update up to its manifest and finds what speaks against it, as
// Receive does, and writes nothing.
func Check(ctx context.Context, src Source, env *Env) (*Checked, error) {
	r, err := newReceiver(src, env)
	if err != nil {
		return nil, err
	}
	c, err := r.check(ctx)
	if err != nil {
		return nil, fmt.Errorf("checking the update to system %s: %w", r.u.Target.Short(), err)
	}
	return c, nil
}

func (r *receiver) check(ctx context.Context) (*Checked, error) {
	c := &Checked{Problems: r.headProblems(), Body: r.u.BodySize}
	for _, p := range c.Problems {
		if p.Grave { // its manifest may need a base that is not here
			return c, nil
		}
	}
	if _, err := r.readManifest(ctx); err != nil {
		return nil, err
	}
	c.Problems = append(c.Problems, r.problems()...)
	for r.next < len(r.u.Streams) && r.there(r.u.Streams[r.next]) {
		c.Have = r.u.Streams[r.next].End()
		r.next++
	}
	var err error
	c.Need, c.Free, err = r.room()
	return c, err
}
