package wire

import (
	"context"
	"fmt"
)

// MethodCollect deletes what nothing needs: CollectRequest; Result is a
// CollectPlan.
const MethodCollect = "collect"

// CollectRequest asks for a collection of garbage.
type CollectRequest struct {
	DryRun bool `json:"dryRun,omitempty"` // only say what would go
}

// CollectPlan is what stays and what goes, of boot slots and store together.
type CollectPlan struct {
	Keep    []KeptSystem    `json:"keep"`    // systems that stay
	Slots   []CollectedSlot `json:"slots"`   // in order
	Delete  []string        `json:"delete"`  // systems that go
	Images  int             `json:"images"`  // images that go
	Objects int             `json:"objects"` // objects that go
	Free    int64           `json:"free"`    // bytes of the store that become free
	Rest    int64           `json:"rest"`    // bytes of the store that stay
	Partial bool            `json:"partial"` // what came of an update that was cut goes as well
	Done    bool            `json:"done"`    // it was executed
}

// KeptSystem is a system that stays, and why.
type KeptSystem struct {
	System string   `json:"system"` // digest
	Why    []string `json:"why"`    // "runs", "last good", "before", "on trial", "in force", "root NAME"
}

// CollectedSlot is a boot slot.
type CollectedSlot struct {
	Slot    int      `json:"slot"`    // counted from 0
	Systems []string `json:"systems"` // that it holds
	InForce bool     `json:"inForce"` // the machine boots from it
	Clear   bool     `json:"clear"`   // it goes: it holds a system that does not stay
}

// Collector is a Control of a machine that has garbage.
type Collector interface {
	Collect(ctx context.Context, r CollectRequest) (CollectPlan, error)
}

// collectMethod calls the method of Collector; found is false for others.
func collectMethod(ctx context.Context, c Control, req Request) (result any, found bool, err error) {
	if req.Method != MethodCollect {
		return nil, false, nil
	}
	k, ok := c.(Collector)
	if !ok {
		return nil, true, fmt.Errorf("%s: this machine keeps no systems of its own", req.Method)
	}
	var p CollectRequest
	if err := parameters(req, &p); err != nil {
		return nil, true, err
	}
	result, err = k.Collect(ctx, p)
	return result, true, err
}

// Collect deletes what the machine does not need, or says what it would delete.
func (c *Client) Collect(ctx context.Context, r CollectRequest) (CollectPlan, error) {
	var p CollectPlan
	err := c.Call(ctx, MethodCollect, r, &p)
	return p, err
}
