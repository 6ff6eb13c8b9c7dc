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
