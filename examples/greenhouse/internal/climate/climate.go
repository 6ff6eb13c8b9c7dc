// Package climate is a model of beds in a greenhouse. It stands in for sensors
// where there are none, as in a virtual machine: the soil dries, watering wets
// it, and the temperature swings. One second of the model is one of the clock,
// but its days are ten minutes long, so that something is to be seen.
package climate

import (
	"math"
	"time"
)

// Bed is one bed's state.
type Bed struct {
	Moisture float64 // of the soil, 0 to 1
	Watered  bool    // the valve is open
	Phase    float64 // where in the day it begins, 0 to 1
	age      time.Duration
}

const (
	day     = 10 * time.Minute
	mean    = 22.0   // degrees Celsius
	swing   = 6.0    // degrees, half of the day's span
	drying  = 0.0015 // of moisture a second at the mean temperature
	wetting = 0.012  // of moisture a second under an open valve
)

// Step lets time pass.
func (b *Bed) Step(d time.Duration) {
	b.age += d
	change := -drying * b.Temperature() / mean
	if b.Watered {
		change += wetting
	}
	b.Moisture = min(1, max(0, b.Moisture+change*d.Seconds()))
}

// Temperature of the air, in degrees Celsius.
func (b *Bed) Temperature() float64 {
	return mean + swing*math.Sin(2*math.Pi*(b.age.Seconds()/day.Seconds()+b.Phase))
}

// Humidity of the air, 0 to 1: wet soil raises it, warmth lowers it.
func (b *Bed) Humidity() float64 {
	return min(1, max(0, 0.45+0.4*b.Moisture-0.01*(b.Temperature()-mean)))
}
