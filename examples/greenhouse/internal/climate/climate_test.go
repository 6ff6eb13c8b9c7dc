package climate

import (
	"testing"
	"time"
)

func TestSoil(t *testing.T) {
	b := Bed{Moisture: 0.5}
	b.Step(time.Second)
	if b.Moisture >= 0.5 {
		t.Errorf("dry soil has moisture %v after a second, want less than 0.5", b.Moisture)
	}
	before := b.Moisture
	b.Watered = true
	b.Step(time.Second)
	if b.Moisture <= before {
		t.Errorf("watered soil has moisture %v, want more than %v", b.Moisture, before)
	}
}

func TestBounds(t *testing.T) {
	for _, watered := range []bool{true, false} {
		b := Bed{Moisture: 0.5, Watered: watered, Phase: 0.3}
		for range 2 * 600 {
			b.Step(time.Second)
			if b.Moisture < 0 || b.Moisture > 1 || b.Humidity() < 0 || b.Humidity() > 1 || b.Temperature() < 15 || b.Temperature() > 29 {
				t.Fatalf("out of bounds: %+v, %v, %v", b, b.Humidity(), b.Temperature())
			}
		}
		if want := map[bool]float64{true: 1, false: 0}[watered]; b.Moisture != want {
			t.Errorf("after two days moisture is %v, want %v", b.Moisture, want)
		}
	}
}
