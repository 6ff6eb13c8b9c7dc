package boot

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/pid1/trial"
	"github.com/instar-os/instar/internal/reason"
	"github.com/instar-os/instar/internal/record"
	"github.com/instar-os/instar/internal/wire"
)

var errNoRecord = errors.New("this machine has no record of systems: it runs on another Linux, or its disk has no partition " + record.Partition)

// ConfirmTrial implements wire.Trier.
func (m *machine) ConfirmTrial() error {
	if m.standing.book == nil {
		return errNoRecord
	}
	return m.confirm(reason.ConfirmedByMan)
}

// RejectTrial implements wire.Trier.
func (m *machine) RejectTrial(r wire.RejectRequest) error {
	if m.standing.book == nil {
		return errNoRecord
	}
	err := m.giveUp(reason.RejectedByMan, r.Reason)
	if m.goingBack() {
		m.end(Reboot)
	}
	return err
}

func (m *machine) goingBack() bool {
	m.standing.mu.Lock()
	defer m.standing.mu.Unlock()
	return m.standing.back
}

// Verdicts implements wire.Trier.
func (m *machine) Verdicts() (wire.Verdicts, error) {
	if m.standing.book == nil {
		return wire.Verdicts{}, errNoRecord
	}
	r := m.standing.book.Record()
	out := wire.Verdicts{Current: r.Current.String(), Verdicts: []wire.Verdict{}}
	if !r.Previous.IsZero() {
		out.Previous = r.Previous.String()
	}
	for _, v := range r.Verdicts {
		out.Verdicts = append(out.Verdicts, wire.Verdict{
			System: v.System.String(), Configuration: v.Configuration, Good: v.Good,
			Reason: v.Reason, Detail: v.Detail, Time: time.Unix(v.Time, 0).UTC(),
		})
	}
	return out, nil
}

// Forgive implements wire.Trier.
func (m *machine) Forgive(req wire.ForgiveRequest) error {
	s := &m.standing
	if s.book == nil {
		return errNoRecord
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.book.Record()
	sys, err := named(r, req.System)
	if err != nil {
		return err
	}
	if err := s.book.Update(func(r *record.Record) error { return trial.Forgive(r, sys) }); err != nil {
		return err
	}
	m.log.Printf("forgiven: system %s", sys.Short())
	return nil
}

// named finds the judged system whose digest begins as a text does.
func named(r record.Record, text string) (digest.Digest, error) {
	var found digest.Digest
	for _, v := range r.Verdicts {
		if text == "" || !strings.HasPrefix(v.System.String(), text) || v.System == found {
			continue
		}
		if !found.IsZero() {
			return found, fmt.Errorf("systems %s and %s both begin with %s", found.Short(), v.System.Short(), text)
		}
		found = v.System
	}
	if found.IsZero() {
		return found, fmt.Errorf("there is no verdict over a system %q", text)
	}
	return found, nil
}
