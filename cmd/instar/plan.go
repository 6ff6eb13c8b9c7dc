package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/instar-os/instar/internal/delta/pack"
	origin "github.com/instar-os/instar/internal/delta/remote"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/plan"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/wire"
)

// planning is what plan was asked for.
type planning struct {
	from, to string
	keys     []string
	rates    []string
	files    bool
	noUpdate bool
	arch     string
}

func planCommand(a *app) *cobra.Command {
	var p planning
	cmd := &cobra.Command{
		Use:   "plan FROM TO",
		Short: "Show what an update changes before it is made or sent",
		Long: `Shows what becomes of a machine that goes from FROM to TO: packages, files,
containers, data versions, why it takes a boot, what is sent, how long that takes,
and what speaks against it. The update is made to know its size, and thrown away.

FROM and TO are systems (a digest, its beginning, or MACHINE-ARCH) or definitions
(NAME.yaml, which is built). FROM may be a machine: the path of a control socket,
the name of a machine that instar vm runs here, or ssh:HOST. It is asked what it
runs and, with --key, what it would say of the update; nothing is written there.
TO may then be a file that instar delta make wrote.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			p.from, p.to = args[0], args[1]
			return a.plan(cmd.Context(), p)
		},
	}
	keyFlag(cmd, &p.keys)
	f := cmd.Flags()
	f.StringSliceVar(&p.rates, "rate", []string{"1Mbit", "10Mbit", "100Mbit"}, "rates to estimate the time of sending for, a second")
	f.BoolVar(&p.files, "files", false, "list every file that differs")
	f.BoolVar(&p.noUpdate, "no-update", false, "do not make the update: no size, no time")
	f.StringVar(&p.arch, "arch", "", "architecture of definitions (default: the first)")
	return cmd
}

func (a *app) plan(ctx context.Context, o planning) error {
	var rates []int64
	for _, r := range o.rates {
		n, err := parseRate(r)
		if err != nil {
			return err
		}
		rates = append(rates, n)
	}
	st, err := a.openStore()
	if err != nil {
		return err
	}
	defer st.Close()
	ways := &ends{a: a, st: st, o: o}
	defer ways.close()
	if err := ways.find(ctx); err != nil {
		return err
	}
	p, err := ways.compare()
	if err != nil {
		return err
	}
	if !o.noUpdate {
		if err := ways.size(ctx, p, rates); err != nil {
			return err
		}
	}
	if ways.device != nil {
		if err := ways.ask(ctx, p); err != nil {
			return err
		}
	}
	if err := a.print(p, func(w io.Writer) error { return printPlan(w, p) }); err != nil {
		return err
	}
	for _, v := range p.Verdicts {
		if !v.OK {
			return exitCode(1)
		}
	}
	return nil
}

// ends are where a plan begins and where it leads to.
type ends struct {
	a        *app
	st       *store.Store
	o        planning
	device   *wire.Client // nil: FROM is no machine
	from, to digest.Digest
	file     string           // of an update
	made     bool             // it is to be removed
	only     *system.Manifest // what the file says, when the store has not its system
}

func (e *ends) close() {
	if e.device != nil {
		e.device.Close()
	}
	if e.made {
		os.Remove(e.file)
	}
}

// find resolves FROM and TO.
func (e *ends) find(ctx context.Context) (err error) {
	if e.from, err = e.system(ctx, e.o.from); err != nil {
		if e.device, err = e.machine(ctx, err); err != nil {
			return err
		}
		if e.from, err = running(ctx, e.device); err != nil {
			return err
		}
	}
	if info, err := os.Stat(e.o.to); err == nil && info.Mode().IsRegular() && !isYAML(e.o.to) {
		u, err := origin.File(e.o.to)
		if err != nil {
			return err
		}
		e.file, e.to = e.o.to, u.Target
		e.only = &system.Manifest{Machine: u.Machine, Arch: u.Arch}
		return u.Close()
	}
	e.to, err = e.system(ctx, e.o.to)
	return err
}

func isYAML(name string) bool {
	return filepath.Ext(name) == ".yaml" || filepath.Ext(name) == ".yml"
}

// system finds the system of a name, or builds a definition.
func (e *ends) system(ctx context.Context, name string) (digest.Digest, error) {
	if !isYAML(name) {
		return findSystem(e.st, name)
	}
	e.a.file = name
	def, lk, err := e.a.locked()
	if err != nil {
		return digest.Digest{}, err
	}
	arches, err := chosenArches(def, pick(e.o.arch))
	if err != nil {
		return digest.Digest{}, err
	}
	res, st, err := e.a.system(ctx, def, lk, arches[0])
	if err != nil {
		return digest.Digest{}, fmt.Errorf("%s: %w", name, err)
	}
	return res.Digest, st.Close()
}

// machine connects to FROM, which is no system because of unknown.
func (e *ends) machine(ctx context.Context, unknown error) (*wire.Client, error) {
	name := e.o.from
	if isYAML(name) {
		return nil, unknown
	}
	c, err := e.a.dial(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("%s is neither a system nor a machine: %w", name, errors.Join(unknown, err))
	}
	return c, nil
}

func (e *ends) compare() (*plan.Plan, error) {
	m, err := e.st.System(e.to)
	if err != nil {
		if e.file == "" {
			return nil, err
		}
		return plan.Only(e.only, e.to), nil
	}
	if _, err := e.st.System(e.from); err != nil {
		p := plan.Only(m, e.to)
		p.Verdicts = append(p.Verdicts, plan.InTime(e.st, nil, m))
		return p, nil
	}
	return plan.Compare(e.st, e.from, e.to, e.o.files)
}

// size makes the update, unless there is one.
func (e *ends) size(ctx context.Context, p *plan.Plan, rates []int64) error {
	var r *pack.Report
	if e.file == "" {
		o := pack.Options{}
		var err error
		if o.Keys, err = e.signers(); err != nil {
			return err
		}
		if !p.From.IsZero() && p.From != p.To {
			o.Bases = []digest.Digest{p.From}
		}
		f, err := os.CreateTemp("", "instar-plan-")
		if err != nil {
			return err
		}
		e.file, e.made = f.Name(), true
		if err := f.Close(); err != nil {
			return err
		}
		if r, err = e.a.writeDelta(ctx, e.st, e.to, o, e.file); err != nil {
			return err
		}
	} else {
		u, err := origin.File(e.file)
		if err != nil {
			return err
		}
		defer u.Close()
		r = &pack.Report{Front: u.Update.Front, Size: u.Update.Front + u.BodySize, Parts: pack.Parts(&u.Head)}
	}
	p.Update = &plan.Update{Size: r.Size, Front: r.Front, Parts: r.Parts}
	for _, n := range rates {
		p.Update.Times = append(p.Update.Times, plan.Time{Rate: n, Seconds: float64(r.Size) * 8 / float64(n)})
	}
	return nil
}
