package logs

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/wire"
)

func TestRate(t *testing.T) {
	now := began
	b := New(new(bytes.Buffer), func() time.Time { return now }, began)
	b.Limit("loud", Limits{Rate: 1000})
	loud, quiet := b.Output("loud", "stdout"), b.Output("quiet", "stdout")
	line := strings.Repeat("x", 99) // 100 bytes with its end
	for range 150 {
		fmt.Fprintln(loud, line)
	}
	fmt.Fprintln(quiet, "heard")
	if got := len(b.Page(wire.LogsRequest{Container: "loud"}).Lines); got != 100 || b.Dropped("loud") != 50 || b.Dropped("quiet") != 0 {
		t.Errorf("%d lines of ten seconds' worth, %d dropped", got, b.Dropped("loud"))
	}
	now = now.Add(200 * time.Millisecond)
	for range 3 {
		fmt.Fprintln(loud, line)
	}
	if got := len(b.Page(wire.LogsRequest{Container: "loud"}).Lines); got != 102 || b.Dropped("loud") != 51 {
		t.Errorf("%d lines after a fifth of a second, %d dropped", got, b.Dropped("loud"))
	}
	if got := texts(b.Page(wire.LogsRequest{Container: Init})); got != "102 init/init loud: 50 lines dropped, more than 1000 bytes a second" {
		t.Errorf("the supervisor says %q", got)
	}
	b.Close()
}

func TestSize(t *testing.T) {
	b := open(t, new(bytes.Buffer))
	b.Limit("a", Limits{Size: 10 * (100 + overhead)})
	w := b.Output("a", "stdout")
	for i := range 50 {
		fmt.Fprintf(w, "%0100d\n", i)
	}
	if got := len(b.Page(wire.LogsRequest{}).Lines); got != 10 {
		t.Errorf("%d lines", got)
	}
	b.Close()
}

func TestSince(t *testing.T) {
	b := open(t, new(bytes.Buffer)) // a millisecond a line
	for i := range 5 {
		b.Printf("line %d", i)
	}
	got := texts(b.Page(wire.LogsRequest{Since: began.Add(4 * time.Millisecond)}))
	if got != "4 init/init line 3\n5 init/init line 4" {
		t.Error(got)
	}
	if got := texts(b.Page(wire.LogsRequest{Since: began.Add(2 * time.Millisecond), Tail: 1})); got != "5 init/init line 4" {
		t.Error(got)
	}
	b.Close()
}
