// Command irrigation listens to the beds' readings and to commands, and opens
// and closes the valves by the law of package watering. A valve is told by its
// topic; hardware would be switched here.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"log"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/instar-os/instar/examples/greenhouse/internal/bus"
	"github.com/instar-os/instar/examples/greenhouse/internal/watering"
)

func main() {
	broker := flag.String("broker", "tcp://127.0.0.1:1883", "address of the MQTT broker")
	healthy := flag.String("healthy", "", "file that exists while the valves' states get through")
	flow := flag.Duration("flow", 0, "regulate the flow so often; 0 leaves it alone")
	flag.Parse()
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	c := newController(watering.Default())
	if *flow > 0 {
		go regulate(*flow, c.isOpen)
	}
	b := bus.Connect(bus.Options{Broker: *broker, Name: "irrigation", Healthy: *healthy,
		Subscribe: map[string]func(string, []byte){bus.ReadingTopic("+"): c.reading, bus.CommandTopic("+"): c.command}})
	defer b.Close()
	c.run(ctx, b, time.NewTicker(time.Second).C)
	c.closeAll(b)
}

// controller holds the valves by the names of their beds.
type controller struct {
	law    watering.Law
	mu     sync.Mutex
	valves map[string]*watering.Valve
	opened map[string]*atomic.Bool // for who must not wait for mu
}

func newController(law watering.Law) *controller {
	c := &controller{law: law, valves: map[string]*watering.Valve{}, opened: map[string]*atomic.Bool{}}
	for _, bed := range bus.Beds() {
		c.valves[bed], c.opened[bed] = &watering.Valve{}, &atomic.Bool{}
	}
	return c
}

// bed returns the middle of greenhouse/BED/what.
func bed(topic string) string {
	parts := strings.Split(topic, "/")
	if len(parts) != 3 {
		return ""
	}
	return parts[1]
}

// reading hears a bed. A reading that the broker kept from long ago is no news,
// so that its own time counts; one from the future counts from now.
func (c *controller) reading(topic string, payload []byte) {
	var r bus.Reading
	if err := json.Unmarshal(payload, &r); err != nil {
		log.Printf("%s: not a reading: %v", topic, err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if v, ok := c.valves[bed(topic)]; ok {
		at := time.Now()
		if r.Time.Before(at) {
			at = r.Time
		}
		v.Hear(r.Moisture, at)
	}
}

func (c *controller) command(topic string, payload []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := c.valves[bed(topic)]
	if !ok || !v.Tell(watering.Command(payload)) {
		log.Printf("%s: %q is no command for a bed of this house", topic, payload)
		return
	}
	log.Printf("%s: %s", bed(topic), payload)
}

// refresh is how often an unchanged state is published again, in ticks.
const refresh = 10

// run decides at each tick, and publishes states that changed, and all of them
// now and then.
func (c *controller) run(ctx context.Context, b *bus.Bus, ticks <-chan time.Time) {
	pending := map[string]bool{}
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case now := <-ticks:
			for _, name := range bus.Beds() {
				if c.decide(name, now) || n%refresh == 0 {
					pending[name] = true
				}
				if pending[name] && b.Publish(ctx, bus.ValveTopic(name), c.state(name)) == nil {
					delete(pending, name)
				}
			}
		}
	}
}

func (c *controller) decide(name string, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.valves[name]
	changed := v.Decide(c.law, now)
	c.opened[name].Store(v.IsOpen)
	if changed {
		log.Printf("%s: open is %v", name, v.IsOpen)
	}
	return changed
}

// isOpen tells without waiting for anybody.
func (c *controller) isOpen(name string) bool { return c.opened[name].Load() }

func (c *controller) state(name string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.valves[name].IsOpen {
		return bus.Open
	}
	return bus.Closed
}

// closeAll leaves no valve open behind.
func (c *controller) closeAll(b *bus.Bus) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	for _, name := range bus.Beds() {
		if err := b.Publish(ctx, bus.ValveTopic(name), bus.Closed); err != nil {
			log.Printf("closing %s: %v", name, err)
		}
	}
}
