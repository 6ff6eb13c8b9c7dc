package record

import (
	"testing"

	"github.com/instar-os/instar/internal/digest"
)

// A verdict over a configuration says nothing about its system.
func TestConfigurationVerdicts(t *testing.T) {
	sys := digest.Digest{1}
	var r Record
	r.Judge(Verdict{System: sys, Good: true, Reason: "confirmed"})
	r.Judge(Verdict{System: sys, Configuration: "night", Reason: "panic"})
	r.Judge(Verdict{System: sys, Configuration: "night", Reason: "watchdog"})
	if r.Bad(sys) || len(r.Verdicts) != 2 || r.Verdicts[0].Reason != "watchdog" {
		t.Errorf("%+v", r.Verdicts)
	}
	if err := r.check(); err != nil {
		t.Error(err)
	}
	r.Judge(Verdict{System: sys, Reason: "panic"})
	if !r.Bad(sys) || len(r.Verdicts) != 2 {
		t.Errorf("%+v", r.Verdicts)
	}
	if r.Acquit(sys); len(r.Verdicts) != 0 {
		t.Errorf("acquitted: %+v", r.Verdicts)
	}
	if (&Record{Verdicts: []Verdict{{System: sys, Configuration: "a"}, {System: sys, Configuration: "a"}}}).check() == nil {
		t.Error("two verdicts over one configuration")
	}
}

func TestOn(t *testing.T) {
	sys, other := digest.Digest{1}, digest.Digest{2}
	for _, row := range []struct {
		trial         *Trial
		system        digest.Digest
		configuration string
		want          bool
	}{
		{nil, sys, "", false},
		{&Trial{System: sys}, sys, "any", true},
		{&Trial{System: sys}, other, "any", false},
		{&Trial{System: sys, Same: true, Configuration: "night"}, sys, "night", true},
		{&Trial{System: sys, Same: true, Configuration: "night"}, sys, "day", false},
	} {
		if got := row.trial.On(row.system, row.configuration); got != row.want {
			t.Errorf("%+v on %s %s: %v", row.trial, row.system.Short(), row.configuration, got)
		}
	}
}
