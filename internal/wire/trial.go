package wire

import (
	"context"
	"fmt"
	"time"
)

// The methods by which an operator decides about what is on trial.
const (
	MethodConfirm  = "boot-confirm" // no parameters
	MethodReject   = "boot-reject"  // RejectRequest; the machine goes back and reboots
	MethodVerdicts = "verdicts"     // no parameters; Result is a Verdicts
	MethodForgive  = "forgive"      // ForgiveRequest
)

// RejectRequest says why what is on trial is no good.
type RejectRequest struct {
	Reason string `json:"reason"` // for people
}

// ForgiveRequest names a system, or the only one whose digest begins so.
type ForgiveRequest struct {
	System string `json:"system"` // hexadecimal, the whole digest or its beginning
}

// Verdicts is what the machine knows of systems, the newest first.
type Verdicts struct {
	Current  string    `json:"current"`            // the last good system
	Previous string    `json:"previous,omitempty"` // good before
	Verdicts []Verdict `json:"verdicts"`           // what was tried and judged
}

// Verdict is what became of a system, or of one configuration of it.
type Verdict struct {
	System        string    `json:"system"`                  // digest
	Configuration string    `json:"configuration,omitempty"` // "": the system was judged
	Good          bool      `json:"good"`                    // it may be booted
	Reason        string    `json:"reason"`                  // code
	Detail        string    `json:"detail,omitempty"`        // for people
	Time          time.Time `json:"time"`                    // as the machine believed
}

// Standing is how a boot stands.
type Standing string

// The standings of a boot.
const (
	OnTrial  Standing = "on trial" // it must be confirmed in time
	Settling Standing = "settling" // not on trial, and not yet at rest
	Settled  Standing = "settled"
	Rescued  Standing = "rescued"    // the fallback runs because nothing else could
	Failing  Standing = "going back" // it was found bad
)

// TrialStatus is how the boot of a device stands, and what it waits for.
type TrialStatus struct {
	Standing      Standing      `json:"standing"`
	Why           string        `json:"why,omitempty"`           // it is so
	Configuration string        `json:"configuration,omitempty"` // when only that is on trial
	Tries         int           `json:"tries,omitempty"`         // boots left to what is on trial
	Staged        string        `json:"staged,omitempty"`        // digest of a system that waits for its trial
	Missing       []string      `json:"missing,omitempty"`       // what does not hold
	Held          time.Duration `json:"held"`                    // everything has held for so long
	After         time.Duration `json:"after"`                   // and must hold for so long
	Left          time.Duration `json:"left"`                    // until the machine goes back by itself; 0: it does not
	Took          time.Duration `json:"took,omitempty"`          // reading the record and deciding, nanoseconds
}

// Trier is a Control of a machine that tries systems.
type Trier interface {
	ConfirmTrial() error
	RejectTrial(RejectRequest) error
	Verdicts() (Verdicts, error)
	Forgive(ForgiveRequest) error
}

// trialMethod calls a method of Trier; found is false for other methods.
func trialMethod(c Control, req Request) (result any, found bool, err error) {
	switch req.Method {
	case MethodConfirm, MethodReject, MethodVerdicts, MethodForgive:
	default:
		return nil, false, nil
	}
	t, ok := c.(Trier)
	if !ok {
		return nil, true, fmt.Errorf("%s: this machine tries no systems", req.Method)
	}
	switch req.Method {
	case MethodVerdicts:
		result, err = t.Verdicts()
		return result, true, err
	case MethodConfirm:
		return struct{}{}, true, t.ConfirmTrial()
	case MethodReject:
		var p RejectRequest
		if err = parameters(req, &p); err == nil {
			err = t.RejectTrial(p)
		}
	case MethodForgive:
		var p ForgiveRequest
		if err = parameters(req, &p); err == nil {
			err = t.Forgive(p)
		}
	}
	return struct{}{}, true, err
}

// ConfirmTrial makes what is on trial the last good system.
func (c *Client) ConfirmTrial(ctx context.Context) error {
	return c.Call(ctx, MethodConfirm, nil, nil)
}

// RejectTrial lets the machine go back from what is on trial.
func (c *Client) RejectTrial(ctx context.Context, r RejectRequest) error {
	return c.Call(ctx, MethodReject, r, nil)
}

// Verdicts lists what the machine knows of systems.
func (c *Client) Verdicts(ctx context.Context) (Verdicts, error) {
	var v Verdicts
	err := c.Call(ctx, MethodVerdicts, nil, &v)
	return v, err
}

// Forgive forgets the verdicts over a system.
func (c *Client) Forgive(ctx context.Context, r ForgiveRequest) error {
	return c.Call(ctx, MethodForgive, r, nil)
}
