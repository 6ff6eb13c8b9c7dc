// Package watering decides when a bed's valve is open. It keeps no clock and
// knows no broker; what it says follows from what it is told.
package watering

import "time"

// Law is the rule of a valve: it opens when the soil is drier than Low and
// closes when it is wetter than High, so that it does not flutter between. It
// never stays open longer than MaxOpen at a stretch, rests for Rest after that,
// and closes when nothing was heard of the bed for Stale: a valve that nobody
// watches floods the house.
type Law struct {
	Low, High float64 // moisture of the soil, 0 to 1
	MaxOpen   time.Duration
	Rest      time.Duration
	Stale     time.Duration
}

// Default suits vegetables in pots.
func Default() Law {
	return Law{Low: 0.30, High: 0.45, MaxOpen: 2 * time.Minute, Rest: time.Minute, Stale: 15 * time.Second}
}

// Command is what a person wants of a valve.
type Command string

// The commands. Manual opening ends like any other: after MaxOpen, or with the
// readings.
const (
	Auto  Command = "auto"
	Open  Command = "open"
	Close Command = "close"
)

// Valve is the state of one valve. The zero value is closed and automatic.
type Valve struct {
	IsOpen   bool
	Command  Command
	moisture float64
	heard    time.Time // of the last reading; zero for none
	opened   time.Time
	rests    time.Time // until then it stays closed
}

// Hear takes a reading of the bed's moisture.
func (v *Valve) Hear(moisture float64, now time.Time) { v.moisture, v.heard = moisture, now }

// Tell takes a command and reports whether it is one.
func (v *Valve) Tell(c Command) bool {
	if c != Auto && c != Open && c != Close {
		return false
	}
	v.Command = c
	return true
}

// Decide applies the law and reports whether the valve changed.
func (v *Valve) Decide(l Law, now time.Time) bool {
	want := v.want(l, now)
	if v.IsOpen && want && now.Sub(v.opened) >= l.MaxOpen {
		want = false
		v.rests = now.Add(l.Rest)
		v.Command = Auto
	}
	if want == v.IsOpen {
		return false
	}
	v.IsOpen = want
	if want {
		v.opened = now
	}
	return true
}

func (v *Valve) want(l Law, now time.Time) bool {
	switch {
	case v.heard.IsZero() || now.Sub(v.heard) > l.Stale || now.Before(v.rests):
		return false
	case v.Command == Open:
		return true
	case v.Command == Close:
		return false
	case v.moisture < l.Low:
		return true
	case v.moisture > l.High:
		return false
	}
	return v.IsOpen
}
