// Package bus connects the greenhouse's programs with its MQTT broker.
package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// Reading is what a bed's sensors say, as published on greenhouse/BED/reading.
type Reading struct {
	Time        time.Time `json:"time"`
	Temperature float64   `json:"temperature"` // degrees Celsius
	Humidity    float64   `json:"humidity"`    // of the air, 0 to 1
	Moisture    float64   `json:"moisture"`    // of the soil, 0 to 1
}

// Topics of a bed.
func ReadingTopic(bed string) string { return "greenhouse/" + bed + "/reading" }
func ValveTopic(bed string) string   { return "greenhouse/" + bed + "/valve" }
func CommandTopic(bed string) string { return "greenhouse/" + bed + "/command" }

// What is published on ValveTopic.
const (
	Open   = "open"
	Closed = "closed"
)

// Beds are the beds of this greenhouse.
func Beds() []string { return []string{"tomatoes", "peppers", "herbs"} }

// patience is how long a message may take to be acknowledged.
const patience = 5 * time.Second

// Bus is a connection to the broker that is made anew when it breaks. The file
// that Healthy marks exists as long as messages get through.
type Bus struct {
	client  mqtt.Client
	healthy string
}

// Options of Connect.
type Options struct {
	Broker    string // as tcp://127.0.0.1:1883
	Name      string // client identifier
	Healthy   string // file to make when a message was acknowledged; "" for none
	Subscribe map[string]func(topic string, payload []byte)
}

// Connect returns at once; the connection is tried until it stands, and what is
// subscribed is subscribed again after each break.
func Connect(o Options) *Bus {
	b := &Bus{healthy: o.Healthy}
	opts := mqtt.NewClientOptions().AddBroker(o.Broker).SetClientID(o.Name).
		SetConnectRetry(true).SetConnectRetryInterval(time.Second).SetMaxReconnectInterval(5 * time.Second).
		SetOrderMatters(true).SetKeepAlive(10 * time.Second)
	opts.SetOnConnectHandler(func(c mqtt.Client) {
		log.Printf("connected to %s", o.Broker)
		for topic, handle := range o.Subscribe {
			c.Subscribe(topic, 1, func(_ mqtt.Client, m mqtt.Message) { handle(m.Topic(), m.Payload()) })
		}
	})
	opts.SetConnectionLostHandler(func(_ mqtt.Client, err error) {
		log.Printf("connection lost: %v", err)
		b.mark(false)
	})
	b.client = mqtt.NewClient(opts)
	b.client.Connect()
	return b
}

// Publish sends a value, a string as it is and anything else as JSON, retained,
// and waits until the broker has it.
func (b *Bus) Publish(ctx context.Context, topic string, value any) error {
	payload, ok := value.(string)
	if !ok {
		text, err := json.Marshal(value)
		if err != nil {
			return fmt.Errorf("%s: %w", topic, err)
		}
		payload = string(text)
	}
	if !b.client.IsConnectionOpen() {
		return fmt.Errorf("%s: not connected", topic)
	}
	token := b.client.Publish(topic, 1, true, payload)
	select {
	case <-token.Done():
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(patience):
		return fmt.Errorf("%s: not acknowledged within %v", topic, patience)
	}
	if err := token.Error(); err != nil {
		return fmt.Errorf("%s: %w", topic, err)
	}
	return b.mark(true)
}

// mark makes or removes the file that says that messages get through.
func (b *Bus) mark(healthy bool) error {
	if b.healthy == "" {
		return nil
	}
	if healthy {
		f, err := os.OpenFile(b.healthy, os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		return f.Close()
	}
	if err := os.Remove(b.healthy); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Close ends the connection.
func (b *Bus) Close() {
	b.client.Disconnect(250) // milliseconds for what is under way
}
