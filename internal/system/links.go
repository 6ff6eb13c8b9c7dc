package system

import (
	"encoding/json"
	"strings"

	"github.com/instar-os/instar/internal/digest"
)

// LinkType is what a link is made of.
type LinkType string

// The types of links.
const (
	SamplingLink LinkType = "sampling" // the last value, in shared memory
	QueueingLink LinkType = "queueing" // messages in order, in shared memory
	StreamLink   LinkType = "stream"   // a pair of connected stream sockets
	DatagramLink LinkType = "datagram" // a pair of connected datagram sockets
	PipeLink     LinkType = "pipe"
	EventLink    LinkType = "event"  // an eventfd
	ListenLink   LinkType = "listen" // a listening TCP socket
)

// Outside is the end of a link that is no container: whoever asks the
// supervisor, or for a listener whoever connects.
const Outside = "outside"

// Link is a channel between containers, which is there before them and survives
// them. From writes and To read, except for stream and datagram, whose two ends
// are alike.
type Link struct {
	Name     string   `json:"name"`
	Type     LinkType `json:"type"`
	From     string   `json:"from"` // a container, or Outside
	To       []string `json:"to"`
	Size     int      `json:"size,omitempty"`     // of a message, bytes; sampling and queueing
	Version  uint32   `json:"version,omitempty"`  // of the message's format
	Depth    int      `json:"depth,omitempty"`    // messages; queueing
	Drop     bool     `json:"drop,omitempty"`     // the oldest makes room in a full queue; else the newest is rejected
	Validity int64    `json:"validity,omitempty"` // nanoseconds; sampling; 0: always valid
	Wake     bool     `json:"wake,omitempty"`     // an eventfd tells the reader of each message
	Address  string   `json:"address,omitempty"`  // HOST:PORT; listen
}

// Part is one file of a link's end.
type Part string

// The parts.
const (
	Memory   Part = "memory"   // of a port; writable for its writer
	Cursor   Part = "cursor"   // of a queue; writable for its reader
	Wake     Part = "wake"     // eventfd of a port
	End      Part = "end"      // of a pair of sockets, a pipe or an eventfd
	Listener Part = "listener" // listening socket
)

// Descriptor is a file that a container is started with. Of is the link's ID:
// a container whose link is declared otherwise is another one.
type Descriptor struct {
	Link string `json:"link"`
	Part Part   `json:"part"`
	Of   string `json:"of"`
}

// ID tells links of one name apart: two with the same ID are declared alike.
func (l *Link) ID() string {
	b, err := json.Marshal(l)
	if err != nil {
		panic(err) // strings, numbers and a list of strings always encode
	}
	return digest.Of(b).String()[:16]
}

// Variable returns the environment variable that holds the descriptor's number,
// as INSTAR_LINK_WATER_LEVEL; "" for a listener, which LISTEN_FDS counts.
func (d Descriptor) Variable() string {
	v := "INSTAR_LINK_" + strings.ToUpper(strings.ReplaceAll(d.Link, "-", "_"))
	switch d.Part {
	case Listener:
		return ""
	case Cursor, Wake:
		v += "_" + strings.ToUpper(string(d.Part))
	}
	return v
}

// Descriptors returns what a container has of the links, in the order of the
// numbers from 3 on: listeners first, as sd_listen_fds(3) has them.
func Descriptors(links []Link, container string) []Descriptor {
	var listeners, others []Descriptor
	for _, l := range links {
		for _, end := range append([]string{l.From}, l.To...) {
			if end != container {
				continue
			}
			for _, part := range l.parts() {
				d := Descriptor{l.Name, part, l.ID()}
				if part == Listener {
					listeners = append(listeners, d)
				} else {
					others = append(others, d)
				}
			}
		}
	}
	return append(listeners, others...)
}

func (l *Link) parts() []Part {
	var parts []Part
	switch l.Type {
	case ListenLink:
		return []Part{Listener}
	case SamplingLink:
		parts = []Part{Memory}
	case QueueingLink:
		parts = []Part{Memory, Cursor}
	default:
		return []Part{End}
	}
	if l.Wake {
		parts = append(parts, Wake)
	}
	return parts
}
