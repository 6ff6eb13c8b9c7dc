package wire

import (
	"context"
	"time"
)

// The methods of the control protocol that change the configuration.
const (
	MethodConfigurations = "configurations" // no parameters; Result is a Configurations
	MethodPlanSwitch     = "plan-switch"    // SwitchRequest; Result is a SwitchPlan; nothing is changed
	MethodSwitch         = "switch"         // SwitchRequest; Result is the SwitchPlan that was executed
)

// SwitchMode is how a machine goes from one configuration to another.
type SwitchMode string

// The ways to switch.
const (
	SwitchLive   SwitchMode = "live"   // without a boot; what boots next stays as it was
	SwitchReboot SwitchMode = "reboot" // boots it, now and from now on
	SwitchOnce   SwitchMode = "once"   // boots it, and what booted before from the boot after it on
)

// SwitchRequest asks for another configuration.
type SwitchRequest struct {
	Configuration string        `json:"configuration"`
	Mode          SwitchMode    `json:"mode"`
	Kexec         bool          `json:"kexec,omitempty"`  // a reboot goes without firmware where it can
	Within        time.Duration `json:"within,omitempty"` // a live switch that is not healthy by then goes back; 0: DefaultWithin
}

// DefaultWithin is how long a live switch may take to become healthy.
const DefaultWithin = time.Minute

// Act is what a switch does to a container.
type Act string

// The acts of a switch.
const (
	ActKept      Act = "kept"      // runs on, untouched
	ActRestarted Act = "restarted" // the new configuration has another of that name
	ActStopped   Act = "stopped"
	ActStarted   Act = "started"
)

// Change is what a switch does to one container, and why.
type Change struct {
	Container string `json:"container"`
	Act       Act    `json:"act"`
	Why       string `json:"why,omitempty"`
}

// SwitchPlan is what a switch does. A live switch is possible when Reboot is
// empty, one by reboot when NoReboot is.
type SwitchPlan struct {
	From     string     `json:"from"`
	To       string     `json:"to"`
	Mode     SwitchMode `json:"mode"`
	Changes  []Change   `json:"changes"`            // of a live switch: the stops in their order, then what is kept or starts
	Reboot   []string   `json:"reboot,omitempty"`   // why it cannot be done live
	NoReboot string     `json:"noReboot,omitempty"` // why the machine cannot boot another configuration by itself
	Kexec    bool       `json:"kexec,omitempty"`    // the reboot goes without firmware
	NoKexec  string     `json:"noKexec,omitempty"`  // it was asked for, and why it goes through the firmware
}

// Outcome is how a live switch ended.
type Outcome string

// The outcomes of a live switch.
const (
	OutcomeUnderWay Outcome = "under way"
	OutcomeDone     Outcome = "done"
	OutcomeReturned Outcome = "returned" // what ran before runs again
	OutcomeFailed   Outcome = "failed"   // and going back did not succeed either
)

// SwitchStatus is the last live switch.
type SwitchStatus struct {
	From    string        `json:"from"`
	To      string        `json:"to"`
	Outcome Outcome       `json:"outcome"`
	Why     string        `json:"why,omitempty"` // it did not succeed
	Began   time.Time     `json:"began"`
	Took    time.Duration `json:"took,omitempty"`
}

// Configurations is what a machine can run.
type Configurations struct {
	Current string              `json:"current"`
	Default string              `json:"default"`        // of the system
	Next    string              `json:"next,omitempty"` // that the next boot runs; "" when only the loader knows
	Once    bool                `json:"once,omitempty"` // Next is for one boot
	List    []ConfigurationInfo `json:"list"`
}

// ConfigurationInfo is one configuration.
type ConfigurationInfo struct {
	Name       string   `json:"name"`
	Fallback   bool     `json:"fallback,omitempty"`
	Containers []string `json:"containers"` // in start order
}

// Switcher is the part of Control that changes the configuration.
type Switcher interface {
	Configurations() (Configurations, error)
	PlanSwitch(SwitchRequest) (SwitchPlan, error)
	// Switch executes the plan. By reboot it begins the end, and returns at
	// once; live it returns when the new configuration is healthy, or with an
	// error when what ran before runs again.
	Switch(context.Context, SwitchRequest) (SwitchPlan, error)
}

// dispatchSwitch calls a Switcher's method; ok is false when req is for none.
func dispatchSwitch(ctx context.Context, s Switcher, req Request) (result any, ok bool, err error) {
	var p SwitchRequest
	switch req.Method {
	case MethodConfigurations:
		result, err = s.Configurations()
	case MethodPlanSwitch:
		if err = parameters(req, &p); err == nil {
			result, err = s.PlanSwitch(p)
		}
	case MethodSwitch:
		if err = parameters(req, &p); err == nil {
			result, err = s.Switch(ctx, p)
		}
	default:
		return nil, false, nil
	}
	return result, true, err
}

// Configurations returns what the machine can run.
func (c *Client) Configurations(ctx context.Context) (Configurations, error) {
	var list Configurations
	err := c.Call(ctx, MethodConfigurations, nil, &list)
	return list, err
}

// PlanSwitch says what a switch would do.
func (c *Client) PlanSwitch(ctx context.Context, r SwitchRequest) (SwitchPlan, error) {
	var p SwitchPlan
	err := c.Call(ctx, MethodPlanSwitch, r, &p)
	return p, err
}

// Switch changes the configuration and returns the plan that was executed.
func (c *Client) Switch(ctx context.Context, r SwitchRequest) (SwitchPlan, error) {
	var p SwitchPlan
	err := c.Call(ctx, MethodSwitch, r, &p)
	return p, err
}
