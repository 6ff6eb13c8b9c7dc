package boot

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// Garbage is waited for, an update is not.
func TestOneAtATime(t *testing.T) {
	var o oneAtATime
	leave, err := o.enter(t.Context(), "collect")
	if err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := o.enter(gone, "receive"); !errors.Is(err, context.Canceled) {
		t.Errorf("while garbage is collected, by one who has gone: %v", err)
	}
	got := make(chan func())
	for range 2 { // of these one comes first
		go func() {
			leave, err := o.enter(t.Context(), "collect")
			if err != nil {
				t.Error(err)
			}
			got <- leave
		}()
	}
	select {
	case <-got:
		t.Fatal("two at a time")
	default:
	}
	leave()
	(<-got)()
	(<-got)()
	if leave, err = o.enter(t.Context(), "receive"); err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"receive", "collect"} {
		if _, err := o.enter(t.Context(), what); err == nil || !strings.Contains(err.Error(), "another update is being received") {
			t.Errorf("%s while an update is received: %v", what, err)
		}
	}
	leave()
	if leave, err = o.enter(t.Context(), "receive"); err != nil {
		t.Fatal(err)
	}
	leave()
}
