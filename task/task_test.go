package task

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestBegin(t *testing.T) {
	done := make(chan error)
	go func() {
		k, err := Begin("loop-of-fifteen", 2*time.Millisecond)
		if err != nil {
			done <- err
			return
		}
		comm, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/comm", unix.Gettid()))
		if err != nil || strings.TrimSpace(string(comm)) != "loop-of-fifteen" {
			t.Errorf("the thread is %q, %v", comm, err)
		}
		began := time.Now()
		for range 5 {
			if err := k.Wait(); err != nil {
				done <- err
				return
			}
		}
		if took := time.Since(began); took < 9*time.Millisecond {
			t.Errorf("five periods of 2ms took %s", took)
		}
		done <- nil
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "sixteen-letters-"} {
		if _, err := Begin(name, time.Second); err == nil {
			t.Errorf("%q is taken", name)
		}
	}
	if _, err := Begin("x", 0); err == nil {
		t.Error("a period of 0 is taken")
	}
}

// TestBeginAt: events are at the offset of each period of the machine's time.
func TestBeginAt(t *testing.T) {
	done := make(chan error)
	go func() {
		k, err := BeginAt("placed", 5*time.Millisecond, 12*time.Millisecond)
		for i := 0; err == nil && i < 3; i++ {
			if err = k.Wait(); k.next%5_000_000 != 2_000_000 {
				err = fmt.Errorf("an event at %d ns", k.next)
			}
			var now unix.Timespec
			if e := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); e != nil || now.Nano() < k.next {
				err = fmt.Errorf("awake at %d, before its event at %d: %v", now.Nano(), k.next, e)
			}
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := BeginAt("x", time.Second, -1); err == nil {
		t.Error("an offset before the period is taken")
	}
}
