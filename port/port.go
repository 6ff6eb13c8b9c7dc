// Package port reads and writes the memory ports of instar's links: sampling
// ports, which hold the last value, and queueing ports, which hold a bounded
// queue of messages, both with the semantics of ARINC 653. A container that a
// definition makes an end of a link finds its ports by the link's name:
//
//	w, err := port.OpenSamplingWriter(port.Message{Link: "level", Size: 8, Version: 1})
//
// A port is memory that one container writes and others have mapped read only.
// Writing takes a bounded number of steps and no system call (but one for a
// link that wakes its reader), whatever readers do; reading never delays the
// writer. The state is in the memory: an end that crashed goes on where it was
// when it is started again. Ends that disagree about the message are refused.
//
// docs/format/port.md describes the bytes. port.h of C programs is
// instar_port.h beside this file. The package needs Linux and a 64-bit
// little-endian machine.
package port

import (
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Kind is what a port does with messages.
type Kind uint32

// The kinds of ports.
const (
	Sampling Kind = 1 // holds the last message
	Queueing Kind = 2 // holds messages in order
)

// Policy says what happens to a message for a full queue.
type Policy uint32

// The policies.
const (
	Reject Policy = 1 // the newest is not taken: Write returns ErrFull
	Drop   Policy = 2 // the oldest makes room; the reader is told how many
)

// Limits of a port.
const (
	MaxSize   = 1 << 20  // bytes of a message
	MaxDepth  = 1 << 16  // messages of a queue
	MaxMemory = 64 << 20 // bytes in all
)

// Errors that callers tell apart.
var (
	ErrNoLink   = errors.New("this container is no such end of the link")
	ErrMismatch = errors.New("the ends of the link disagree about the message")
	ErrEmpty    = errors.New("no message")
	ErrFull     = errors.New("the queue is full")
	ErrSize     = errors.New("message too large")
	ErrOverrun  = errors.New("the writer overtook every attempt to read")
	ErrCorrupt  = errors.New("not the memory of a port")
)

// Message is what both ends of a link have to agree on.
type Message struct {
	Link    string // the link's name
	Size    int    // largest message, bytes
	Version uint32 // of the message's own format, as the definition declares
}

// hash is FNV-1a (64 bits) of name, kind, size and version: the layout hash of
// docs/format/port.md.
func (m Message) hash(k Kind) uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s\n%d\n%d\n%d\n", m.Link, k, m.Size, m.Version)
	return h.Sum64()
}

// Ends are the open files of one end of a link. Memory is writable for the
// writer only, Cursor, which queueing ports have, for the reader only.
type Ends struct {
	Memory *os.File
	Cursor *os.File // nil for a sampling port
	Wake   *os.File // an eventfd; nil when the link wakes nobody
}

// Close closes the files; mapped ports stay good.
func (e Ends) Close() error {
	var errs []error
	for _, f := range []*os.File{e.Memory, e.Cursor, e.Wake} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// Find returns copies of the files of a link that this process was started
// with, which the caller closes.
func Find(link string) (Ends, error) {
	var e Ends
	var failed error
	for _, f := range []struct {
		suffix string
		to     **os.File
	}{{"", &e.Memory}, {"_CURSOR", &e.Cursor}, {"_WAKE", &e.Wake}} {
		name := Variable(link) + f.suffix
		value := os.Getenv(name)
		if value == "" {
			continue
		}
		fd, err := strconv.ParseUint(value, 10, 31)
		if err != nil {
			failed = fmt.Errorf("link %s: %s is %q, not a file descriptor", link, name, value)
			continue
		}
		copied, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_DUPFD_CLOEXEC, 0)
		if errno != 0 {
			failed = fmt.Errorf("link %s: %s is %q: %w", link, name, value, errno)
			continue
		}
		*f.to = os.NewFile(copied, link)
	}
	if failed == nil && e.Memory == nil {
		failed = fmt.Errorf("link %s: %w: %s is not set", link, ErrNoLink, Variable(link))
	}
	if failed != nil {
		return Ends{}, errors.Join(failed, e.Close())
	}
	return e, nil
}

// Variable returns the environment variable that holds the descriptor of a
// link, as INSTAR_LINK_WATER_LEVEL for water-level. A cursor's has _CURSOR
// after it, a wake-up's _WAKE.
func Variable(link string) string {
	return "INSTAR_LINK_" + strings.ToUpper(strings.ReplaceAll(link, "-", "_"))
}

// Sample is what a reader learns beside the message's bytes.
type Sample struct {
	Length   int           // bytes of the message; the rest of the buffer is unchanged
	Sequence uint64        // of the message, from 1 in steps of 1
	Age      time.Duration // since it was written
	Valid    bool          // a sampling port's message is not older than the link's validity
	Lost     uint64        // messages of a queue that were overwritten since the last read

	// Origin is when the oldest data began that the message rests on, of
	// CLOCK_MONOTONIC; without any it is the time of writing. Whoever writes what
	// follows from it hands it on (WriteFrom).
	Origin  time.Duration
	DataAge time.Duration // since Origin
}

// State is what can be seen of a port from outside.
type State struct {
	Written  uint64 // messages, ever
	Rejected uint64 // for a full queue, ever
	Queued   uint64 // not yet read
	Lost     uint64 // overwritten before they were read, ever
}
