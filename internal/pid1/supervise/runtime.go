// Package supervise keeps the containers of one configuration running: it
// starts them in the order they need each other, checks their health, starts
// them again by their policy and stops them in reverse order.
//
// A container that is found unhealthy is reported and left running: its restart
// policy is about its ends.
//
// It does nothing to the machine by itself: what a container is made of comes
// through Runtime, and time is the process's.
package supervise

import (
	"context"
	"io"

	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/wire"
)

// Runtime makes sandboxes.
type Runtime interface {
	// Prepare makes everything of a container but its processes.
	Prepare(c *system.Container) (Sandbox, error)
}

// Sandbox is a container without processes, good for one life: Prepare
// commands, then the command.
type Sandbox interface {
	// Start runs a command of the container. What it prints goes to the
	// writers, which are closed when it has ended or could not be started.
	Start(args []string, stdout, stderr io.WriteCloser) (Process, error)
	// Run is Start of the container's own command, with the standard input or
	// the terminal that it is declared to have.
	Run(stdout, stderr io.WriteCloser) (Process, error)
	// Probe checks the container's health once, as seen from within it.
	Probe(ctx context.Context, h *system.Health, main Process) error
	Operated
	Memory() int64      // bytes in use; 0 when not known
	Warnings() []string // what could not be enforced, and why
	Kill() error        // ends every process of the sandbox
	Close() error       // removes the sandbox; no process may be left
}

// Process is a command within a sandbox.
type Process interface {
	PID() int
	// Wait returns the exit code, 128+n for signal n. It is called once.
	Wait() (int, error)
	Signal(sig int) error
	// Takes reports whether a signal surely has an effect by now. The first
	// process of a PID namespace gets none that it has no handler for, unless it
	// waits for it: pid_namespaces(7).
	Takes(sig int) bool
	// Attach joins the command until it ends or ctx does.
	Attach(ctx context.Context, r wire.AttachRequest, t wire.Terminal) (code int, err error)
}

// Log takes what the supervisor and the containers have to say.
type Log interface {
	Printf(format string, args ...any)
	// Output returns where a container's stream ("stdout", "stderr") goes.
	Output(container, stream string) io.WriteCloser
}
