// Package receive is the process in which a device takes an update: the first
// process starts it beside itself, in a mount namespace of its own where the
// store can be written, and gives it the update as it comes. It ends with what
// it has said last.
package receive

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/pid1/drivers"
	"github.com/instar-os/instar/internal/pid1/trial"
	"github.com/instar-os/instar/internal/record"
	"github.com/instar-os/instar/internal/slot"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/trust"
	"github.com/instar-os/instar/internal/update"
	"github.com/instar-os/instar/internal/wire"
)

// Options of the process.
type Options struct {
	Store  string        // directory that the store is mounted at
	Disk   string        // path of the disk that store, slots and record are on
	System digest.Digest // that runs
	Data   string        // directory of the containers' data; "": none is mounted
	Force  bool
	DryRun bool // only say what speaks against the update
}

// Run takes the update that in gives, and says on out, in a wire.UpdateEvent a
// line, what comes of it. The error, which it has said as well, is for the exit code.
func Run(ctx context.Context, o Options, in io.Reader, out io.Writer) error {
	say := &speaker{enc: json.NewEncoder(out)}
	err := run(ctx, o, in, say)
	var refused *update.Refused
	switch {
	case errors.As(err, &refused):
		say.event(wire.UpdateEvent{Refused: problems(refused.Problems)})
	case err != nil:
		say.event(wire.UpdateEvent{Error: err.Error()})
	}
	return errors.Join(err, say.err)
}

// speaker writes events, one at a time, until one cannot be written.
type speaker struct {
	mu  sync.Mutex
	enc *json.Encoder
	err error
}

func (s *speaker) event(e wire.UpdateEvent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = s.enc.Encode(e)
	}
}

func problems(list []update.Problem) []wire.UpdateProblem {
	all := []wire.UpdateProblem{}
	for _, p := range list {
		all = append(all, wire.UpdateProblem(p))
	}
	return all
}

// open gives up all that the process does not need, and opens the machine.
func open(o Options) (*device, error) {
	if err := enter(o.Store); err != nil {
		return nil, err
	}
	d, err := openDisk(o.Disk, false)
	if err != nil {
		return nil, err
	}
	if err = dropPrivileges(); err == nil {
		err = d.begin(o)
	}
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func run(ctx context.Context, o Options, in io.Reader, say *speaker) error {
	d, err := open(o)
	if err != nil {
		return err
	}
	defer d.Close()
	env, err := d.env(o)
	if err != nil {
		return err
	}
	from := &sender{bufio.NewReaderSize(in, 64<<10), say}
	if o.DryRun {
		return check(ctx, from, env, say)
	}
	env.Progress = func(p update.Progress) { say.event(wire.UpdateEvent{Received: p.Received, Total: p.Total}) }
	r, err := from.receive(ctx, env)
	if err != nil {
		return err
	}
	n, err := d.stage(r)
	if err != nil {
		return err
	}
	if err := r.Finish(); err != nil {
		return err
	}
	say.event(wire.UpdateEvent{Staged: &wire.UpdateStaged{System: r.System.String(), Slot: n}})
	return nil
}

// check says what speaks against an update.
func check(ctx context.Context, from *sender, env *update.Env, say *speaker) error {
	c, err := from.check(ctx, env)
	if err != nil {
		return err
	}
	say.event(wire.UpdateEvent{Checked: &wire.UpdateChecked{
		Problems: problems(c.Problems), Need: c.Need, Free: c.Free, Have: c.Have, Body: c.Body}})
	return nil
}

// env is the device as package update sees it.
func (d *device) env(o Options) (*update.Env, error) {
	keys, err := updateKeys(d.manifest)
	if err != nil {
		return nil, err
	}
	return &update.Env{
		Store: d.store, Keys: keys, Running: o.System, Force: o.Force,
		Part: d.part,
		Free: func() (int64, error) {
			var fs unix.Statfs_t
			err := unix.Statfs(o.Store, &fs)
			return int64(fs.Bavail) * fs.Bsize, err
		},
		Preflight: func(m *system.Manifest, sys digest.Digest) []update.Problem {
			return append(d.preflight(m, sys), newerData(o.Data, m)...)
		},
	}, nil
}

func updateKeys(m *system.Manifest) (trust.Keys, error) {
	if m.Update == nil || len(m.Update.Keys) == 0 {
		return nil, fmt.Errorf("system of %s takes no updates: its definition names no keys (update.keys)", m.Machine)
	}
	return trust.ParseKeys(m.Update.Keys)
}

// preflight finds what record, slots and hardware say against a system.
func (d *device) preflight(m *system.Manifest, sys digest.Digest) []update.Problem {
	all := d.remembered(m, sys)
	if slot.Counted(d.method) && m.Boot.Trial != slot.TrialCounter {
		if err := loaderListens(); err != nil {
			all = append(all, update.Problem{Code: update.NoTrial, Text: err.Error()})
		}
	}
	missing, err := drivers.Machine{Sysfs: os.DirFS("/sys"), Procfs: os.DirFS("/proc"), Disk: d.name}.Missing(m.Kernel.Modules)
	if err != nil {
		missing = append(missing, err.Error())
	}
	for _, text := range missing {
		all = append(all, update.Problem{Code: update.NoDriver, Text: text})
	}
	return append(all, noProcessors(os.DirFS("/sys"), m)...)
}

// remembered finds what the disk alone says against a system.
func (d *device) remembered(m *system.Manifest, sys digest.Digest) []update.Problem {
	r := d.book.Record()
	var all []update.Problem
	if v, ok := r.Verdict(sys); ok && !v.Good {
		all = append(all, update.Problem{Code: update.Bad, Text: fmt.Sprintf("it was tried and found bad: %s %s", v.Reason, v.Detail)})
	}
	if t := r.Trial; t != nil && t.Phase != record.Staged && t.Phase != record.Failed {
		all = append(all, update.Problem{Code: update.Unhealthy, Text: fmt.Sprintf("system %s is on trial; confirm it or go back first", t.System.Short()), Grave: true})
	}
	err := d.fits(m, sys)
	if err == nil {
		err = d.vacant()
	}
	if err != nil {
		all = append(all, update.Problem{Code: update.NoSpace, Text: err.Error(), Grave: true})
	}
	return all
}

// again lets a system that was found bad be tried once more, because the
// operator said so.
func (d *device) again(sys digest.Digest) error {
	r := d.book.Record()
	if !r.Bad(sys) {
		return nil
	}
	return d.change(func(r *record.Record) error { return trial.Forgive(r, sys) })
}
