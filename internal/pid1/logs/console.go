package logs

import (
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/instar-os/instar/internal/wire"
)

const (
	consoleQueue = 1024            // lines that wait for a slow console
	consoleGrace = 3 * time.Second // for showing them at the end
)

// console shows lines on a device that may be slow, from a goroutine.
type console struct {
	out   io.Writer
	began time.Time
	queue chan string
	lost  atomic.Int64
	done  chan struct{}
}

func newConsole(out io.Writer, began time.Time) *console {
	c := &console{out: out, began: began, queue: make(chan string, consoleQueue), done: make(chan struct{})}
	go c.run()
	return c
}

func (c *console) show(l wire.LogLine) {
	s := fmt.Sprintf("[%12.6f] %s: %s\n", l.Time.Sub(c.began).Seconds(), l.Container, printable(l.Text))
	select {
	case c.queue <- s:
	default:
		c.lost.Add(1)
	}
}

func (c *console) run() {
	defer close(c.done)
	for s := range c.queue {
		io.WriteString(c.out, s) // a console that fails has nowhere to say so
		if n := c.lost.Swap(0); n > 0 {
			fmt.Fprintf(c.out, "(%d lines not shown: the console is too slow)\n", n)
		}
	}
}

func (c *console) close() {
	close(c.queue)
	select {
	case <-c.done:
	case <-time.After(consoleGrace):
	}
}

// printable replaces what would move a terminal's cursor or change its modes.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}
