package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	origin "github.com/instar-os/instar/internal/delta/remote"
	"github.com/instar-os/instar/internal/plan"
	"github.com/instar-os/instar/internal/trust"
	"github.com/instar-os/instar/internal/update"
	"github.com/instar-os/instar/internal/wire"
)

// signers are the keys of the update: those that were named, else one that
// nobody trusts, for a file of the right size.
func (e *ends) signers() ([]trust.Private, error) {
	keys, err := readKeys(e.o.keys)
	if !errors.Is(err, errNoKey) {
		return keys, err
	}
	k, err := trust.NewKey(strings.NewReader(strings.Repeat("plan", 8)))
	return []trust.Private{k}, err
}

// ask adds what the machine itself says of the update.
func (e *ends) ask(ctx context.Context, p *plan.Plan) error {
	if _, err := readKeys(e.o.keys); e.made && errors.Is(err, errNoKey) || e.file == "" {
		p.Verdicts = append(p.Verdicts, plan.Verdict{What: "machine", OK: true, Text: "not asked: it answers to an update that is signed (--key)"})
		return nil
	}
	u, err := origin.File(e.file)
	if err != nil {
		return err
	}
	defer u.Close()
	c, err := e.device.Check(ctx, wire.UpdateRequest{}, wire.Outgoing{Front: u.Front(), Body: u.Body})
	if err != nil {
		p.Verdicts = append(p.Verdicts, plan.Verdict{What: "machine", Text: remote(err).Error()})
		return nil
	}
	p.Verdicts = append(p.Verdicts, answers(c)...)
	return nil
}

// questions are what a machine looks at, by the codes of problems. The last one
// is of those that this program does not know.
var questions = []struct {
	what  string
	codes []string
}{
	{"machine: it is the one", []string{update.ForAnother, update.NoBase, update.Same, update.NoPart}},
	{"machine: age", []string{update.Older}},
	{"machine: space", []string{update.NoSpace}},
	{"machine: drivers in use", []string{update.NoDriver}},
	{"machine: data", []string{update.DataNewer}},
	{"machine: verdicts", []string{update.Bad, update.Unhealthy}},
	{"machine: firmware", []string{update.NoTrial}},
	{"machine: processors", []string{update.NoProcessor}},
	{"machine: other", nil},
}

// question returns the index of the question that a problem answers.
func question(code string) int {
	for i, q := range questions {
		if slices.Contains(q.codes, code) {
			return i
		}
	}
	return len(questions) - 1
}

func answers(c wire.UpdateChecked) []plan.Verdict {
	all := make([]plan.Verdict, len(questions))
	for i, q := range questions {
		all[i] = plan.Verdict{What: q.what, OK: true}
	}
	space := &all[question(update.NoSpace)]
	space.Text = fmt.Sprintf("%s at most of %s", bytesText(c.Need), bytesText(c.Free))
	for _, p := range c.Problems {
		v := &all[question(p.Code)]
		if v.OK {
			v.OK, v.Text = false, p.Text
			continue
		}
		v.Text += "; " + p.Text
	}
	if last := len(all) - 1; all[last].OK {
		all = all[:last]
	}
	return all
}
