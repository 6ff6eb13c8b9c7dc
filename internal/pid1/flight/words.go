package flight

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/instar-os/instar/internal/reason"
	"github.com/instar-os/instar/internal/wire"
)

// Words is a variable of the firmware that holds the last words of a boot that
// had no disk for them. It is written only when something went wrong, once for
// the same failure until a boot has read it: its flash does not last for ever.
type Words struct {
	Read   func() (string, error) // "" when there is none
	Write  func(string) error
	Delete func() error
}

// The variable: JSON of lastWords, as UTF-16 with a NUL at the end.
const (
	WordsName   = "InstarLastWords"
	WordsVendor = "4d2f8c1e-6a57-4c0b-9d3e-1b7f0a92c5e6" // instar's own
	maxWords    = 480                                    // characters, two bytes each: below 1 KiB
)

type lastWords struct {
	wire.BootIdentity
	At     time.Duration `json:"at"`
	Reason reason.Code   `json:"reason"`
	Step   string        `json:"step,omitempty"`
	Text   string        `json:"text,omitempty"`
}

// entries are what the ring gets of a boot of which nothing else is known.
func (w *lastWords) entries() []wire.BootEntry {
	id, end := w.BootIdentity, w.Reason
	if end == reason.ConfigFailed {
		end = reason.Fallback // which left nothing
	}
	return []wire.BootEntry{
		{Kind: wire.EntryBegin, At: 1, Reason: reason.Unknown, Boot: &id, Text: "the boot had no disk; this is what it left in the firmware"},
		{Kind: wire.EntryWrong, At: w.At, Reason: w.Reason, Name: w.Step, Text: w.Text},
		{Kind: wire.EntryEnd, At: w.At, Reason: end},
	}
}

// write leaves words, shortened to what fits.
func (w *Words) write(l lastWords) error {
	if before, err := w.read(); err == nil && before != nil && before.Reason == l.Reason && before.Step == l.Step && before.System == l.System {
		return nil
	}
	l.Kernel = "" // of the system
	text, err := l.encode()
	if err != nil {
		return err
	}
	return w.Write(text)
}

func (l lastWords) encode() (string, error) {
	for {
		b, err := json.Marshal(l)
		switch {
		case err != nil:
			return "", err
		case utf8.RuneCount(b) <= maxWords:
			return string(b), nil
		case len(l.Text) > 0:
			l.Text = l.Text[:len(l.Text)*3/4]
		case len(l.Step) > 0:
			l.Step = l.Step[:len(l.Step)/2]
		case l.Configuration != "":
			l.Configuration = ""
		default:
			return "", errors.New("last words are too long")
		}
	}
}

// read returns what a boot has left, nil for nothing.
func (w *Words) read() (*lastWords, error) {
	if w == nil {
		return nil, nil
	}
	text, err := w.Read()
	if err != nil || text == "" {
		return nil, err
	}
	return parseWords(text)
}

func parseWords(text string) (*lastWords, error) {
	l := new(lastWords)
	if len(text) > 4*maxWords {
		return nil, fmt.Errorf("last words of %d bytes", len(text))
	}
	if err := json.Unmarshal([]byte(text), l); err != nil {
		return nil, fmt.Errorf("reading last words: %w", err)
	}
	return l, nil
}

func (w *Words) clear() error {
	if w == nil {
		return nil
	}
	if text, err := w.Read(); err != nil || text == "" {
		return err
	}
	return w.Delete()
}
