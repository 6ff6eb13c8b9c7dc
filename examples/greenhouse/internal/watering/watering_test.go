package watering

import (
	"testing"
	"time"
)

// step is a moment of a valve's life: what it hears and is told, and whether it
// is open then.
type step struct {
	after   time.Duration // since the step before
	reading float64       // negative for none
	command Command       // "" for none
	open    bool
}

const none = -1

func TestLaw(t *testing.T) {
	law := Law{Low: 0.3, High: 0.5, MaxOpen: 10 * time.Second, Rest: 5 * time.Second, Stale: 3 * time.Second}
	s := time.Second
	for name, steps := range map[string][]step{
		"closed before it hears anything": {{0, none, "", false}, {s, none, Open, false}},
		"opens below low, closes above high": {
			{0, 0.31, "", false}, {s, 0.29, "", true}, {s, 0.4, "", true}, {s, 0.5, "", true}, {s, 0.51, "", false},
			{s, 0.4, "", false}, {s, 0.3, "", false}, {s, 0.2, "", true}},
		"closes when the readings stop": {{0, 0.1, "", true}, {3 * s, none, "", true}, {s, none, "", false}, {s, 0.1, "", true}},
		"rests after the longest watering": {
			{0, 0.1, "", true}, {3 * s, 0.1, "", true}, {3 * s, 0.1, "", true}, {3 * s, 0.1, "", true}, {s, 0.1, "", false},
			{3 * s, 0.1, "", false}, {2 * s, 0.1, "", true}},
		"obeys commands": {
			{0, 0.4, "", false}, {s, 0.4, Open, true}, {s, 0.9, "", true}, {s, 0.1, Close, false}, {s, 0.1, "", false}, {s, 0.1, Auto, true}},
		"opening by hand ends": {
			{0, 0.9, Open, true}, {3 * s, 0.9, "", true}, {3 * s, 0.9, "", true}, {3 * s, 0.9, "", true}, {s, 0.9, "", false},
			{3 * s, 0.9, "", false}, {3 * s, 0.9, "", false}},
		"opening by hand needs readings": {{0, 0.9, Open, true}, {4 * s, none, "", false}},
	} {
		t.Run(name, func(t *testing.T) {
			var v Valve
			now := time.Unix(1_700_000_000, 0)
			for i, st := range steps {
				now = now.Add(st.after)
				if st.reading >= 0 {
					v.Hear(st.reading, now)
				}
				if st.command != "" && !v.Tell(st.command) {
					t.Errorf("step %d: command %q is refused", i, st.command)
				}
				was := v.IsOpen
				if changed := v.Decide(law, now); changed != (was != v.IsOpen) {
					t.Errorf("step %d: changed is %v, from %v to %v", i, changed, was, v.IsOpen)
				}
				if v.IsOpen != st.open {
					t.Errorf("step %d: open is %v, want %v", i, v.IsOpen, st.open)
				}
			}
		})
	}
}

func TestTell(t *testing.T) {
	v := Valve{Command: Close}
	if v.Tell("flood") || v.Command != Close {
		t.Error("an unknown command is taken")
	}
}
