package vm

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
)

// maxTranscript is how much of the console's output is kept, in bytes.
const maxTranscript = 16 << 20

// Console is a machine's serial console: all that it wrote, and a way to wait
// for text and to answer. It is safe for concurrent use.
type Console struct {
	in   io.Writer // nil when a terminal owns the input
	copy io.Writer // nil for none
	name string

	mu      sync.Mutex
	text    []byte
	pos     int           // end of what Expect has consumed
	changed chan struct{} // closed at the next write
	ended   bool
}

func newConsole(name string, in, copy io.Writer) *Console {
	return &Console{name: name, in: in, copy: copy, changed: make(chan struct{})}
}

// Write takes what the machine writes.
func (c *Console) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text = append(c.text, b...)
	if over := len(c.text) - maxTranscript; over > 0 {
		c.text = c.text[over:]
		c.pos = max(0, c.pos-over)
	}
	c.wake()
	if c.copy != nil {
		if _, err := c.copy.Write(b); err != nil {
			c.copy = nil // a closed terminal must not stop the machine
		}
	}
	return len(b), nil
}

func (c *Console) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// end says that no more output will come.
func (c *Console) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	c.wake()
}

// Expect waits until the output that no earlier Expect consumed matches, and
// returns the match with its groups. It fails when the machine ends or ctx is
// done; the error shows the last lines of the console.
func (c *Console) Expect(ctx context.Context, re *regexp.Regexp) ([]string, error) {
	for {
		match, ended, changed := c.match(re)
		switch {
		case match != nil:
			return match, nil
		case ended:
			return nil, fmt.Errorf("console of %s: the machine ended before %q came; its last lines:\n%s", c.name, re, c.Tail(30))
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("console of %s: waiting for %q: %w; its last lines:\n%s", c.name, re, context.Cause(ctx), c.Tail(30))
		}
	}
}

func (c *Console) match(re *regexp.Regexp) (match []string, ended bool, changed <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	rest := c.text[c.pos:]
	if at := re.FindSubmatchIndex(rest); at != nil {
		for i := 0; i < len(at); i += 2 {
			group := ""
			if at[i] >= 0 {
				group = string(rest[at[i]:at[i+1]])
			}
			match = append(match, group)
		}
		c.pos += at[1]
	}
	return match, c.ended, c.changed
}

// Send writes to the machine's console.
func (c *Console) Send(text string) error {
	if c.in == nil {
		return fmt.Errorf("console of %s: a terminal owns its input", c.name)
	}
	if _, err := io.WriteString(c.in, text); err != nil {
		return fmt.Errorf("console of %s: %w", c.name, err)
	}
	return nil
}

// Transcript returns all output so far, with escape sequences and carriage
// returns removed.
func (c *Console) Transcript() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return plain(string(c.text))
}

// Tail returns the last n lines of the transcript.
func (c *Console) Tail(n int) string {
	lines := strings.Split(strings.TrimRight(c.Transcript(), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// escapes are the terminal sequences that firmware and boot loaders write (ECMA-48 CSI and two-byte ones).
var escapes = regexp.MustCompile("\x1b(\\[[0-9;?=]*[ -/]*[@-~]|[@-Z\\\\-_=>78cgl])|\r|\x00")

func plain(s string) string { return escapes.ReplaceAllString(s, "") }
