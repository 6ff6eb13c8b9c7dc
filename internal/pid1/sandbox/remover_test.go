package sandbox

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestRemover removes a moment later, in order; what somebody waits for at once.
func TestRemover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var done, failed []string
		r := &Remover{Failed: func(c string, err error) {
			mu.Lock()
			defer mu.Unlock()
			failed = append(failed, c+" "+err.Error())
		}}
		removal := func(name string, takes time.Duration, err error) {
			r.later(name, func() error {
				time.Sleep(takes)
				mu.Lock()
				defer mu.Unlock()
				done = append(done, name)
				return err
			})
		}
		want := func(names ...string) {
			t.Helper()
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(done, names) {
				t.Errorf("done %q, want %q", done, names)
			}
		}
		removal("a", 0, nil)
		removal("b", 0, errors.New("busy"))
		removal("c", 0, nil)
		want()
		r.wait("b")
		r.wait("nobody")
		want("b")
		time.Sleep(2 * lag)
		synctest.Wait()
		want("b", "a", "c")
		if !slices.Equal(failed, []string{"b busy"}) {
			t.Errorf("failed: %q", failed)
		}

		removal("d", time.Second, nil)
		removal("e", time.Second, nil)
		time.Sleep(2 * lag) // d is under way
		r.wait("d")
		want("b", "a", "c", "d")
		removal("f", 0, nil)
		r.Drain()
		mu.Lock()
		if len(done) != 6 {
			t.Errorf("done %q", done)
		}
		mu.Unlock()
		time.Sleep(2 * lag)
		synctest.Wait()
		if len(r.list) != 0 || len(r.doing) != 0 || r.waking {
			t.Error("something is left")
		}
		(*Remover)(nil).Drain()
	})
}
