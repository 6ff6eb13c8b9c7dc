package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
)

// taker is a machine that asks for the body from an offset on and says what it
// makes of it.
type taker struct {
	fake
	from, size int64
}

func (f *taker) Update(_ context.Context, _ UpdateRequest, t Terminal) (ExecResult, error) {
	say := func(e UpdateEvent) {
		b, _ := json.Marshal(e)
		fmt.Fprintf(t.Stdout, "%s\n", b)
	}
	if _, err := io.ReadFull(t.Stdin, make([]byte, 5)); err != nil {
		return ExecResult{}, err
	}
	say(UpdateEvent{Want: &f.from})
	if n, err := io.Copy(io.Discard, t.Stdin); err != nil || n < f.size-f.from {
		say(UpdateEvent{Error: "the stream was cut"})
		return ExecResult{Code: 1}, nil
	}
	say(UpdateEvent{Staged: &UpdateStaged{System: "abc", Slot: 1}})
	return ExecResult{}, nil
}

// What the source says comes before what the machine makes of its silence.
func TestSend(t *testing.T) {
	gone := errors.New("the server answers 404 Not Found")
	for _, row := range []struct {
		name, want string
		body       func(offset int64) (io.Reader, error)
	}{
		{"whole", "", func(offset int64) (io.Reader, error) { return bytes.NewReader(make([]byte, 100-offset)), nil }},
		{"cut", "the stream was cut", func(offset int64) (io.Reader, error) { return bytes.NewReader(make([]byte, 10)), nil }},
		{"no source", "the server answers 404 Not Found; ", func(int64) (io.Reader, error) { return nil, gone }},
		{"a source that breaks off", "the server answers 404 Not Found; ", func(int64) (io.Reader, error) {
			return io.MultiReader(strings.NewReader("some"), failing{gone}), nil
		}},
	} {
		here, there := net.Pipe()
		go Serve(t.Context(), there, &taker{from: 40, size: 100})
		c := NewClient(here)
		staged, err := c.Send(t.Context(), UpdateRequest{}, Outgoing{Front: strings.NewReader("front"), Body: row.body}, nil)
		c.Close()
		switch {
		case row.want == "" && (err != nil || staged.Slot != 1):
			t.Errorf("%s: %+v, %v", row.name, staged, err)
		case row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want) || !strings.Contains(err.Error(), "the stream was cut") || !errors.Is(err, ErrRemote)):
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
