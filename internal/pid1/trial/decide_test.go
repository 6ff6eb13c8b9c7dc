package trial

import (
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/reason"
	"github.com/instar-os/instar/internal/record"
)

func sys(n byte) digest.Digest { return digest.Digest{n} }

var (
	older = sys(1)
	good  = sys(2)
	fresh = sys(3)
	alien = sys(4)
)

// on is a record with a trial of fresh.
func on(p record.Phase, tries, booted int) record.Record {
	return record.Record{Current: good, Previous: older, Boots: 7,
		Trial: &record.Trial{System: fresh, Slot: 1, Tries: tries, Limit: 3, Booted: booted, Phase: p}}
}

// same is a record with a trial of the configuration night.
func same(p record.Phase, tries, booted int) record.Record {
	r := on(p, tries, booted)
	r.Trial.System, r.Trial.Same, r.Trial.Configuration = good, true, "night"
	return r
}

func judged(r record.Record, s digest.Digest, is bool) record.Record {
	r.Judge(record.Verdict{System: s, Good: is, Reason: "panic"})
	return r
}

func unsettled(r record.Record, n int) record.Record {
	r.Unsettled = n
	return r
}

// because is what those tell who saw the end of a boot.
func because(code reason.Code) func(digest.Digest) (reason.Code, string) {
	return func(digest.Digest) (reason.Code, string) { return code, "so they say" }
}

// begins is how a boot begins, as a decision has it.
func begins(a Action, before *record.Trial, boot Boot) reason.Code {
	switch {
	case a == Try:
		return reason.Trial
	case a == Rescue:
		return reason.Fallback
	case a == Run && before != nil && before.Phase != record.Staged && !before.On(boot.System, boot.Configuration):
		return reason.Rollback
	}
	return ""
}

func TestDecide(t *testing.T) {
	idle := record.Record{Current: good, Previous: older, Boots: 7}
	for _, row := range []struct {
		name    string
		record  record.Record
		boot    Boot
		action  Action
		why     string       // part of it
		phase   record.Phase // after; "" no trial
		tries   int
		verdict string // reason given now
	}{
		{"a new machine", record.Record{}, Boot{System: good}, Run, "", "", 0, ""},
		{"nothing on trial", idle, Boot{System: good}, Run, "", "", 0, ""},
		{"the one before", idle, Boot{System: older}, Run, "firmware has booted another", "", 0, ""},
		{"a stranger", idle, Boot{System: alien}, Run, "firmware has booted another", "", 0, ""},
		{"a bad one, by hand", judged(idle, fresh, false), Boot{System: fresh}, Rescue, "was found bad: panic", "", 0, ""},
		{"the last good one, found bad before it was forgiven and confirmed", judged(idle, good, false), Boot{System: good}, Run, "", "", 0, ""},
		{"does not come to rest", unsettled(idle, 3), Boot{System: good}, Rescue, "3 boots in a row", "", 0, ""},
		{"does, only just", unsettled(idle, 2), Boot{System: good}, Run, "", "", 0, ""},

		{"staged, not armed", on(record.Staged, 3, 0), Boot{System: good}, Run, "", record.Staged, 3, ""},
		{"staged, cut before it was said to be armed", on(record.Staged, 3, 0), Boot{System: fresh}, Try, "2 tries left", record.Running, 2, ""},
		{"armed, first boot", on(record.Armed, 3, 0), Boot{System: fresh}, Try, "2 tries left", record.Running, 2, ""},
		{"armed, in its rescue configuration", on(record.Armed, 3, 0), Boot{System: fresh, Configuration: "rescue"}, Try, "", record.Running, 2, ""},
		{"armed, never came", on(record.Armed, 3, 0), Boot{System: good}, Run, "system " + fresh.Short() + " has failed: no-boot", record.Failed, 0, "no-boot"},
		{"armed, panicked", on(record.Armed, 3, 0), Boot{System: good, Cause: because(reason.Panic)}, Run, "failed: panic", record.Failed, 0, "panic"},
		{"armed, a stranger came", on(record.Armed, 3, 0), Boot{System: alien}, Run, "no-boot", record.Failed, 0, "no-boot"},
		{"running, again", on(record.Running, 2, 1), Boot{System: fresh}, Try, "1 tries left", record.Running, 1, ""},
		{"running, unsettled as it is", unsettled(on(record.Running, 2, 1), 5), Boot{System: fresh}, Try, "", record.Running, 1, ""},
		{"running, no tries left", on(record.Running, 0, 3), Boot{System: fresh}, Return, "no tries are left", record.Failed, 0, "reset"},
		{"running, no tries left, the watchdog's doing", on(record.Running, 0, 3), Boot{System: fresh, Cause: because(reason.Watchdog)}, Return, "", record.Failed, 0, "watchdog"},
		{"running, firmware went back", unsettled(on(record.Running, 1, 2), 2), Boot{System: good}, Run, "failed: loader", record.Failed, 0, "loader"},
		{"failed, firmware still boots it", judged(on(record.Failed, 0, 3), fresh, false), Boot{System: fresh}, Return, "found bad", record.Failed, 0, ""},
		{"failed, firmware does not listen", judged(on(record.Failed, 0, 6), fresh, false), Boot{System: fresh}, Rescue, "does not go back", record.Failed, 0, ""},
		{"failed, back", judged(on(record.Failed, 0, 3), fresh, false), Boot{System: good}, Run, "", record.Failed, 0, ""},
		{"failed, back, and that does not come to rest either", unsettled(judged(on(record.Failed, 0, 3), fresh, false), 3), Boot{System: good}, Rescue, "", record.Failed, 0, ""},

		{"a configuration staged", same(record.Staged, 1, 0), Boot{System: good, Configuration: "day"}, Run, "", record.Staged, 1, ""},
		{"a configuration armed", same(record.Armed, 1, 0), Boot{System: good, Configuration: "night"}, Try, "0 tries left", record.Running, 0, ""},
		{"a configuration that did not come", same(record.Armed, 1, 0), Boot{System: good, Configuration: "day"}, Run, "configuration night has failed", "", 0, "no-boot"},
		{"a configuration that crashed", same(record.Running, 0, 1), Boot{System: good, Configuration: "day", Cause: because(reason.Panic)}, Run, "panic", "", 0, "panic"},
		{"a configuration that comes again", same(record.Running, 0, 1), Boot{System: good, Configuration: "night"}, Return, "", record.Failed, 0, "reset"},
		{"a configuration left", judged(same(record.Failed, 0, 1), good, true), Boot{System: good, Configuration: "day"}, Run, "", "", 0, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := row.record
			if r.Trial != nil {
				copied := *r.Trial
				r.Trial = &copied
			}
			boots := r.Boots
			d := Decide(&r, row.boot)
			if d.Action != row.action || !strings.Contains(d.Why, row.why) {
				t.Errorf("decided %s (%s), want %s (%s)", d.Action, d.Why, row.action, row.why)
			}
			phase, tries := record.Phase(""), 0
			if r.Trial != nil {
				phase, tries = r.Trial.Phase, r.Trial.Tries
			}
			if phase != row.phase || tries != row.tries {
				t.Errorf("the trial is %q with %d tries, want %q with %d", phase, tries, row.phase, row.tries)
			}
			got := ""
			if d.Verdict != nil {
				got = d.Verdict.Reason
				if row.record.Trial.Same == (d.Verdict.Configuration == "") {
					t.Errorf("verdict over %+v", d.Verdict)
				}
			}
			if got != row.verdict {
				t.Errorf("verdict %q, want %q", got, row.verdict)
			}
			if want := begins(row.action, row.record.Trial, row.boot); d.Begin != want {
				t.Errorf("the boot begins as %q, want %q", d.Begin, want)
			}
			if told := row.boot.Cause != nil && d.Verdict != nil; told && !strings.Contains(d.Verdict.Detail, "so they say") {
				t.Errorf("the verdict's detail is %q", d.Verdict.Detail)
			}
			if home := phase == record.Failed && !r.Trial.Same; (d.Home >= 0) != home {
				t.Errorf("firmware is told slot %d", d.Home)
			}
			if r.Boots != boots+1 || r.Current.IsZero() {
				t.Errorf("boots %d, current %s", r.Boots, r.Current.Short())
			}
			if row.boot.System == good && r.Bad(good) && !row.record.Bad(good) {
				t.Error("the last good system was found bad")
			}
		})
	}
}

func TestStage(t *testing.T) {
	trial := record.Trial{System: fresh, Slot: 1, Tries: 3}
	night := record.Trial{System: good, Same: true, Configuration: "night", Tries: 1}
	idle := record.Record{Current: good}
	for _, row := range []struct {
		name   string
		record record.Record
		trial  record.Trial
		err    string
	}{
		{"fresh", idle, trial, ""},
		{"in place of another", on(record.Staged, 3, 0), trial, ""},
		{"after one that failed", on(record.Failed, 0, 3), record.Trial{System: alien, Tries: 1}, ""},
		{"armed", on(record.Armed, 3, 0), trial, "another trial is under way"},
		{"running", on(record.Running, 3, 0), night, "another trial is under way"},
		{"bad", judged(idle, fresh, false), trial, "found bad: panic"},
		{"good before", judged(idle, fresh, true), trial, ""},
		{"current", idle, record.Trial{System: good, Tries: 1}, "the last good system"},
		{"no tries", idle, record.Trial{System: fresh}, "0 tries"},
		{"a configuration", idle, night, ""},
		{"a configuration of another", record.Record{Current: older}, night, "the last good one is"},
	} {
		r := row.record
		before := r.Trial
		err := Stage(&r, row.trial)
		if (err == nil) != (row.err == "") || err != nil && !strings.Contains(err.Error(), row.err) {
			t.Errorf("%s: %v, want %q", row.name, err, row.err)
		}
		if err != nil && r.Trial != before {
			t.Errorf("%s: refused, and the record is changed", row.name)
		}
		if err == nil && (r.Trial.Phase != record.Staged || r.Trial.Limit != row.trial.Tries || Arm(&r) != nil || r.Trial.Phase != record.Armed || Arm(&r) == nil) {
			t.Errorf("%s: the trial is %+v", row.name, r.Trial)
		}
	}
}

func TestEnds(t *testing.T) {
	r := unsettled(on(record.Running, 1, 2), 2)
	if err := Confirm(&r, reason.Confirmed, 5); err != nil || r.Trial != nil || r.Current != fresh || r.Previous != good || r.Unsettled != 0 || r.Bad(fresh) {
		t.Errorf("confirmed: %+v, %v", r, err)
	}
	if Confirm(&r, reason.Confirmed, 5) == nil || Fail(&r, reason.HealthTimeout, "", 5) == nil {
		t.Error("a trial that has ended ends again")
	}
	r = same(record.Running, 0, 1)
	if err := Confirm(&r, reason.Confirmed, 5); err != nil || r.Current != good || r.Previous != older || r.Verdicts[0].Configuration != "night" {
		t.Errorf("a configuration confirmed: %+v, %v", r, err)
	}
	r = on(record.Running, 1, 2)
	if err := Fail(&r, reason.HealthTimeout, "broker", 5); err != nil || r.Trial.Phase != record.Failed || !r.Bad(fresh) {
		t.Errorf("failed: %+v, %v", r, err)
	}
	if err := Stage(&r, record.Trial{System: fresh, Tries: 1}); err == nil {
		t.Error("what was found bad is staged again")
	}
	if err := Forgive(&r, fresh); err != nil || r.Bad(fresh) || Forgive(&r, fresh) == nil {
		t.Errorf("forgiven: %+v, %v", r, err)
	}
	if err := Stage(&r, record.Trial{System: fresh, Tries: 1}); err != nil {
		t.Errorf("what was forgiven: %v", err)
	}
	Settle(&r, true)
	if d := Decide(&r, Boot{System: good}); d.Action != Run || r.Unsettled != MaxUnsettled {
		t.Errorf("after a rescue: %+v, %d", d, r.Unsettled)
	}
	if d := Decide(&r, Boot{System: good}); d.Action != Rescue {
		t.Errorf("after a rescue and one more try: %+v", d)
	}
}
