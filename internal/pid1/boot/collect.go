package boot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/instar-os/instar/internal/wire"
)

// Collect implements wire.Collector.
func (m *machine) Collect(ctx context.Context, r wire.CollectRequest) (wire.CollectPlan, error) {
	if m.updates == nil {
		return wire.CollectPlan{}, errNoUpdates
	}
	return m.updates.collect(ctx, r)
}

// collect runs the process that collects, `instar-init collect`.
func (u *updates) collect(ctx context.Context, r wire.CollectRequest) (wire.CollectPlan, error) {
	args := []string{"collect"}
	if r.DryRun {
		args = append(args, "--dry-run")
	}
	var out, errs bytes.Buffer
	t := wire.Terminal{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs}
	var p wire.CollectPlan
	code, err := u.alone(ctx, args, t)
	switch {
	case err != nil:
		return p, err
	case code != 0:
		return p, errors.New(strings.TrimPrefix(strings.TrimSpace(errs.String()), "instar-init: "))
	}
	return p, json.Unmarshal(out.Bytes(), &p)
}

// tidySoon lets garbage be collected: what was good before the last has gone out
// of use.
func (u *updates) tidySoon() {
	select {
	case u.due <- struct{}{}:
	default:
	}
}

// tidy collects garbage when it is due, until ctx ends. Nothing depends on it:
// what stays is collected the next time.
func (u *updates) tidy(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-u.due:
		}
		p, err := u.collect(ctx, wire.CollectRequest{})
		if err != nil {
			u.d.log.Printf("garbage: nothing, or not all, is deleted: %v", err)
			continue
		}
		u.d.log.Printf("garbage: %d systems, %d images and %d objects are deleted: %d bytes", len(p.Delete), p.Images, p.Objects, p.Free)
	}
}
