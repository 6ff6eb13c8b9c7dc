package main

import (
	"log"
	"time"

	"github.com/instar-os/instar/examples/greenhouse/internal/bus"
	"github.com/instar-os/instar/examples/greenhouse/internal/watering"
	"github.com/instar-os/instar/task"
)

// steps are the regulator's steps in a job: the valves are slow, the model
// behind them is not.
const steps = 50

// regulate holds the flow through the valves, one job a period, in a thread that
// the machine's definition knows as valve-loop. It shares nothing with the rest
// of the program but what state copies.
func regulate(period time.Duration, open func(bed string) bool) {
	if err := task.Lock(); err != nil {
		log.Print(err) // it was not declared locked
	}
	t, err := task.Begin("valve-loop", period)
	if err != nil {
		log.Print(err)
		return
	}
	beds := bus.Beds()
	flows, regulators := make([]float64, len(beds)), make([]watering.Flow, len(beds))
	for t.Wait() == nil {
		for i, bed := range beds {
			want := 0.0
			if open(bed) {
				want = 0.5
			}
			for range steps {
				flows[i] += 0.1 * (regulators[i].Step(want, flows[i]) - flows[i])
			}
		}
	}
}
