package system

import "time"

// Confirm says when a boot on trial has proven itself.
type Confirm struct {
	After  int64 `json:"after"`  // nanoseconds for which everything must hold without a break
	Within int64 `json:"within"` // nanoseconds after init's start by which it must be confirmed
	Tries  int   `json:"tries"`  // boots that a trial has
}

// Resolved returns what holds for a manifest of before there was such a thing.
func (c Confirm) Resolved() Confirm {
	if c.After <= 0 {
		c.After = int64(30 * time.Second)
	}
	if c.Within <= 0 {
		c.Within = int64(5 * time.Minute)
	}
	if c.Tries <= 0 {
		c.Tries = 3
	}
	return c
}

// Check is one thing that must hold beside the health of containers and
// interfaces. Exactly one of Exec, Link, Interface, Reach and Task is
// set.
type Check struct {
	Container string   `json:"container,omitempty"` // that Exec runs in
	Exec      []string `json:"exec,omitempty"`      // exit code 0 is good
	Link      string   `json:"link,omitempty"`      // sampling link whose last message is not older than Fresh
	Fresh     int64    `json:"fresh,omitempty"`     // nanoseconds
	Interface string   `json:"interface,omitempty"` // of the machine; it is up
	Reach     string   `json:"reach,omitempty"`     // ADDRESS:PORT that accepts a TCP connection
	Task      string   `json:"task,omitempty"`      // CONTAINER.TASK that has run, and contradicts nothing that was proven
	Timeout   int64    `json:"timeout,omitempty"`   // nanoseconds, of Exec and Reach
}
