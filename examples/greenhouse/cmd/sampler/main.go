// Command sampler publishes the readings of every bed once a second. The beds
// are a model (package climate) that the valves water; a greenhouse of glass
// would read its sensors here.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"math"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/instar-os/instar/examples/greenhouse/internal/bus"
	"github.com/instar-os/instar/examples/greenhouse/internal/climate"
)

func main() {
	broker := flag.String("broker", "tcp://127.0.0.1:1883", "address of the MQTT broker")
	healthy := flag.String("healthy", "", "file that exists while readings get through")
	flag.Parse()
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	h := newHouse()
	b := bus.Connect(bus.Options{Broker: *broker, Name: "sampler", Healthy: *healthy,
		Subscribe: map[string]func(string, []byte){bus.ValveTopic("+"): h.valve}})
	defer b.Close()
	h.run(ctx, b, time.NewTicker(time.Second).C)
}

// house holds the modelled beds by name.
type house struct {
	mu   sync.Mutex
	beds map[string]*climate.Bed
}

func newHouse() *house {
	h := &house{beds: map[string]*climate.Bed{}}
	for i, name := range bus.Beds() {
		h.beds[name] = &climate.Bed{Moisture: 0.5 - 0.08*float64(i), Phase: 0.05 * float64(i)}
	}
	return h
}

// valve notes that a valve was opened or closed.
func (h *house) valve(topic string, payload []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	name := strings.TrimSuffix(strings.TrimPrefix(topic, "greenhouse/"), "/valve")
	if bed, ok := h.beds[name]; ok {
		bed.Watered = string(payload) == bus.Open
	}
}

// run publishes at each tick until ctx is done.
func (h *house) run(ctx context.Context, b *bus.Bus, ticks <-chan time.Time) {
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticks:
			err := h.publish(ctx, b, now)
			if err != nil && !failing {
				log.Printf("publishing: %v", err)
			}
			failing = err != nil
		}
	}
}

func (h *house) publish(ctx context.Context, b *bus.Bus, now time.Time) error {
	for _, name := range bus.Beds() {
		if err := b.Publish(ctx, bus.ReadingTopic(name), h.step(name, now)); err != nil {
			return fmt.Errorf("reading: %w", err)
		}
	}
	return nil
}

// step lets a second pass for a bed and reads its sensors.
func (h *house) step(name string, now time.Time) bus.Reading {
	h.mu.Lock()
	defer h.mu.Unlock()
	bed := h.beds[name]
	bed.Step(time.Second)
	return bus.Reading{Time: now.UTC().Truncate(time.Millisecond), Temperature: round(bed.Temperature(), 10),
		Humidity: round(bed.Humidity(), 1000), Moisture: round(bed.Moisture, 1000)}
}

// round keeps what a sensor could tell.
func round(x, steps float64) float64 { return math.Round(x*steps) / steps }
