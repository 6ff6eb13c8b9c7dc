package wire

import (
	"context"
)

// MethodUpdate gives an update to the machine. Its parameters are an
// UpdateRequest; the answer, an ExecResult, comes at the end, with 0 when a
// system waits for the next boot. In between, frames go both ways as those of an
// exec: input is the update, from its front to where UpdateEvent.Want tells to
// go on, output are UpdateEvents, one a line.
const MethodUpdate = "update"

// UpdateRequest announces an update.
type UpdateRequest struct {
	Force  bool `json:"force,omitempty"`  // in spite of what speaks against it and can be overruled
	DryRun bool `json:"dryRun,omitempty"` // only say what speaks against it, which takes its front and its first stream
}

// UpdateEvent is what a machine says of an update that it receives. One of its
// fields is set, or both Received and Total.
type UpdateEvent struct {
	Want     *int64          `json:"want,omitempty"`   // the offset in the body that shall come next, after the front
	Ranges   [][3]int64      `json:"ranges,omitempty"` // of an index's packs that shall come next: number of the pack, offset, length
	More     bool            `json:"more,omitempty"`   // further ranges come before any of them is awaited
	Received int64           `json:"received,omitempty"`
	Total    int64           `json:"total,omitempty"`
	Refused  []UpdateProblem `json:"refused,omitempty"` // nothing was written
	Error    string          `json:"error,omitempty"`
	Staged   *UpdateStaged   `json:"staged,omitempty"`  // the next boot tries the system
	Checked  *UpdateChecked  `json:"checked,omitempty"` // of a dry run: nothing was written
}

// UpdateChecked is what a machine would say of an update.
type UpdateChecked struct {
	Problems []UpdateProblem `json:"problems"` // none: it would be taken
	Need     int64           `json:"need"`     // bytes that would be written to the store, at most
	Free     int64           `json:"free"`     // bytes that are free there
	Have     int64           `json:"have"`     // bytes of the body that need not be sent
	Body     int64           `json:"body"`     // bytes of the body
}

// UpdateProblem is what speaks against an update.
type UpdateProblem struct {
	Code  string `json:"code"`
	Text  string `json:"text"`
	Grave bool   `json:"grave,omitempty"` // it cannot be overruled
}

// UpdateStaged is a system that waits for the next boot.
type UpdateStaged struct {
	System string `json:"system"`
	Slot   int    `json:"slot"` // counted from 0
}

// Updater is a Control that takes updates.
type Updater interface {
	// Update runs until the update's end or its failure, or until ctx ends.
	Update(ctx context.Context, r UpdateRequest, t Terminal) (ExecResult, error)
}

// Update gives an update to the machine; t's input begins with the update's
// front, and its output are UpdateEvents.
func (c *Client) Update(ctx context.Context, r UpdateRequest, t Terminal) (ExecResult, error) {
	var result ExecResult
	err := c.session(ctx, MethodUpdate, r, t, &result)
	return result, err
}

// update serves the session of an update.
func update(ctx context.Context, c Control, req Request, t Terminal) (ExecResult, error) {
	var p UpdateRequest
	if err := parameters(req, &p); err != nil {
		return ExecResult{}, err
	}
	u, ok := c.(Updater)
	if !ok {
		return ExecResult{}, errNoUpdates
	}
	return u.Update(ctx, p, t)
}
