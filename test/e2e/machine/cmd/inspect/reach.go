package main

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"
)

// How long reach waits for those that must answer, and for each of the others.
const (
	patience = 20 * time.Second
	moment   = time.Second
)

// reach asks the addresses before "--", which have to answer, and those after
// it, which must not.
func reach(args []string) error {
	split := slices.Index(args, "--")
	if split < 0 {
		return fmt.Errorf("no -- among %q", args)
	}
	for _, address := range args[:split] {
		deadline := time.Now().Add(patience)
		for {
			err := ask(address)
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("%s does not answer: %w", address, err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		fmt.Println("reached", address)
	}
	for _, address := range args[split+1:] {
		if ask(address) == nil {
			return fmt.Errorf("%s answers", address)
		}
		fmt.Println("did not reach", address)
	}
	return nil
}

// ask makes a connection of its own each time.
func ask(address string) error {
	client := &http.Client{Timeout: moment, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + address + "/")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}
