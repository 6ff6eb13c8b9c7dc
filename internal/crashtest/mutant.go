package crashtest

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// MutantResult says whether the bench noticed that a call was left out.
type MutantResult struct {
	Site
	Scenario string `json:"scenario"`
	Caught   bool   `json:"caught"`
	How      string `json:"how,omitempty"` // what it noticed
}

// Mutants leaves out each sync, flush, rename and read-back of a scenario that
// skip does not say to be known, one at a time, and says which the bench has
// noticed. It is given up after the last of the stages, which are tried in turn.
func Mutants(s *Scenario, stages []Options, skip func(Site) bool) ([]MutantResult, error) {
	rec, err := record(s, &recorder{}, nil)
	if err != nil {
		return nil, err
	}
	if rec.err != nil {
		return nil, fmt.Errorf("%s: %w", s.Name, rec.err)
	}
	var out []MutantResult
	for _, site := range rec.sortedSites() {
		if skip(site) {
			continue
		}
		r := MutantResult{Site: site, Scenario: s.Name}
		if site.Op == opReadBack {
			r.How, err = lied(s, Mutant{site}, rec)
		} else {
			r.How, err = mutant(s, Mutant{site}, stages)
		}
		if err != nil {
			return nil, fmt.Errorf("%s without %s: %w", s.Name, site, err)
		}
		r.Caught = r.How != ""
		out = append(out, r)
	}
	return out, nil
}

// mutant returns what the bench notices, "" for nothing.
func mutant(s *Scenario, m Mutant, stages []Options) (string, error) {
	rec, err := record(s, &recorder{mutant: m}, nil)
	if err != nil {
		return "", err
	}
	if rec.err != nil {
		return "the code itself: " + firstLine(rec.err), nil
	}
	for _, o := range stages {
		for _, rerun := range []bool{false, true} {
			x := newExplorer(rec, o)
			if x.rerun = rerun; rerun { // it takes longer
				x.o.PerCut = (o.PerCut + 1) / 2
			}
			if err := x.explore(); err != nil {
				return "", err
			}
			if x.failure != nil {
				return fmt.Sprintf("cut %d: %s", x.failure.Cut, strings.SplitN(x.failure.Err, "\n", 2)[0]), nil
			}
		}
	}
	return "", nil
}

// Lies lets each write to a disk be lost without a word, which is what reading
// back is for: Run must fail, or what is there must be as after a cut. It
// returns how many writes were lost.
func Lies(s *Scenario) (int, error) {
	rec, err := record(s, &recorder{}, nil)
	if err != nil || rec.err != nil {
		return 0, errors.Join(err, rec.err)
	}
	how, err := lied(s, Mutant{}, rec)
	if err == nil && how != "" {
		err = errors.New(how)
	}
	return rec.writes, err
}

// lied returns what shows when one write after the other is lost.
func lied(s *Scenario, m Mutant, plain *recording) (string, error) {
	for n := 1; n <= plain.writes; n++ {
		r := &recorder{lie: n, mutant: m, blind: true}
		var bad error
		_, err := record(s, r, func(e *Env, rec *recording) error {
			var broken error
			_, bad, broken = r.checkCopy(s, rec.model.acked())
			return broken
		})
		if err != nil {
			return "", err
		}
		if bad != nil {
			return fmt.Sprintf("write %d was lost: %v", n, bad), nil
		}
	}
	return "", nil
}

func firstLine(err error) string { return strings.SplitN(err.Error(), "\n", 2)[0] }

// Faults lets each call of a scenario fail, for want of space and of a working
// disk. Run must say so or not need the call; what is there must be old or new
// as after a cut; and Run must succeed when it is run again. every 1 lets each
// call fail both ways, 2 in turn. It returns how many calls were made to fail.
func Faults(s *Scenario, every int) (int, error) {
	rec, err := record(s, &recorder{}, nil)
	if err != nil {
		return 0, err
	}
	done := 0
	for n := 1; n <= rec.calls; n++ {
		for i, with := range []error{unix.ENOSPC, unix.EIO} {
			if (n+i)%every != 0 {
				continue
			}
			r := &recorder{fault: n, with: with, blind: true}
			_, err := record(s, r, func(e *Env, rec *recording) error { return faulty(s, e, r, rec) })
			if err != nil {
				return done, fmt.Errorf("%s, call %d fails with %v: %w", s.Name, n, with, err)
			}
			done++
		}
	}
	return done, nil
}

func faulty(s *Scenario, e *Env, r *recorder, rec *recording) error {
	if !rec.hit {
		return errors.New("the call was not made")
	}
	acked := rec.model.acked()
	outcome, err, broken := r.checkCopy(s, acked)
	if broken != nil {
		return broken
	}
	if err != nil {
		return fmt.Errorf("after %v: %w", rec.err, err)
	}
	if rec.err == nil && outcome != "new" {
		return fmt.Errorf("no error, and the state is %q", outcome)
	}
	r.fault = 0
	again, err := r.run(s, e, nil)
	if err != nil {
		return err
	}
	if again.err != nil {
		return fmt.Errorf("then again: %w", again.err)
	}
	outcome, err, broken = r.checkCopy(s, append(acked, again.model.acked()...))
	if broken == nil && (err != nil || outcome != "new") {
		return fmt.Errorf("then again: %q, %w", outcome, err)
	}
	return broken
}

func (m *model) acked() []string {
	var out []string
	for _, a := range m.acks {
		out = append(out, a.what)
	}
	return out
}

// checkCopy calls Check with a copy of what is there.
func (r *recorder) checkCopy(s *Scenario, acked []string) (outcome string, err, broken error) {
	m := newModel()
	if err := m.capture(r.dir); err != nil {
		return "", nil, err
	}
	for name, d := range r.disks {
		m.disks[name] = &diskModel{base: d.frozen(), size: d.size}
	}
	dir, err := Scratch()
	if err != nil {
		return "", nil, err
	}
	defer os.RemoveAll(dir)
	c := m.cut(m.now)
	c.acked = acked
	all := make(choice, len(c.pending))
	copy(all, c.hi)
	st, err := c.settle(all).leave(dir)
	if err != nil {
		return "", nil, err
	}
	outcome, err = s.Check(st)
	return outcome, err, nil
}
