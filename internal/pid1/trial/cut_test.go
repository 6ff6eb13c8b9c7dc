package trial

import (
	"errors"
	"fmt"
	"testing"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/reason"
	"github.com/instar-os/instar/internal/record"
)

// A temper is what becomes of a system when it is booted.
type temper string

const (
	healthy temper = "healthy"
	sick    temper = "sick"   // its gate never holds
	dies    temper = "dies"   // after its init has decided
	unborn  temper = "unborn" // before its init runs
	unruly  temper = "unruly" // firmware boots it whatever it is told
	fickle  temper = "fickle" // dies at its first boot, is healthy at the next
)

// errCut is a loss of power.
var errCut = errors.New("cut")

// A device is a model of record and firmware. Every write may be cut, before
// or after it has happened.
type device struct {
	fresh, good temper
	oneShot     bool // firmware tries once, not three times

	record record.Record
	slot   int // that firmware starts from
	tries  int // of fresh, that firmware has left
	booted int // of fresh, ever

	writes int
	cuts   map[int]bool // number of the write, and whether it has happened
	reborn bool         // something not found good ran after it was found bad
}

func (d *device) write(do func()) error {
	d.writes++
	happens, cut := d.cuts[d.writes]
	if !cut || happens {
		do()
	}
	if cut {
		return errCut
	}
	return nil
}

func (d *device) update(change func(*record.Record) error) error {
	r := clone(d.record)
	if err := change(&r); err != nil {
		return err
	}
	return d.write(func() { d.record = r })
}

func clone(r record.Record) record.Record {
	r.Verdicts = append([]record.Verdict(nil), r.Verdicts...)
	if r.Trial != nil {
		t := *r.Trial
		r.Trial = &t
	}
	return r
}

// try tells firmware of slot 1.
func (d *device) try() error {
	return d.write(func() {
		if d.slot, d.tries = 1, 3; d.oneShot {
			d.tries = 1
		}
	})
}

func (d *device) commit(slot int) error {
	return d.write(func() {
		if d.fresh != unruly {
			d.slot = slot
		}
		if slot == 1 {
			d.tries = 1 << 30
		}
	})
}

// receive is an update.
func (d *device) receive() error {
	if err := d.update(func(r *record.Record) error {
		return Stage(r, record.Trial{System: fresh, Slot: 1, Home: 0, Tries: 3})
	}); err != nil {
		return err
	}
	if err := d.try(); err != nil {
		return err
	}
	return d.update(Arm)
}

// firmware says what is booted.
func (d *device) firmware() digest.Digest {
	if d.slot == 1 && (d.tries > 0 || d.fresh == unruly) {
		d.tries--
		d.booted++
		return fresh
	}
	if d.oneShot && d.slot == 1 {
		d.slot = 0
	}
	return good
}

// A rest is where a device has come to.
type rest struct {
	system digest.Digest
	rescue bool
}

// boot boots once. It returns where the device is at rest, nil when it reboots.
func (d *device) boot() *rest {
	s := d.firmware()
	temper := map[digest.Digest]temper{fresh: d.fresh, good: d.good}[s]
	if temper == unborn {
		return nil
	}
	bad := d.record.Bad(s)
	var decided Decision
	if d.update(func(r *record.Record) error {
		decided = Decide(r, Boot{System: s})
		return nil
	}) != nil {
		return nil
	}
	if bad && (decided.Action == Run || decided.Action == Try) {
		d.reborn = true
	}
	if decided.Home >= 0 {
		if d.commit(decided.Home) != nil {
			return nil
		}
		if decided.Action != Return && d.update(func(r *record.Record) error { Home(r, s); return nil }) != nil {
			return nil
		}
	}
	switch {
	case decided.Action == Return:
		return nil
	case decided.Action == Rescue:
		if d.update(func(r *record.Record) error { Settle(r, true); return nil }) != nil {
			return nil
		}
		return &rest{s, true}
	case temper == dies, temper == fickle && d.booted == 1:
		return nil
	case decided.Action == Try:
		return d.prove(s, temper)
	}
	if d.update(func(r *record.Record) error { Settle(r, false); return nil }) != nil {
		return nil
	}
	return &rest{s, false}
}

// prove is the gate of a trial.
func (d *device) prove(s digest.Digest, t temper) *rest {
	if t == healthy || t == fickle {
		if d.commit(1) != nil || d.update(func(r *record.Record) error { return Confirm(r, reason.Confirmed, 0) }) != nil {
			return nil
		}
		return &rest{s, false}
	}
	if d.update(func(r *record.Record) error { return Fail(r, reason.HealthTimeout, "", 0) }) == nil {
		d.commit(0)
	}
	return nil
}

// maxBoots is far more than any history needs: tries, returns and boots that do
// not settle, of both systems, and a boot for each cut.
const maxBoots = 40

// run does an update and boots until the device is at rest.
func (d *device) run() (*rest, error) {
	d.record = record.Record{Current: good, Previous: older}
	if err := d.receive(); err != nil && !errors.Is(err, errCut) {
		return nil, err
	}
	for range maxBoots {
		if r := d.boot(); r != nil {
			return r, nil
		}
	}
	return nil, fmt.Errorf("not at rest after %d boots", maxBoots)
}

// check says what must hold wherever a history was cut.
func (d *device) check(at *rest) error {
	bad := d.record.Bad(fresh)
	switch {
	case d.reborn:
		return errors.New("what was found bad was run again")
	case at.system != good && at.system != fresh:
		return fmt.Errorf("at rest in %s", at.system.Short())
	case at.system == fresh && !at.rescue && (bad || d.record.Current != fresh):
		return errors.New("at rest in a system that was not confirmed")
	case at.system == fresh && !at.rescue && d.fresh != healthy && d.fresh != fickle:
		return errors.New("confirmed what cannot be")
	case at.system == good && !at.rescue && d.good == dies:
		return errors.New("at rest in what dies")
	case at.rescue && d.good != dies && d.fresh != unruly && len(d.cuts) < MaxUnsettled: // so many cuts look like crashes
		return errors.New("in the fallback though the last good system works")
	case d.record.Current == fresh && bad:
		return errors.New("both good and bad")
	case d.record.Bad(good):
		return errors.New("the last good system was found bad")
	}
	return nil
}

// Wherever and however often an update and the boots after it are cut, the
// device comes to rest in the new system, the last good one, or the fallback,
// keeps its verdict, and never runs what it has found bad.
func TestCuts(t *testing.T) {
	histories, states := 0, 0
	for _, f := range []temper{healthy, sick, dies, unborn, unruly, fickle} {
		for _, g := range []temper{healthy, dies} {
			for _, oneShot := range []bool{false, true} {
				plain := &device{fresh: f, good: g, oneShot: oneShot}
				at, err := plain.run()
				if err == nil {
					err = plain.check(at)
				}
				if err != nil {
					t.Fatalf("fresh %s, good %s, one shot %v: %v", f, g, oneShot, err)
				}
				outcome(t, plain, at)
				cutAt := func(cuts map[int]bool) int {
					d := &device{fresh: f, good: g, oneShot: oneShot, cuts: cuts}
					histories++
					at, err := d.run()
					if err == nil {
						err = d.check(at)
					}
					if err != nil {
						t.Fatalf("fresh %s, good %s, one shot %v, cut at %v: %v\n%+v\n%+v", f, g, oneShot, cuts, err, at, d.record)
					}
					states += d.writes
					return d.writes
				}
				for i := 1; i <= plain.writes; i++ {
					for _, a := range []bool{false, true} {
						n := cutAt(map[int]bool{i: a})
						for j := i + 1; j <= n; j++ {
							for _, b := range []bool{false, true} {
								m := cutAt(map[int]bool{i: a, j: b})
								for k := j + 1; k <= m; k++ {
									cutAt(map[int]bool{i: a, j: b, k: true})
									cutAt(map[int]bool{i: a, j: b, k: false})
								}
							}
						}
					}
				}
			}
		}
	}
	t.Logf("%d histories, %d writes", histories, states)
	if histories < 10000 {
		t.Errorf("only %d histories", histories)
	}
}

// outcome says where a device must come to when nothing is cut.
func outcome(t *testing.T, d *device, at *rest) {
	t.Helper()
	want := rest{good, d.good == dies}
	switch {
	case d.fresh == healthy, d.fresh == fickle && !d.oneShot:
		want = rest{fresh, false}
	case d.fresh == unruly:
		want = rest{fresh, true}
	}
	if *at != want {
		t.Errorf("fresh %s, good %s, one shot %v: at rest in %+v, want %+v", d.fresh, d.good, d.oneShot, *at, want)
	}
	if good := want.system == fresh && !want.rescue; good == d.record.Bad(fresh) {
		t.Errorf("fresh %s, good %s, one shot %v: verdicts %+v", d.fresh, d.good, d.oneShot, d.record.Verdicts)
	}
}
