package wire

import "context"

// MethodAttach joins a container's own command: its output from now on, its
// input where the definition keeps that open, and signals. Its parameters are an
// AttachRequest; the answer, an AttachResult, comes when the command has ended.
// Frames go as for MethodExec. Whoever closes the session leaves the command.
const MethodAttach = "attach"

// AttachRequest names a running container.
type AttachRequest struct {
	Container string   `json:"container"`
	EndInput  bool     `json:"endInput,omitempty"` // the end of this input is the end of the command's
	Size      TermSize `json:"size,omitzero"`      // of the caller's terminal
}

// AttachResult is the end of the command.
type AttachResult struct {
	Code int `json:"code"` // 128+n for signal n
}

// Attach joins a container's command and returns when it has ended and its
// output is written, or when ctx ends, which leaves the command alone.
func (c *Client) Attach(ctx context.Context, r AttachRequest, t Terminal) (AttachResult, error) {
	var result AttachResult
	err := c.session(ctx, MethodAttach, r, t, &result)
	return result, err
}

// sessionOf runs a method that has streams.
func sessionOf(ctx context.Context, c Control, req Request, t Terminal) (any, error) {
	if req.Method == MethodAttach {
		var p AttachRequest
		if err := parameters(req, &p); err != nil {
			return nil, err
		}
		return c.Attach(ctx, p, t)
	}
	if req.Method == MethodUpdate {
		return update(ctx, c, req, t)
	}
	var p ExecRequest
	if err := parameters(req, &p); err != nil {
		return nil, err
	}
	return c.Exec(ctx, p, t)
}
