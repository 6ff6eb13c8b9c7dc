// Command check asks a running greenhouse something real from outside: an MQTT
// message published and received through the broker, a reading of the sampler,
// and the panel's page. It finds the addresses where instar vm puts them.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// patience is how long each question may take; machines may be emulated.
const patience = 60 * time.Second

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	defer cancel()
	if err := run(ctx, os.Getenv("INSTAR_FORWARD_MQTT"), os.Getenv("INSTAR_FORWARD_HTTP")); err != nil {
		fmt.Fprintln(os.Stderr, "check:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, broker, panel string) error {
	if broker == "" || panel == "" {
		return errors.New("INSTAR_FORWARD_MQTT and INSTAR_FORWARD_HTTP must be set; run this by instar vm -- check")
	}
	if err := checkBroker(broker); err != nil {
		return fmt.Errorf("MQTT at %s: %w", broker, err)
	}
	if err := checkPanel(ctx, "http://"+panel+"/"); err != nil {
		return fmt.Errorf("panel at %s: %w", panel, err)
	}
	return nil
}

func checkBroker(broker string) error {
	opts := mqtt.NewClientOptions().AddBroker("tcp://" + broker).SetClientID("check").
		SetConnectRetry(true).SetConnectRetryInterval(time.Second).SetConnectTimeout(patience)
	c := mqtt.NewClient(opts)
	if err := wait(c.Connect()); err != nil {
		return err
	}
	defer c.Disconnect(250)
	const topic = "check/echo"
	text := fmt.Sprintf("%d", time.Now().UnixNano())
	echo, reading := make(chan string, 1), make(chan string, 1)
	keep := func(to chan string) mqtt.MessageHandler {
		return func(_ mqtt.Client, m mqtt.Message) {
			select {
			case to <- m.Topic() + " " + string(m.Payload()):
			default:
			}
		}
	}
	if err := wait(c.Subscribe(topic, 1, keep(echo))); err != nil {
		return err
	}
	if err := wait(c.Subscribe("greenhouse/#", 1, keep(reading))); err != nil {
		return err
	}
	began := time.Now()
	if err := wait(c.Publish(topic, 1, false, text)); err != nil {
		return err
	}
	got, err := receive(echo, "the published message")
	if err != nil {
		return err
	}
	if got != topic+" "+text {
		return fmt.Errorf("published %q, received %q", text, got)
	}
	fmt.Printf("MQTT: published and received through mosquitto in %v\n", time.Since(began).Round(time.Millisecond))
	if got, err = receive(reading, "a reading of the sampler"); err != nil {
		return err
	}
	fmt.Printf("MQTT: %s\n", got)
	return nil
}

func wait(t mqtt.Token) error {
	if !t.WaitTimeout(patience) {
		return fmt.Errorf("no answer within %v", patience)
	}
	return t.Error()
}

func receive(from chan string, what string) (string, error) {
	select {
	case s := <-from:
		return s, nil
	case <-time.After(patience):
		return "", fmt.Errorf("%s did not arrive within %v", what, patience)
	}
}

// maxPage is the most that is read of the panel's page, in bytes.
const maxPage = 1 << 20

func checkPanel(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Timeout: patience}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(io.LimitReader(resp.Body, maxPage))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || !strings.Contains(strings.ToLower(string(page)), "greenhouse") {
		return fmt.Errorf("status %s, %d bytes that do not mention the greenhouse", resp.Status, len(page))
	}
	fmt.Printf("HTTP: %s, %d bytes from %s\n", resp.Status, len(page), resp.Header.Get("Server"))
	return nil
}
