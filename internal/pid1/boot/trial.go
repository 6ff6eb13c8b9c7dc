package boot

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/linux"
	"github.com/instar-os/instar/internal/pid1/trial"
	"github.com/instar-os/instar/internal/reason"
	"github.com/instar-os/instar/internal/record"
	"github.com/instar-os/instar/internal/slot"
	"github.com/instar-os/instar/internal/wire"
)

// A firmware is told what to boot. All calls may be cut and repeated.
type firmware interface {
	Again(t record.Trial) error              // the next boot is one of the trial, where firmware does not count
	Confirm(t record.Trial) error            // what was tried is what every boot runs
	Home(slot int, good digest.Digest) error // as before the trial
	Argument() string                        // that a reboot into a trial is given; "" for none
}

// errGoBack ends a boot that has nothing to do but to reboot.
var errGoBack = errors.New("going back to the last good system")

// A standing is what a device knows of the system that it has booted. Its zero
// value is that of a machine without a record, which tries nothing.
type standing struct {
	mu       sync.Mutex // one change of record and firmware at a time
	book     *notebook
	firmware firmware // nil: there is one slot, or none that could be told
	decided  trial.Decision
	asked    string // configuration of the kernel command line
	took     time.Duration
	back     bool // a verdict was given, the machine is on its way back

	told sync.Mutex       // over seen
	seen wire.TrialStatus // by the gate, the last time: what is missing, and for how long nothing was
}

// remember reads the record, takes note of this boot in it and decides, when
// the disk of the store has a record. It returns errGoBack, wrapped, when this
// boot shall come to nothing.
func (d *device) remember(parts []linux.Partition) error {
	if d.standing.book != nil {
		return nil
	}
	for _, p := range parts {
		if p.Label == record.Partition {
			return d.decide(p)
		}
	}
	return nil
}

func (d *device) decide(p linux.Partition) error {
	began := time.Now()
	s := &d.standing
	book, damaged, err := openNotebook(p)
	if err != nil {
		d.warn("nothing is remembered of this boot: %v", err)
		return nil
	}
	s.book = book
	d.later("close the record", book.at.Close)
	if damaged != nil {
		d.warn("%v; this system counts as good", damaged)
	}
	if size, err := linux.DeviceSize(book.at.File); err == nil {
		s.firmware = slots{slot.Disk{Device: book.at.Disk, Size: size}, d.listening()}
	}
	s.asked, _ = d.cmdline.Lookup(configurationKey)
	home := -1
	err = s.book.Update(func(r *record.Record) error {
		if r.Trial != nil {
			home = r.Trial.Home
		}
		s.decided = trial.Decide(r, trial.Boot{System: d.system, Configuration: s.asked, Now: time.Now().Unix(), Cause: d.cause})
		return nil
	})
	if err != nil {
		d.warn("this boot is not remembered: %v", err)
		if s.decided.Action == trial.Try { // its tries would never end
			s.decided = trial.Decision{Action: trial.Return, Why: "the record cannot be written", Home: home}
		}
	}
	d.timeline = append(d.timeline, fmt.Sprintf("decide %s", time.Since(began).Round(10*time.Microsecond)))
	s.took = time.Since(began)
	return d.obey()
}

// cause asks those who saw how the boot before ended: the hardware watchdog, a
// dying kernel's storage, and the firmware's variable of last words.
func (d *device) cause(of digest.Digest) (reason.Code, string) {
	return d.evidence().Cause(of.String())
}

// obey does what was decided as far as firmware is concerned.
func (d *device) obey() error {
	s := &d.standing
	if s.decided.Begin != "" {
		d.flight.Because(s.decided.Begin, s.decided.Why)
	}
	if v := s.decided.Verdict; v != nil {
		d.log.Printf("verdict over system %s %s: bad: %s: %s", v.System.Short(), v.Configuration, v.Reason, v.Detail)
	}
	if s.decided.Why != "" {
		d.log.Printf("trial: %s: %s", s.decided.Action, s.decided.Why)
	}
	if s.decided.Home >= 0 {
		if err := s.home(s.decided.Home); err != nil {
			d.warn("%v", err)
		} else if s.decided.Action != trial.Return {
			if err := s.book.Update(func(r *record.Record) error {
				trial.Home(r, d.system)
				return nil
			}); err != nil {
				d.warn("%v", err)
			}
		}
	}
	switch s.decided.Action {
	case trial.Try:
		s.again(d.warn)
	case trial.Return:
		return fmt.Errorf("%w: %s", errGoBack, s.decided.Why)
	case trial.Rescue:
		d.warnings = append(d.warnings, "the fallback runs: "+s.decided.Why)
	}
	return nil
}

// again lets firmware start what is on trial once more, should this boot come to
// nothing, while there are tries. That is said now: a system that dies before it
// gets here has not said it, and the machine goes back.
func (s *standing) again(warn func(string, ...any)) {
	t := s.book.Record().Trial
	if t == nil || t.Same || t.Tries == 0 || s.firmware == nil {
		return
	}
	if err := s.firmware.Again(*t); err != nil {
		warn("this is the last try: %v", err)
	}
}

// rebootArgument is what firmware is told by the reboot itself.
func (s *standing) rebootArgument() string {
	if s.book == nil || s.firmware == nil {
		return ""
	}
	if t := s.book.Record().Trial; t == nil || t.Same || t.Phase != record.Armed {
		return ""
	}
	return s.firmware.Argument()
}

func (s *standing) home(slot int) error {
	if s.firmware == nil {
		return nil
	}
	if err := s.firmware.Home(slot, s.book.Record().Current); err != nil {
		return fmt.Errorf("telling firmware to go back to slot %d: %w", slot, err)
	}
	return nil
}

// chooseDecided selects the configuration: the one that was asked for, or the
// fallback when the record says so.
func (d *device) chooseDecided() error {
	name, _ := d.cmdline.Lookup(configurationKey)
	if safe := d.fallback(); d.standing.decided.Action == trial.Rescue && safe != nil {
		name = safe.Name
	}
	return d.choose(name)
}

// trying says whether what runs is on trial.
func (m *machine) trying() bool {
	s := &m.standing
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.book != nil && s.decided.Action == trial.Try && !s.back
}

// rested says once in the record that this boot has come to rest.
func (d *device) rested() {
	s := &d.standing
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.book.Update(func(r *record.Record) error {
		trial.Settle(r, s.decided.Action == trial.Rescue)
		return nil
	}); err != nil {
		d.log.Printf("this boot has come to rest, which cannot be remembered: %v", err)
	}
}

// confirm makes what is on trial the last good system: firmware first, for a
// cut in between leaves a trial that is confirmed again.
func (m *machine) confirm(why reason.Code) error {
	s := &m.standing
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.book.Record().Trial
	if t == nil || t.Phase != record.Running || s.decided.Action != trial.Try {
		return errors.New("nothing is on trial")
	}
	var err error
	switch {
	case t.Same && m.switcher.loader != nil:
		err = m.switcher.loader.set(t.Configuration, false)
	case !t.Same && s.firmware != nil:
		err = s.firmware.Confirm(*t)
	}
	if err != nil {
		return fmt.Errorf("telling firmware to stay with what it has booted: %w", err)
	}
	if err := s.book.Update(func(r *record.Record) error { return trial.Confirm(r, why, time.Now().Unix()) }); err != nil {
		return err
	}
	s.decided.Action = trial.Run
	m.proven()
	m.log.Printf("confirmed: %s", why)
	if m.updates != nil && !t.Same {
		m.updates.tidySoon()
	}
	return nil
}

// giveUp finds what is on trial bad and makes firmware go back; the caller
// reboots.
func (m *machine) giveUp(why reason.Code, detail string) error {
	s := &m.standing
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.book.Record().Trial
	if t == nil || t.Phase != record.Running || s.decided.Action != trial.Try {
		return errors.New("nothing is on trial")
	}
	m.log.Printf("going back: %s: %s", why, detail)
	err := s.book.Update(func(r *record.Record) error { return trial.Fail(r, why, detail, time.Now().Unix()) })
	if !t.Same { // also when it is not remembered: tries are counted
		err = errors.Join(err, s.home(t.Home))
	}
	s.back = true
	return err
}

// ended takes note of an end in order.
func (d *device) ended() {
	s := &d.standing
	if s.book == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.book.Record().Unsettled == 0 {
		return
	}
	if err := s.book.Update(func(r *record.Record) error {
		trial.End(r)
		return nil
	}); err != nil {
		d.log.Printf("that this boot ends in order cannot be remembered: %v", err)
	}
}

// endOf says in a code how the machine ends, and why.
func (d *device) endOf(how Ending) (reason.Code, string) {
	s := &d.standing
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.back {
		return codeOf(how), ""
	}
	r := s.book.Record()
	if len(r.Verdicts) == 0 {
		return reason.Rollback, ""
	}
	v := r.Verdicts[0] // the newest
	return reason.Rollback, v.Reason + ": " + v.Detail
}

// tryConfiguration puts a configuration of the running system on trial at the
// next boot. A machine without a record boots it from then on.
func (m *machine) tryConfiguration(name string) error {
	s := &m.standing
	if s.book == nil {
		return m.switcher.loader.set(name, false)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.book.Update(func(r *record.Record) error {
		return trial.Stage(r, record.Trial{System: m.system, Same: true, Configuration: name, Tries: 1})
	}); err != nil {
		return err
	}
	if err := m.switcher.loader.set(name, true); err != nil {
		return err
	}
	return s.book.Update(trial.Arm)
}

// failureCode is the code of a boot that came to nothing.
func failureCode(err error) reason.Code {
	var missing *errStore
	if errors.As(err, &missing) {
		return missing.code
	}
	return reason.ConfigFailed
}

// An errStore says that the system's store cannot be used.
type errStore struct {
	code reason.Code
	err  error
}

func (e *errStore) Error() string { return e.err.Error() }

func (e *errStore) Unwrap() error { return e.err }
